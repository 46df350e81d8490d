-- Callbacks over streams and runs: one end, once, after the last event.
local aw = require("agentwire")
local host = require("agentwire.host")
local standalone = require("agentwire.host.standalone")
local scripted = require("agentwire.providers.scripted")
local task = require("agentwire.task")

local PATIENCE_MS = 5000

describe("aw.each", function()
  local h, before, reports, log

  before_each(function()
    reports, log = {}, {}
    h = standalone.new { on_error = function(message)
      reports[#reports + 1] = message
    end }
    before = host.use(h)
  end)

  after_each(function()
    host.use(before)
    h:close()
    assert.equal(0, h:live_tasks())
  end)

  local function run(fn)
    return h:run(function()
      local done, why = task.timeout(PATIENCE_MS, function()
        fn()
        return true
      end)
      assert(done, why)
    end)
  end

  --- Both ends in this process; the provider says `count` words and, without an
  --- end, waits.
  local function connect(count, endless)
    local near, far = aw.pair()
    aw.provider.attach(far, {
      name = "words", api = "words",
      stream = function(_, _, emit)
        emit { type = "text_start", content_index = 0 }
        for i = 1, count do
          emit { type = "text_delta", content_index = 0, delta = i .. " " }
        end
        if endless then
          task.defer(function()
            log.stopped = true
          end)
          task.sleep(math.huge)
        end
        emit { type = "text_end", content_index = 0 }
      end,
    })
    return near, far
  end

  local function start(conn)
    return conn:provider():start_stream {
      model = "words/words", messages = { { role = "user", content = "x" } },
    }
  end

  --- Handlers that write down what they are called with; `ended` wakes.
  local function recorder(more)
    local ended = task.waiter("the end")
    local handlers = {
      on_event = function(event)
        log[#log + 1] = event.delta or event.type
      end,
      on_done = function(result)
        log[#log + 1] = "DONE"
        log.result = result
        ended:wake()
      end,
      on_error = function(message, code)
        log[#log + 1] = "ERROR " .. code
        log.message = message
        ended:wake()
      end,
    }
    for name, value in pairs(more or {}) do
      handlers[name] = value
    end
    return handlers, ended
  end

  local function ends_with(list)
    local from = #log - #list
    for index, expected in ipairs(list) do
      assert.equal(expected, log[from + index])
    end
  end

  local function count_ends()
    local count = 0
    for _, entry in ipairs(log) do
      if entry == "DONE" or entry:find("^ERROR") then
        count = count + 1
      end
    end
    return count
  end

  it("gives a stream's events and then its message", function()
    run(function()
      local near, far = connect(3)
      local handlers, ended = recorder()
      local handle = aw.each(assert(start(near)), handlers)
      assert.equal("pending", handle:status())
      ended:wait()
      assert.equal("success", handle:status())
      assert.equal("1 2 3 ", log.result.content[1].text)
      ends_with { "1 ", "2 ", "3 ", "text_end", "done", "DONE" }
      assert.equal(1, count_ends())
      assert.is_false(handle:cancel())
      near:close()
      far:close()
    end)
  end)

  it("is streaming from the first event on, which may wait", function()
    run(function()
      local near, far = connect(2)
      local handle, seen
      local handlers, ended = recorder {
        on_event = function()
          seen = handle:status()
          task.sleep(1)
        end,
      }
      handle = aw.each(assert(start(near)), handlers)
      ended:wait()
      assert.equal("streaming", seen)
      near:close()
      far:close()
    end)
  end)

  it("opens what a function returns, from outside of every task", function()
    local near, far, handle
    local handlers, ended = recorder()
    h:timer(1, function()
      handle = aw.each(function()
        near, far = connect(1)
        return start(near)
      end, handlers)
    end)
    run(function()
      ended:wait()
      assert.equal("success", handle:status())
      near:close()
      far:close()
    end)
  end)

  it("passes on why a function opened nothing", function()
    run(function()
      local handlers, ended = recorder()
      local handle = aw.each(function()
        return nil, "no such place", "connect"
      end, handlers)
      ended:wait()
      assert.equal("error", handle:status())
      assert.same({ "ERROR connect" }, { log[1] })
      assert.equal("no such place", log.message)
    end)
  end)

  it("outlives the task that called it", function()
    run(function()
      local near, far = connect(5)
      local handlers, ended = recorder()
      task.spawn(function()
        aw.each(assert(start(near)), handlers)
      end):join()
      ended:wait()
      ends_with { "DONE" }
      near:close()
      far:close()
    end)
  end)

  it("cancelled, gives no event any more, stops the model, ends once", function()
    run(function()
      local near, far = connect(3, true)
      local handlers, ended = recorder()
      local handle = aw.each(assert(start(near)), handlers)
      while #log < 4 do
        task.sleep(1)
      end
      local count = #log
      assert.is_true(handle:cancel("the user"))
      assert.is_false(handle:cancel("again"))
      assert.equal("cancelled", handle:status())
      ended:wait()
      assert.equal(count + 1, #log)
      assert.equal("cancelled: the user", log.message)
      ends_with { "ERROR cancelled" }
      while not log.stopped do
        task.sleep(1)
      end
      assert.equal("cancelled", handle:status())
      near:close()
      far:close()
    end)
    assert.same({}, reports)
  end)

  it("cancelled before it began, ends all the same", function()
    run(function()
      local handlers, ended = recorder()
      local opened
      aw.each(function()
        opened = true
      end, handlers):cancel()
      ended:wait()
      assert.is_nil(opened)
      assert.same({ "ERROR cancelled" }, { log[1] })
    end)
  end)

  it("says that a link was lost", function()
    run(function()
      local near, far = connect(3, true)
      local handlers, ended = recorder()
      local handle = aw.each(assert(start(near)), handlers)
      while #log < 4 do
        task.sleep(1)
      end
      near:close()
      ended:wait()
      assert.equal("error", handle:status())
      ends_with { "ERROR closed" }
      far:close()
    end)
  end)

  it("ends when its host does", function()
    local near = nil
    local handlers = recorder()
    h:spawn(function()
      near = connect(1, true)
      aw.each(assert(start(near)), handlers)
      task.sleep(math.huge)
    end)
    run(function()
      while #log < 2 do
        task.sleep(1)
      end
    end)
    h:close()
    ends_with { "ERROR cancelled" }
    assert.equal(1, count_ends())
  end)

  it("tells what a callback raises", function()
    run(function()
      local near, far = connect(3, true)
      local handlers, ended = recorder {
        on_event = function()
          error("event broke")
        end,
      }
      local handle = aw.each(assert(start(near)), handlers)
      ended:wait()
      assert.equal("error", handle:status())
      assert.matches("event broke", log.message)
      assert.same({ "ERROR task_error" }, { log[1] })
      while not log.stopped do -- it was given up
        task.sleep(1)
      end
      near:close()
      far:close()
    end)
    assert.same({}, reports)
    log = {}
    run(function()
      local near, far = connect(1)
      local handlers = recorder {
        on_done = function()
          error("done broke")
        end,
      }
      local handle = aw.each(assert(start(near)), handlers)
      while #reports == 0 do
        task.sleep(1)
      end
      assert.equal("success", handle:status())
      assert.equal(0, count_ends())
      assert.matches("done broke", reports[1])
      near:close()
      far:close()
    end)
  end)

  it("reports an error that nobody wants to hear, but no cancellation", function()
    run(function()
      aw.each(function()
        return nil, "nobody listens", "connect"
      end, {})
      aw.each(function()
        task.sleep(math.huge)
      end, {}):cancel()
      task.sleep(5)
    end)
    assert.equal(1, #reports)
    assert.matches("nobody listens", reports[1])
  end)

  describe("of a session", function()
    local near, far

    local function start_session(options)
      near, far = aw.pair()
      local model_near, model_far = aw.pair()
      aw.provider.attach(model_far, scripted.new(options))
      aw.agent.attach(far, aw.agent.service {
        provider = model_near:provider(), model = "scripted/scripted",
      })
      return assert(near:agent():start {})
    end

    after_each(function()
      near:close()
      far:close()
    end)

    it("prompts it, and gives the run's events and result", function()
      run(function()
        local session = start_session {
          decide = function()
            return { text = "it is so", calls = {} }
          end,
        }
        local handlers, ended = recorder { prompt = "is it so?" }
        aw.each(session, handlers)
        ended:wait()
        assert.equal("it is so", log.result.text)
        assert.equal("agent_start", log[1])
        ends_with { "agent_end", "DONE" }
        session:stop()
      end)
    end)

    it("cancelled, is over at the agent when it says so", function()
      run(function()
        local session = start_session {
          decide = function()
            return { text = ("word "):rep(1000), calls = {} }
          end,
          word_delay_ms = 2,
        }
        local handlers, ended = recorder { prompt = "talk" }
        local handle = aw.each(session, handlers)
        while #log < 12 do
          task.sleep(1)
        end
        handle:cancel()
        ended:wait()
        ends_with { "ERROR cancelled" }
        assert.is_true(session:is_complete())
        local again, again_ended = recorder { prompt = "again" }
        local other = aw.each(session, again)
        while other:status() == "pending" do
          task.sleep(1)
        end
        assert.equal("streaming", other:status()) -- not refused as busy
        other:cancel()
        again_ended:wait()
        session:stop()
      end)
    end)

    it("wants a prompt", function()
      run(function()
        local session = start_session {}
        local ok, why = pcall(aw.each, session, {})
        assert.is_false(ok)
        assert.matches("handlers.prompt: expected", why)
        session:stop()
      end)
    end)
  end)

  it("checks what it is given", function()
    for _, case in ipairs {
      { nil, {}, "source: expected a stream, or a session, or a function" },
      { print, nil, "handlers: expected a table" },
      { print, { on_evnt = print }, "did you mean on_event" },
      { print, { on_done = 5 }, "on_done: expected a function" },
    } do
      local ok, why = pcall(aw.each, case[1], case[2])
      assert.is_false(ok)
      assert.matches(case[3], why, 1, true)
    end
  end)
end)
