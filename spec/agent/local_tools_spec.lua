-- A session's own tools: whatever is asked of the client is answered once.
local json = require("agentwire.json")
local link = require("spec.support.link")
local task = require("agentwire.task")

--- Runs `body(scope, session, ran)` with a server that the spec plays; the
--- client's tool is `execute(call, number)`.
local function with_session(execute, body)
  link.run(function()
    link.host.on_error = function() end
    local near, far = link.pair()
    local scope, ran = nil, 0
    far:serve("agent", function(channel)
      scope = channel
      channel:receive()
      channel:send("agent_started", { session_id = channel.id },
        channel:message_id())
      task.sleep(60000)
    end)
    local session = assert(near:agent():start {
      tools = {
        list = function()
          return { { name = "t" } }
        end,
        execute = function(_, call)
          ran = ran + 1
          return execute(call, ran)
        end,
      },
    })
    body(scope, session)
    session:close()
    near:close()
  end)
end

local function call(scope, id)
  scope:send("tool_execute", {
    tool_call_id = id, tool_name = "t", args_json = "{}",
  })
end

local function text_result(text)
  local parts = json.array { { type = "text", text = text } }
  return { parts = parts, result_json = json.encode(parts), is_error = false }
end

describe("a session's own tool", function()
  for way, leave in pairs {
    ["raises"] = function()
      error("broken")
    end,
    ["yields by hand"] = function()
      coroutine.yield()
    end,
    ["returns nothing"] = function() end,
  } do
    it(("that %s is answered"):format(way), function()
      with_session(leave, function(scope)
        call(scope, "a")
        local event = assert(scope:receive(1000))
        assert.equal("tool_result", event.type)
        assert.is_true(event.is_error)
        assert.is_nil(event.result_json:find("[\n/]"))
      end)
    end)
  end

  it("is refused a second call of an id that runs", function()
    local gate = task.waiter()
    with_session(function()
      gate:wait()
      return text_result("first")
    end, function(scope)
      call(scope, "a")
      call(scope, "a")
      local event = assert(scope:receive(1000))
      assert.is_true(event.is_error)
      assert.matches("a call of this id is running", event.result_json)
      gate:wake()
      assert.matches("first", assert(scope:receive(1000)).result_json)
    end)
  end)

  it("says nothing more of a call that was given up, whose id comes again",
    function()
      local gate = task.waiter("the first call's end")
      with_session(function(_, number)
        if number == 1 then
          task.shield(gate.wait, gate)
        end
        return text_result("of call " .. number)
      end, function(scope, session)
        call(scope, "a")
        link.settle()
        scope:send("agent_event", { event_json = json.encode {
          type = "tool_execution_end", tool_call_id = "a", tool_name = "t",
          result_json = "[]", is_error = true,
        } })
        call(scope, "a")
        assert.matches("of call 2", assert(scope:receive(5000)).result_json)
        gate:wake()
        assert.equal("timeout", select(3, scope:receive(30)))
        assert.equal(0, session._tools:count())
      end)
    end)
end)
