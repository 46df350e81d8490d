require("spec.support.provider")
local json = require("agentwire.json")
local protocol = require("agentwire.provider.protocol")

local function request()
  return {
    model = {
      id = "m", name = "M", api = "a", provider = "p", base_url = "",
    },
    context = { messages = json.array {} },
  }
end

local USER = { role = "user", timestamp = 1, content = "hi" }

describe("provider protocol", function()

  local good = {
    ack = { acknowledged_id = "x" },
    nack = { rejected_id = "x", reason = "no" },
    abort_request = { target_stream_id = "x" },
    models_request = {},
    start = { model = "m", input_tokens = 3 },
    text_delta = { content_index = 0, delta = "" },
    toolcall_start = { content_index = 2, id = "c", name = "n" },
    toolcall_end = {
      content_index = 2, id = "c", name = "n", arguments_json = "{}",
    },
    done = {
      reason = "stop", message = { role = "assistant", content = json.array {
        { type = "text", text = "a", text_signature = "s" },
        { type = "thinking", thinking = "b", thinking_signature = "s" },
        { type = "tool_call", id = "c", name = "n", arguments_json = "{}" },
        { type = "image", data = "aGk=", mime_type = "image/png" },
      } },
    },
    error = { reason = "aborted", usage = { input = 1 } },
    keepalive = {},
    result = { stop_reason = "stop", content = json.array {} },
    stream_error = { code = "x", message = "y" },
    sync_request = { target_stream_id = "x" },
    sync = { target_stream_id = "x" },
    ping = {}, pong = { ping_id = "x" }, goodbye = {},
  }

  it("accepts every message type in its smallest form", function()
    for kind, payload in pairs(good) do
      assert.is_true(protocol.check(kind, payload))
    end
  end)

  it("reads null for an optional field as absent", function()
    assert.is_true(protocol.check("abort_request", {
      target_stream_id = "x", reason = json.null,
    }))
    local read = request()
    read.options, read.include_partial = json.null, json.null
    read.context.system_prompt = json.null
    read = assert(protocol.read_request("stream_request", read))
    assert.same({}, read.options)
    assert.is_false(read.include_partial)
    assert.is_nil(read.context.system_prompt)
  end)

  it("reads null for a required field as missing", function()
    local _, _, code, field = protocol.check("ack", {
      acknowledged_id = json.null,
    })
    assert.equal("invalid_request", code)
    assert.equal("acknowledged_id", field)
  end)

  local function with_message(message)
    return function(r)
      r.context.messages = json.array { USER, message }
    end
  end

  local bad = {
    { "model", function(r) r.model = nil end },
    { "model", function(r) r.model = "m" end },
    { "model.id", function(r) r.model.id = nil end },
    { "model.id", function(r) r.model.id = "" end },
    { "model.provider", function(r) r.model.provider = 7 end },
    { "context", function(r) r.context = json.array { 1 } end },
    { "context.messages", function(r) r.context.messages = "hi" end },
    { "context.messages[0]", function(r)
      r.context.messages = json.array { "hi" }
    end },
    { "context.messages[1].role", with_message { role = "system" } },
    { "context.messages[1].content", with_message { role = "user" } },
    { "context.messages[1].content[0].text", with_message {
      role = "user", content = json.array { { type = "text" } },
    } },
    { "context.messages[1].content[0].type", with_message {
      role = "user", content = json.array { { type = "video" } },
    } },
    { "context.messages[1].tool_call_id", with_message {
      role = "tool", content = json.array {},
    } },
    { "context.messages[1].content[0].arguments_json", with_message {
      role = "assistant", content = json.array {
        { type = "tool_call", id = "c", name = "n" },
      },
    } },
    { "context.tools[0].name", function(r)
      r.context.tools = json.array { { description = "x" } }
    end },
    { "context.tools[0].parameters_schema_json", function(r)
      r.context.tools = json.array {
        { name = "x", parameters_schema_json = 7 },
      }
    end },
    { "options.max_tokens", function(r) r.options = { max_tokens = 1.5 } end },
    { "options.max_tokens", function(r) r.options = { max_tokens = -1 } end },
    { "options.tool_choice.type", function(r)
      r.options = { tool_choice = { type = "some" } }
    end },
    { "options.headers[0].value", function(r)
      r.options = { headers = json.array { { name = "x" } } }
    end },
    { "include_partial", function(r) r.include_partial = "yes" end },
  }

  it("names the field that is wrong in a request", function()
    for _, case in ipairs(bad) do
      local r = request()
      case[2](r)
      local read, message, code, field =
        protocol.read_request("stream_request", r)
      assert.is_nil(read)
      assert.equal(case[1], field)
      assert.equal("invalid_request", code)
      assert.truthy(message:find(case[1], 1, true))
    end
  end)

  it("widens a bare tool choice and fills in defaults", function()
    local r = request()
    r.model.name, r.model.base_url = nil, nil
    r.options = { tool_choice = "required" }
    r = assert(protocol.read_request("stream_request", r))
    assert.same({ type = "required" }, r.options.tool_choice)
    assert.equal("m", r.model.name)
    assert.equal("", r.model.base_url)
  end)

  it("does not know other types", function()
    assert.equal("not_implemented", select(3, protocol.check("teleport", {})))
  end)

  it("reads an unknown error code as internal_error", function()
    assert.equal("internal_error", protocol.read_code("made_up"))
    assert.equal("internal_error", protocol.read_code(nil))
    assert.equal("rate_limited", protocol.read_code("rate_limited"))
  end)

  describe("refuse", function()
    local function refuse(fields)
      fields.id = fields.id or "scope"
      fields.message = fields.message or "because"
      return protocol.refuse(fields)
    end

    it("lists the supported versions on a version mismatch", function()
      local kind, payload = refuse {
        code = "version_mismatch", message_id = "m", type = "stream_request",
      }
      assert.equal("nack", kind)
      assert.equal("m", payload.rejected_id)
      assert.equal("version_mismatch", payload.error_code)
      assert.same({ "1" }, payload.supported_versions)
    end)

    it("echoes the scope when the message id could not be read", function()
      local _, payload = refuse { code = "invalid_request", field = "payload" }
      assert.equal("scope", payload.rejected_id)
      assert.equal("payload: because", payload.reason)
      assert.is_nil(payload.supported_versions)
    end)

    local codes = {
      unknown_scope = "stream_not_found", exists = "stream_already_exists",
      sequence_gap = "sequence_gap", duplicate_sequence = "duplicate_sequence",
      invalid_sequence = "invalid_sequence", json_depth = "invalid_request",
      stream_already_exists = "stream_already_exists",
    }

    it("says each refusal in the protocol's own codes", function()
      for code, expected in pairs(codes) do
        local _, payload = refuse {
          code = code, type = "stream_request", message_id = "m", known = true,
        }
        assert.equal(expected, payload.error_code)
      end
    end)

    it("acknowledges a late abort", function()
      for _, code in ipairs { "unknown_scope", "sequence_gap", "ended" } do
        local kind, payload = refuse {
          code = code, type = "abort_request", message_id = "m", known = false,
        }
        assert.equal("ack", kind)
        assert.equal("m", payload.acknowledged_id)
      end
    end)

    it("refuses an abort that is out of order in a running stream", function()
      assert.equal("nack", (refuse {
        code = "sequence_gap", type = "abort_request", message_id = "m",
        known = true,
      }))
    end)

    it("never answers an answer", function()
      for _, kind in ipairs { "ack", "nack", "result", "stream_error",
        "text_delta", "pong", "sync", "goodbye", "models_response" } do
        assert.is_nil((refuse { code = "sequence_gap", type = kind }))
      end
    end)
  end)

  it("fails with a code that peers know", function()
    local kind, payload = protocol.fail("strange", { 1 })
    assert.equal("stream_error", kind)
    assert.equal("internal_error", payload.code)
    assert.is_string(payload.message)
  end)

  describe("builders", function()
    it("take a model in each of its forms", function()
      local function built(model)
        local m = assert(protocol.build_model(model))
        return m.provider .. "|" .. m.api .. "|" .. m.id
      end
      assert.equal("anthropic||claude-x", built "anthropic/claude-x")
      assert.equal("or||a/b", built "or/a/b")
      assert.equal("lab|ollama|tiny:1", built "lab/ollama@tiny%3A1")
      assert.equal("||tiny", built "tiny")
      assert.equal("p|a|m", built { id = "m", api = "a", provider = "p" })
      assert.equal("p|a|m",
        built { model_id = "m", api = "a", provider_id = "p" })
      assert.is_nil(protocol.build_model(nil))
      assert.is_nil(protocol.build_model {})
    end)

    it("write lenient messages in their wire form", function()
      local payload = assert(protocol.build_request {
        model = "p/m",
        messages = {
          { role = "system", content = "Be kind." },
          { role = "user", content = "hi" },
          { role = "assistant", content = "yes" },
          { role = "tool", tool_call_id = "c", content = { "one" } },
        },
        tools = { { name = "t", parameters = { type = "object" } } },
        options = { max_tokens = 5.0, tool_choice = "auto" },
      })
      assert.is_true(protocol.check("stream_request", payload))
      assert.equal("Be kind.", payload.context.system_prompt)
      assert.equal(3, #payload.context.messages)
      local assistant, tool = payload.context.messages[2],
        payload.context.messages[3]
      assert.same({ { type = "text", text = "yes" } }, assistant.content)
      assert.equal(0, assistant.usage.input)
      assert.is_false(tool.is_error)
      assert.equal("one", tool.content[1].text)
      assert.equal("5", tostring(payload.options.max_tokens))
      assert.same({ type = "auto" }, payload.options.tool_choice)
    end)

    it("leave what the caller gave as it was", function()
      local message = { role = "assistant", content = "yes" }
      protocol.build_message(message)
      assert.same({ role = "assistant", content = "yes" }, message)
    end)

    it("name the problem in what a caller wrote", function()
      for _, case in ipairs {
        { { messages = {} }, "model" },
        { { model = "m" }, "messages" },
        { { model = "m", messages = { "hi" } }, "table" },
        { { model = "m", messages = { { role = "user" } } }, "content" },
        { { model = "m", messages = { { role = "x", content = "" } } }, "role" },
        { { model = "m", messages = {}, tools = { {} } }, "name" },
      } do
        local built, problem = protocol.build_request(case[1])
        assert.is_nil(built)
        assert.truthy(problem:find(case[2], 1, true), problem)
      end
    end)

    it("turn a message into a result and back", function()
      local message = {
        role = "assistant", model = "m", api = "a", provider = "p",
        timestamp = 5, stop_reason = "tool_use",
        usage = { input = 1, output = 2, cache_read = 3, cache_write = 4 },
        content = json.array { { type = "text", text = "x" } },
      }
      local result = protocol.result_from_message(message)
      assert.equal("result", result.type)
      assert.equal(2, result.output)
      assert.same(message, protocol.message_from_result(result))
    end)

    it("read a result with nested usage as well", function()
      local message = protocol.message_from_result {
        stop_reason = "stop", content = json.array {},
        usage = { input = 7 },
      }
      assert.equal(7, message.usage.input)
      assert.equal(0, message.usage.output)
    end)
  end)

  it("filters models as the query says", function()
    local models = {
      { model_id = "a", provider_id = "p", api = "x", lifecycle = "stable" },
      { model_id = "b", provider_id = "p", api = "y",
        lifecycle = "deprecated" },
      { model_id = "a", provider_id = "q", api = "x", lifecycle = "stable",
        auth_status = "login_required" },
    }
    local function ids(query)
      local found = {}
      for _, model in ipairs(protocol.filter_models(models, query)) do
        found[#found + 1] = model.provider_id .. model.model_id
      end
      return table.concat(found, " ")
    end
    assert.equal("pa qa", ids {})
    assert.equal("pa pb qa", ids { include_deprecated = true })
    assert.equal("pa", ids { include_login_required = false })
    assert.equal("qa", ids { provider_id = "q" })
    assert.equal("pa qa", ids { model_id = "a" })
    assert.equal("", ids { api = "z" })
  end)
end)
