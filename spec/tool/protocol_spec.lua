local protocol = require("agentwire.tool.protocol")

describe("tool.protocol", function()
  local function event(kind, members)
    members.type = kind
    members.sequence = 1
    return members
  end

  local accepted = {
    event("tool_execute", { execution_id = "e", tool_call_id = "c",
      tool_name = "t", args_json = "{}" }),
    event("tool_execute", { execution_id = "e", tool_call_id = "c",
      tool_name = "t", args_json = "{}", timeout_ms = 5, unknown = {} }),
    event("tool_stream", { execution_id = "e", tool_call_id = "c",
      partial_result_json = "{}", progress = 40, status = "reading" }),
    event("tool_cancel", { execution_id = "e" }),
    event("tool_list", {}),
    event("tool_register", { tool = { name = "t" } }),
  }
  for _, each in ipairs(accepted) do
    it("accepts a " .. each.type, function()
      assert.is_true(protocol.check(each))
    end)
  end

  local refused = {
    { event("tool_execute", { tool_call_id = "c", tool_name = "t",
      args_json = "{}" }), "missing field: execution_id" },
    { event("tool_execute", { execution_id = "e", tool_call_id = "c",
      tool_name = "t", args_json = "{}", timeout_ms = "5" }),
      "timeout_ms: expected integer" },
    { event("tool_execute", { execution_id = "e", tool_call_id = "c",
      tool_name = "t", args_json = {} }), "args_json: expected string" },
    { event("tool_list", { supports_streaming = 1 }),
      "supports_streaming: expected boolean" },
    { event("tool_status", {}), "missing field: execution_id" },
    { event("tool_dance", {}), "unknown message type: tool_dance" },
  }
  for _, case in ipairs(refused) do
    it("refuses: " .. case[2], function()
      local ok, why, code = protocol.check(case[1])
      assert.is_nil(ok)
      assert.equal(case[2], why)
      assert.equal("invalid_request", code)
    end)
  end

  it("checks metadata", function()
    local ok, why = protocol.check_metadata { name = "t", description = "",
      parameters_schema_json = {} }
    assert.is_nil(ok)
    assert.equal("parameters_schema_json: expected string", why)
  end)

  it("answers a refused request with the reason and the field", function()
    local kind, payload = protocol.refuse {
      code = "sequence_gap", message = "ahead", field = "sequence",
      type = "tool_execute", message_id = "m",
    }
    assert.equal("tool_error", kind)
    assert.same({
      execution_id = "m", code = "invalid_request",
      message = "sequence_gap: ahead (sequence)",
    }, payload)
  end)

  it("never answers a refused answer", function()
    for kind in pairs(protocol.replies) do
      assert.is_nil((protocol.refuse { code = "invalid_request", message = "",
        type = kind, message_id = "m" }))
    end
  end)

  it("makes execution ids of a scope that differ and are UUIDs", function()
    local scope = "f0000000-0000-4000-8000-000000000001"
    assert.equal("f0000000-0000-4000-8000-0000000000ff",
      protocol.execution_id(scope, 255))
  end)

  it("reads an unknown code as internal_error", function()
    assert.equal("tool_timeout", protocol.wire_code("tool_timeout"))
    assert.equal("internal_error", protocol.wire_code("strange"))
    assert.equal("internal_error", protocol.wire_code(nil))
  end)
end)
