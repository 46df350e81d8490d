-- What every host keeps: the same program in the loop of a script, in luv's, and
-- in a loop that nobody else has, with coroutines and with threads of its own.
local aw = require("agentwire")
local core = require("agentwire.core")
local current_host = require("agentwire.host")
local foreign = require("spec.support.foreign")
local standalone = require("agentwire.host.standalone")
local task = require("agentwire.task")
local toy = require("spec.support.toy_host")

local PATIENCE_MS = 5000

-- By name: makes a host, and what calls a function from outside of any turn.
local MAKERS = {
  standalone = function()
    local h = standalone.new()
    return h, function(ms, fn)
      h:timer(ms, fn)
    end
  end,
}

-- The toy polls by the foreign function interface, which Lua 5.4 has not.
local HAS_FFI = pcall(require, "ffi")
if HAS_FFI then
  MAKERS.toy = function()
    local loop = toy.loop()
    return current_host.embed(toy.driver(loop)), function(ms, fn)
      loop:after(ms, fn)
    end, loop
  end
  MAKERS["toy with threads"] = function()
    local loop = toy.loop()
    return current_host.embed(toy.driver(loop, true)), function(ms, fn)
      loop:after(ms, fn)
    end, loop
  end
else
  pending("a loop of one's own: it polls by ffi, which is not here")
end

--- The driver for cqueues as docs/concurrency.md has it.
local function documented_driver()
  local file = assert(io.open("docs/concurrency.md"))
  local text = file:read("*a")
  file:close()
  local code = text:match("\n(local condition = require.-\n)```")
  return assert(load(code .. "return cqueues_driver"))()
end

local has_cqueues, cqueues = pcall(require, "cqueues")
if has_cqueues then
  MAKERS.cqueues = function()
    local loop = cqueues.new()
    return current_host.embed(documented_driver()(loop)), function(ms, fn)
      loop:wrap(function()
        cqueues.sleep(ms / 1000)
        fn()
      end)
    end
  end
else
  pending("in a loop of cqueues': " .. tostring(cqueues):match("[^\n]*"))
end

-- Neovim runs this file as well (spec/editor): there its own loop is what counts,
-- and luv's cannot be run.
local vim = rawget(_G, "vim")
if vim then
  MAKERS = {
    nvim = function()
      return require("agentwire.host.nvim").new(), function(ms, fn)
        local timer = (vim.uv or vim.loop).new_timer()
        timer:start(ms, 0, function()
          timer:close()
          fn()
        end)
      end
    end,
  }
elseif foreign.loops.luv then
  MAKERS.luv = function()
    local uv = require("luv")
    return require("agentwire.host.luv").new(uv), function(ms, fn)
      local timer = uv.new_timer()
      timer:start(ms, 0, function()
        return timer and fn() -- held until then, and closed with the others
      end)
    end
  end
end

local order = {}
for name in pairs(MAKERS) do
  order[#order + 1] = name
end
table.sort(order)

--- A model that says its words one by one, or waits for ever.
local function serve_words(count)
  return aw.serve {
    listen = "ws://127.0.0.1:0",
    provider = {
      name = "words", api = "words",
      stream = function(_, _, emit)
        emit { type = "text_start", content_index = 0 }
        for i = 1, count do
          emit { type = "text_delta", content_index = 0, delta = i .. " " }
        end
        if count == 0 then
          task.sleep(math.huge)
        end
        emit { type = "text_end", content_index = 0 }
      end,
    },
  }
end

local function start_stream(conn)
  return conn:provider():start_stream {
    model = "words/words",
    context = { messages = { { role = "user", content = "x" } } },
  }
end

for _, name in ipairs(order) do
  local make = MAKERS[name]
  describe("in the host: " .. name, function()
    local h, after, loop, before

    before_each(function()
      h, after, loop = make()
      before = current_host.use(h)
    end)

    after_each(function()
      current_host.use(before)
      h:close()
      h:close()
      if name == "luv" then -- it frees what is closed in its next turn
        local uv = require("luv")
        uv.walk(function(handle)
          if not handle:is_closing() then
            handle:close()
          end
        end)
        uv.run("nowait")
      end
      assert.equal(0, h:live_tasks())
      assert.is_true(h:is_closed())
    end)

    -- As `run`, and bounded.
    local function run(fn)
      return h:run(task.timeout, PATIENCE_MS, fn)
    end

    it("run returns the results, and raises what is raised", function()
      assert.same({ 3, "x" }, { h:run(function(a, b)
        task.sleep(2)
        return a + b, "x"
      end, 1, 2) })
      local ok, err = pcall(h.run, h, function()
        task.sleep(1)
        error("main broke")
      end)
      assert.is_false(ok)
      assert.matches("main broke", err)
      assert.same({ nil, "cancelled: why", "cancelled" }, { h:run(function()
        task.current():cancel("why")
        task.sleep(1)
      end) })
    end)

    it("everything made in a task belongs to it", function()
      run(function()
        assert.equal(h, current_host.current())
        task.sleep(1)
        assert.equal(h, current_host.current())
        task.spawn(function()
          assert.equal(h, current_host.current())
        end):join()
      end)
    end)

    it("an HTTP request is answered, and told when nobody answers", function()
      if not aw.http.about() then
        return pending("built without libcurl")
      end
      run(function()
        local server = assert(serve_words(1))
        local url = server.url:gsub("^ws:", "http:")
        local tasks = {}
        for index = 1, 20 do
          tasks[index] = aw.spawn(aw.http.request, { url = url, proxy = "" })
        end
        for _, response in ipairs(assert(task.all(tasks))) do
          assert.equal(426, response.status)
        end
        server:close()
        assert.equal("connect", select(3, aw.http.request { url = url,
          proxy = "" }))
        assert.equal("resolve", select(3, aw.http.request {
          url = "http://nowhere.invalid/", proxy = "" }))
      end)
    end)

    it("a model's stream comes whole and in order", function()
      local text = run(function()
        local server = assert(serve_words(200))
        local conn = assert(aw.connect(server.url))
        local result = assert(start_stream(conn)):result()
        conn:close()
        server:close()
        return result.content[1].text
      end)
      local words = {}
      for i = 1, 200 do
        words[i] = i .. " "
      end
      assert.equal(table.concat(words), text)
    end)

    it("a link that is cut comes back, and nothing is lost", function()
      local text = run(function()
        local server = assert(serve_words(100))
        local conn = assert(aw.connect(server.url))
        local stream = assert(start_stream(conn))
        local seen = 0
        for event in stream:events() do
          seen = seen + 1
          if seen == 20 and event.type ~= "done" then
            conn:cut("a test")
          end
        end
        local result = stream:result()
        conn:close()
        server:close()
        return result.content[1].text
      end)
      assert.matches("^1 2 3 .* 99 100 $", text)
    end)

    it("what is done from a callback of the loop is done at once", function()
      local ms, code = run(function()
        local server = assert(serve_words(0))
        local conn = assert(aw.connect(server.url))
        local stream = assert(start_stream(conn))
        local done_at
        after(50, function()
          done_at = h:now()
          stream:abort()
        end)
        local _, _, ended = stream:result()
        local late = h:now() - done_at
        conn:close()
        server:close()
        return late, ended
      end)
      assert.is_true(ms < 1000, tostring(ms))
      assert.equal("aborted", code)
    end)

    it("a callback makes a task, and await waits for a callback", function()
      assert.same({ "a", nil, 3 }, { run(function()
        return aw.await(function(done)
          after(10, function()
            aw.spawn(function()
              task.sleep(1)
              done("a", nil, 3)
              done("too late")
            end)
          end)
        end)
      end) })
    end)

    it("await takes back what it began when its time is up", function()
      local undone = 0
      local function never()
        return function()
          undone = undone + 1
        end
      end
      local _, message, code = run(function()
        return aw.await(never, 5)
      end)
      assert.equal("timeout", code)
      assert.matches("5 ms", message)
      run(function()
        local waiting = task.spawn(aw.await, never)
        task.sleep(1)
        waiting:cancel()
        assert.equal("cancelled", select(3, waiting:join()))
      end)
      assert.equal(2, undone)
    end)

    it("children end with their parents, and what is deferred runs", function()
      local log = {}
      run(function()
        task.spawn(function()
          task.defer(function()
            task.sleep(1)
            table.insert(log, "child")
          end)
          task.sleep(math.huge)
        end)
        task.defer(function()
          table.insert(log, "parent")
        end)
        task.sleep(2)
      end)
      assert.same({ "child", "parent" }, log)
    end)

    -- Threads run when their loop does: those that are left are dropped.
    local closes = name == "toy with threads" and "drops" or "ends"
    it("close " .. closes .. " what still runs", function()
      local ended
      h:spawn(function()
        task.defer(function()
          ended = true
        end)
        task.sleep(math.huge)
      end)
      run(function()
        task.sleep(2)
      end)
      h:close()
      assert.equal(closes == "ends" or nil, ended)
    end)

    if name ~= "standalone" then
      it("a turn by hand leaves the loop knowing the next", function()
        local fired
        after(5, function()
          h:turn()
          h:timer(5, function()
            fired = true
          end)
          h:turn()
        end)
        run(function()
          while not fired do
            task.sleep(20)
          end
        end)
        assert.is_true(fired)
      end)

      -- Some loops call their timers, wait, and call them again: one that is
      -- late when it is started is called now before the wait, now after it.
      it("run is over when a timer that was late ends its task", function()
        local late = 0
        for timers = 1, 2 do
          after(1000, function()
            late = late + 1
          end)
          run(function()
            aw.await(function(done)
              local function fire(left)
                if left == 0 then
                  done()
                  return h:turn()
                end
                after(1, function()
                  fire(left - 1)
                end)
                local busy_until = core.monotonic_us() + 5000
                repeat until core.monotonic_us() > busy_until
              end
              after(1, function()
                fire(timers)
              end)
            end)
          end)
        end
        assert.equal(0, late)
      end)

      it("a run without a loop to block in says what to do", function()
        local other = current_host.embed {
          name = "an editor",
          arm = function() end,
          disarm = function() end,
        }
        local _, err = pcall(other.run, other, print)
        other:close()
        assert.matches("would stop an editor .*spawn", err)
      end)
    end

    if name == "toy with threads" then
      it("a task whose thread is gone ends with its children", function()
        local log, lost = {}, nil
        local function say(text)
          return function()
            table.insert(log, text)
          end
        end
        run(function()
          local line = task.signal("a line")
          lost = task.spawn(function()
            task.defer(say("deferred"))
            task.spawn(function()
              task.defer(say("child"))
              task.sleep(math.huge)
            end)
            line:wait()
            say("it ran on")()
          end)
          task.sleep(5)
          after(1, function() -- from outside, as its host would
            task.bereave(lost, "gone")
          end)
          local _, why, code = lost:join()
          assert.equal("cancelled: gone", why)
          assert.equal("cancelled", code)
          line:wake_all() -- it stands in that line no more
          task.sleep(5)
        end)
        assert.same({ "child", "deferred" }, log)
      end)

      it("one that could run and lost its thread runs once", function()
        local slept_ms
        run(function()
          local waiter = task.waiter()
          local lost = task.spawn(function()
            task.defer(function()
              local began = h:now()
              task.sleep(30)
              slept_ms = h:now() - began
            end)
            waiter:wait(1000)
          end)
          task.sleep(5)
          after(1, function()
            waiter:wake()
            task.bereave(lost, "gone")
          end)
          lost:join()
        end)
        assert.is_true(slept_ms >= 30, tostring(slept_ms))
      end)

      it("who stood in a line and lost its thread stands in none", function()
        assert.is_true(run(function()
          local line, other = task.signal("a line"), task.signal("another")
          local lost = task.spawn(function()
            task.defer(function()
              other:wait(50)
            end)
            line:wait()
          end)
          task.sleep(1)
          local behind = task.spawn(line.wait, line, 1000)
          task.spawn(other.wait, other, 1000)
          task.sleep(1)
          after(1, function()
            task.bereave(lost, "gone")
          end)
          task.sleep(10)
          assert.equal(behind, line:wake_one())
          return (behind:join())
        end))
      end)

      it("a task may wait for the loop itself", function()
        assert.equal("both", run(function()
          local t = task.spawn(function()
            loop:pause(5)
            task.sleep(1)
            loop:pause(5)
            assert.equal(h, current_host.current())
            return "both"
          end)
          return (t:join())
        end))
      end)

      it("tells tasks apart between the loop's waits", function()
        run(function()
          local one, other = {}, {}
          local a = task.spawn(function()
            one.before = task.current()
            loop:pause(10)
            one.after = task.current()
          end)
          local b = task.spawn(function()
            loop:pause(5)
            other.after = task.current()
          end)
          a:join()
          b:join()
          assert.equal(a, one.before)
          assert.equal(a, one.after)
          assert.equal(b, other.after)
        end)
      end)
    end
  end)
end

describe("host.embed", function()
  it("wakes and runs by the driver's own ways, if it has them", function()
    local woken, turn = 0, nil
    local h = current_host.embed {
      name = "x",
      arm = function(_, _, again)
        turn = again
      end,
      disarm = function() end,
      wake = function()
        woken = woken + 1
      end,
      run = function(host, fn, ...)
        return host:now() > 0, fn, ...
      end,
    }
    local ran
    h:spawn(function()
      ran = true
    end)
    assert.equal(1, woken)
    turn()
    assert.is_true(ran)
    assert.equal(1, woken)
    assert.same({ true, print, 1, 2 }, { h:run(print, 1, 2) })
    h:close()
    h:wakeup()
    assert.equal(1, woken)
  end)

  it("wants a driver, and names what is wrong with one", function()
    for _, case in ipairs {
      { nil, "driver: expected a table" },
      { { name = "x" }, "driver.arm: expected a function" },
      { { name = "x", arm = print }, "driver.disarm" },
      { { name = "x", arm = print, disarm = print, blok = print },
        "unknown option blok; did you mean block" },
    } do
      local ok, err = pcall(current_host.embed, case[1])
      assert.is_false(ok)
      assert.matches(case[2], err, 1, true)
    end
  end)
end)
