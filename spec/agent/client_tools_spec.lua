-- The tools of a session's client, asked by its server: no wire, only what a
-- session hands over.
local client_tools = require("agentwire.agent._client_tools")
local link = require("spec.support.link")
local task = require("agentwire.task")
local wait = require("agentwire._wait")

local function new(timeout_ms)
  return client_tools.new({
    send = function()
      return true
    end,
    sent_id = function()
      return "m"
    end,
  }, {}, timeout_ms)
end

local function update(tools, n)
  return tools:streaming { tool_call_id = "c", partial_json = tostring(n) }
end

describe("a client's tool, for the session that asked", function()
  it("keeps 64 updates for a slow reader, and drops further ones", function()
    link.run(function()
      local tools, gate, seen = new(), wait.latch(), {}
      local call = task.spawn(function()
        return tools:execute { tool_call_id = "c", name = "t", args_json = "{}",
          on_update = function(each)
            seen[#seen + 1] = each.partial_json
            gate:wait()
          end }
      end)
      task.yield()
      assert.is_true(update(tools, 1))
      link.settle() -- the reader has it, and reads no further
      for n = 2, 65 do
        assert.is_true(update(tools, n))
      end
      for n = 66, 80 do
        assert.is_false(update(tools, n))
      end
      assert.is_true(tools:result { tool_call_id = "c", result_json = "done" })
      gate:set(true)
      local result = assert(call:join())
      assert.equal("done", result.parts[1].text)
      assert.equal(65, #seen)
      assert.equal("65", seen[65])
    end)
  end)

  it("is over after the time that it has, and nothing of it is left", function()
    link.run(function()
      local tools = new(20)
      for _ = 1, 12 do
        local result, why, code = tools:execute { tool_call_id = "c",
          name = "t", args_json = "{}" }
        assert.is_nil(result)
        assert.equal("tool_timeout", code)
        assert.matches("within 20 ms", why, 1, true)
        assert.is_false(tools:result { tool_call_id = "c", result_json = "1" })
        assert.is_false(update(tools, 1))
      end
    end)
  end)
end)
