local aw = require("agentwire")
local link = require("spec.support.link")
local task = require("agentwire.task")

local function with_pair(body)
  link.run(function()
    local near, far = aw.pair()
    far:serve("provider", function(channel)
      local request = assert(channel:receive())
      channel:send("text_delta", { content_index = 0, delta = request.text })
      channel:send("result", { type = "result" })
    end)
    link.eventually(function()
      return near:is_open()
    end)
    body(near, far)
    near:close()
    far:close()
  end)
end

local function ask(conn, text)
  local channel = assert(conn:open("provider"))
  assert(channel:send("stream_request", {
    text = text, options = { api_key = "a-secret-key" },
  }))
  return assert(channel:receive(1000)).delta, channel
end

describe("a connection", function()
  it("counts what it carried", function()
    with_pair(function(near, far)
      assert.equal("hi", (ask(near, "hi")))
      local mine, theirs = near:stats(), far:stats()
      assert.equal(1, mine.messages_out)
      assert.equal(1, theirs.messages_in)
      assert.equal(mine.bytes_out, theirs.bytes_in)
      assert.equal(1, mine.opened)
      assert.truthy(mine.inbox_high > 0)
    end)
  end)

  it("gives its trace hook a line an envelope and never a credential", function()
    with_pair(function(near)
      local lines = {}
      near:trace(function(line)
        table.insert(lines, line)
      end)
      ask(near, "hello there")
      near:ping(1000)
      local text = table.concat(lines, "\n")
      assert.truthy(text:find("-> .* provider %x+ #1 stream_request"))
      assert.truthy(text:find("<- .* #1 text_delta .*delta=hello there"))
      assert.is_nil(text:find("secret", 1, true))
    end)
  end)

  it("goes on when its trace hook raises", function()
    with_pair(function(near)
      near._host.on_error = function() end
      near:trace(function()
        error("on purpose")
      end)
      assert.equal("a", (ask(near, "a")))
      assert.equal("b", (ask(near, "b")))
    end)
  end)

  it("answers a ping", function()
    with_pair(function(near)
      assert.is_true(near:ping(1000))
    end)
  end)

  it("wakes every waiter when it closes, and says why", function()
    with_pair(function(near)
      local channel = assert(near:open("agent"))
      local reader = aw.spawn(function()
        local _, message, code = channel:receive()
        return code, message
      end)
      local pinger = aw.spawn(function()
        near:close("enough")
        return near:wait_closed(1000)
      end)
      assert.equal("closed", (reader:join(1000)))
      assert.is_true((pinger:join(1000)))
      assert.equal("closed", select(3, near:open("agent")))
      near:close()
    end)
  end)

  it("refuses a kind that nobody serves, in that kind's form", function()
    with_pair(function(near)
      local channel = assert(near:open("agent"))
      assert(channel:send("agent_start", { config_json = "{}" }))
      local event = assert(channel:receive(1000))
      assert.equal("agent_error", event.type)
    end)
  end)

  it("answers who opens an id again that the other end still holds", function()
    with_pair(function(near, far)
      local over = task.latch()
      far:serve("agent", function(channel)
        assert(channel:receive())
        assert(channel:send("agent_stopped", {}))
        over:wait()
      end)
      local first = assert(near:open("agent"))
      assert(first:send("agent_start", {}))
      assert.equal("agent_stopped", assert(first:receive(1000)).type)
      first:close()
      local second = assert(near:open("agent", first.id))
      assert(second:send("agent_start", {}))
      local event, _, code = second:receive(1000)
      assert.same({ nil, "invalid_request" }, { event, code })
      over:set(true)
    end)
  end)

  it("parks a sender whose window is full, and goes on when there is room",
    function()
      with_pair(function(near, far)
        local got = 0
        far:serve("agent", function(channel)
          while channel:receive() do
            got = got + 1
          end
        end)
        local channel = assert(near:open("agent"))
        assert(channel:send("agent_start", {}))
        local last_code
        for _ = 1, 1000 do
          local ok, _, code = channel:try_send("agent_message", {})
          last_code = code
          if not ok then
            break
          end
        end
        assert.equal("would_block", last_code)
        for _ = 1, 500 do
          assert(channel:send("agent_message", {}))
        end
        local sent = select(4, channel[1]:state())
        link.eventually(function()
          return got == sent
        end)
      end)
    end)

  it("raises for a payload that JSON cannot hold, and stays in order", function()
    with_pair(function(near)
      local channel = assert(near:open("provider"))
      local ok, message, code =
        channel:send("stream_request", { text = print })
      assert.is_nil(ok)
      assert.truthy(message:find("function"))
      assert.truthy(code)
      assert(channel:send("stream_request", { text = "after" }))
      local event = assert(channel:receive(1000))
      assert.equal("after", event.delta)
      assert.equal(1, event.sequence)
    end)
  end)

  it("ends a scope once, and drops what comes for it later", function()
    with_pair(function(near, far)
      local _, channel = ask(near, "x")
      assert.equal("result", assert(channel:receive(1000)).type)
      assert.equal("ended", select(3, channel:receive(1000)))
      assert.equal("ended", select(3, channel:send("stream_request", {})))
      channel:close()
      channel:close()
      near:ping(1000)
      assert.equal(0, near:stats().open_scopes)
      assert.equal(0, far:stats().open_scopes)
    end)
  end)
end)

describe("a question that is asked again", function()
  local questions = require("agentwire._questions")
  local wait = require("agentwire._wait")

  it("fails at once if it cannot be, and others go on", function()
    link.run(function()
      local self = setmetatable({ _questions = {}, _state = "open" },
        { __index = questions })
      local asked, over = { hopeless = 0, well = 0 }, {}
      local function begin(name, later, code)
        local latch = wait.latch()
        return task.spawn(function()
          return self:_ask({ latch = latch, over = function()
            over[name] = (over[name] or 0) + 1
          end, ask = function()
            asked[name] = asked[name] + 1
            if asked[name] == 2 then
              return later, "no room", code
            end
            return true
          end }, 5000)
        end), latch
      end
      local hopeless = begin("hopeless", nil, "would_block")
      local well, latch = begin("well", true)
      task.yield()
      self:_ask_again()
      local answer, why, code = hopeless:join(1000)
      assert.is_nil(answer)
      assert.same({ "no room", "would_block" }, { why, code })
      latch:set("yes")
      assert.equal("yes", (well:join(1000)))
      assert.same({ hopeless = 2, well = 2 }, asked)
      assert.same({ hopeless = 1, well = 1 }, over)
      assert.same({}, self._questions)
    end)
  end)
end)
