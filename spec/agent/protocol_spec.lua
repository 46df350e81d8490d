local json = require("agentwire.json")
local protocol = require("agentwire.agent.protocol")

describe("agent.protocol", function()
  local refused = {
    { { type = "agent_start" }, "missing field: config_json" },
    { { type = "agent_start", config_json = {} },
      "config_json: expected string" },
    { { type = "agent_stop" }, "missing field: session_id" },
    { { type = "tool_result", tool_call_id = "c", result_json = "[]",
      is_error = "no" }, "is_error: expected boolean" },
    { { type = "dance" }, "unknown message type: dance" },
  }
  for _, case in ipairs(refused) do
    it("refuses: " .. case[2], function()
      local ok, why, code = protocol.check(case[1])
      assert.is_nil(ok)
      assert.equal(case[2], why)
      assert.equal("invalid_request", code)
    end)
  end

  it("reads null for an optional field as absent", function()
    local event = { type = "agent_start", config_json = "{}",
      system_prompt = json.null }
    assert.is_true(protocol.check(event))
    assert.is_nil(event.system_prompt)
  end)

  local messages = {
    { '{"content":"hi"}', nil },
    { '{"role":"user","content":[{"type":"text","text":"hi"}]}', nil },
    { '{"role":"assistant","content":"hi"}', "role: expected user" },
    { '{"content":3}', "content: expected string or parts" },
    { '{}', "content: expected string or parts" },
    { '"hi"', "expected a JSON object" },
    { '{', "message_json: " },
  }
  for _, case in ipairs(messages) do
    it("reads message_json " .. case[1], function()
      local message, why = protocol.parse_message(case[1])
      if case[2] then
        assert.is_nil(message)
        assert.matches(case[2], why, 1, true)
      else
        assert.equal("user", message.role)
      end
    end)
  end

  local modes = {
    { nil, "prompt" }, { "{}", "prompt" }, { '{"mode":"steer"}', "steer" },
    { '{"mode":"follow_up","max_tokens":5}', "follow_up" },
    { '{"mode":"dance"}', nil }, { '[]', nil }, { '{"mode":3}', nil },
  }
  for _, case in ipairs(modes) do
    it("reads options_json " .. tostring(case[1]), function()
      assert.equal(case[2], (protocol.parse_mode(case[1])))
    end)
  end

  it("reads offered tools with a schema of either form", function()
    local tools = assert(json.decode([==[
      [{"name":"a","parameters":{"type":"object"}},
       {"name":"b","description":"B","parameters_schema_json":"{}"}]
    ]==]))
    assert.same({
      { name = "a", description = "",
        parameters_schema_json = '{"type":"object"}' },
      { name = "b", description = "B", parameters_schema_json = "{}" },
    }, protocol.parse_offered_tools(tools, 2))
    local _, _, code = protocol.parse_offered_tools(tools, 1)
    assert.equal("rate_limited", code)
    local _, why = protocol.parse_offered_tools({ { } }, 1)
    assert.equal("config_json: tools[0].name: expected string", why)
    assert.is_nil((protocol.parse_offered_tools("x", 1)))
  end)

  it("answers an unknown session with agent_not_found", function()
    local kind, payload = protocol.refuse {
      code = "unknown_scope", message = "no such scope", known = false,
      type = "agent_message", message_id = "m",
    }
    assert.equal("agent_error", kind)
    assert.equal("agent_not_found", payload.code)
  end)

  it("names the field of a refused envelope and keeps its code", function()
    local _, payload = protocol.refuse { code = "sequence_gap",
      message = "ahead", field = "sequence", type = "agent_message" }
    assert.same({ code = "sequence_gap", message = "ahead (sequence)" },
      payload)
  end)

  it("never answers a refused answer", function()
    for kind in pairs(protocol.replies) do
      assert.is_nil((protocol.refuse { code = "unknown_scope", message = "",
        type = kind }))
    end
  end)
end)
