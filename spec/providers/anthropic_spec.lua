-- Anthropic's Messages as they are streamed, and as they are asked.
local anthropic = require("agentwire.providers.anthropic")
local json = require("agentwire.json")
local transcript = require("spec.support.transcript")

local vendor = anthropic.vendor

local function start(usage)
  return { type = "message_start", message = { id = "msg_1", role = "assistant",
    usage = usage or { input_tokens = 10, cache_read_input_tokens = 70,
      cache_creation_input_tokens = 20, output_tokens = 1 } } }
end

local function open(index, block)
  return { type = "content_block_start", index = index, content_block = block }
end

local function delta(index, value)
  return { type = "content_block_delta", index = index, delta = value }
end

local function stop(index)
  return { type = "content_block_stop", index = index }
end

local function ending(reason, usage, details)
  return { type = "message_delta", delta = { stop_reason = reason,
    stop_details = details }, usage = usage or { output_tokens = 30 } }
end

local STOP = { type = "message_stop" }
local PING = { type = "ping" }

local SEARCH = { type = "web_search_tool_result", tool_use_id = "srv_1",
  content = json.array { { type = "web_search_result", url = "u",
    encrypted_content = "Enc==" } } }

local WHOLE = transcript.events {
  start(),
  open(0, { type = "thinking", thinking = "", signature = "" }),
  delta(0, { type = "thinking_delta", thinking = "Hm, " }), PING,
  delta(0, { type = "thinking_delta", thinking = "ü." }),
  delta(0, { type = "signature_delta", signature = "Sig/+==" }), stop(0),
  open(1, { type = "redacted_thinking", data = "Red==" }), stop(1),
  open(2, { type = "server_tool_use", id = "srv_1", name = "web_search", input = {} }),
  delta(2, { type = "input_json_delta", partial_json = '{"query":' }),
  delta(2, { type = "input_json_delta", partial_json = '"x"}' }), stop(2),
  open(3, SEARCH), stop(3),
  open(4, { type = "text", text = "" }),
  delta(4, { type = "text_delta", text = "你" }),
  delta(4, { type = "text_delta", text = "好" }), stop(4),
  open(5, { type = "tool_use", id = "toolu_1", name = "read", input = {} }),
  delta(5, { type = "input_json_delta", partial_json = "" }),
  delta(5, { type = "input_json_delta", partial_json = '{"path":"a' }),
  delta(5, { type = "input_json_delta", partial_json = '.txt"}' }), stop(5),
  ending("tool_use"), STOP,
}

local function read(list)
  return transcript.read(vendor, { type(list) == "string" and list
    or transcript.events(list) })
end

local TAG = { api = "anthropic", provider = "p", model = "m", scope = "s" }

local function build(request, settings)
  request.model = { id = "m", provider = "p", api = "" }
  request.options = request.options or {}
  request.context = request.context or { messages = {
    { role = "user", content = "Hi" } } }
  settings = settings or {}
  settings.takes = settings.takes or {}
  settings.api_version = settings.api_version or "2023-06-01"
  local built = assert(vendor.build(request, { tag = settings.tag or TAG,
    settings = settings }))
  return json.decode(json.encode(built.body)), built
end

local function answer_of(got, more)
  local message = { role = "assistant", content = got.content, state_of = TAG,
    stop_reason = got.message and got.message.stop_reason or "error" }
  for name, value in pairs(more or {}) do
    message[name] = value
  end
  return message
end

local function result(id, text)
  return { role = "tool", tool_call_id = id, tool_name = "f", is_error = false,
    content = { { type = "text", text = text } } }
end

describe("anthropic reads", function()
  it("its blocks in order, the same however the bytes are cut", function()
    local whole = transcript.cut(vendor, WHOLE)
    local list = {}
    for index, block in ipairs(whole.content) do
      list[index] = block.opaque or block.text or block.thinking
        or block.arguments_json
    end
    assert.same({ "Hm, ü.", "redacted_thinking", "server_tool_use",
      "web_search_tool_result", "你好", '{"path":"a.txt"}' }, list)
    assert.equal("tool_use", whole.message.stop_reason)
  end)

  it("no success before message_stop, at any byte (bug 2)", function()
    transcript.ends_early(vendor, WHOLE, '"message_stop"')
  end)

  it("usage once: cumulative counts are set, never added (bug 8)", function()
    local got = read { start(), open(0, { type = "text", text = "x" }), stop(0),
      ending("end_turn", { input_tokens = 10, output_tokens = 30,
        cache_read_input_tokens = 70, cache_creation_input_tokens = 20 }), STOP }
    assert.same({ input = 10, cache_read = 70, cache_write = 20, output = 30,
      total = 130 }, got.message.usage)
    local zero = read { start { input_tokens = 0, output_tokens = 0 },
      open(0, { type = "text", text = "x" }), stop(0),
      ending("end_turn", { input_tokens = 12, output_tokens = 3 }), STOP }
    assert.equal(12, zero.message.usage.input)
  end)

  it("an error inside a good answer, with and without its event name (bug 12)",
    function()
      local problem = { type = "error", error = { type = "overloaded_error",
        message = "Overloaded" } }
      for _, bytes in ipairs { transcript.event(problem, "error"),
        transcript.event(problem), transcript.event { error = problem.error } } do
        local got = read(transcript.events { start() } .. bytes)
        assert.equal("overloaded", got.code)
        assert.is_true(got.details.may_retry)
      end
    end)

  it("each stop reason for what it asks (bug 15)", function()
    for raw, own in pairs { end_turn = "stop", stop_sequence = "stop",
      max_tokens = "length", model_context_window_exceeded = "length",
      pause_turn = "pause", refusal = "refusal", odd = "stop" } do
      local got = read { start(), open(0, { type = "text", text = "x" }), stop(0),
        ending(raw, nil, { category = "cyber", explanation = "No." }), STOP }
      assert.equal(own, got.message.stop_reason)
      assert.equal(raw, got.message.stop_raw)
      assert.same({ category = "cyber", explanation = "No." },
        got.message.stop_details)
    end
  end)

  it("a call that was cut as incomplete (bug 10)", function()
    local got = read { start(), open(0, { type = "tool_use", id = "t", name = "rm",
      input = {} }), delta(0, { type = "input_json_delta",
      partial_json = '{"path":"/' }), stop(0), ending("max_tokens"), STOP }
    assert.is_true(got.content[1].incomplete)
    assert.equal("length", got.message.stop_reason)
  end)

  it("arguments that come whole at the start", function()
    local got = read { start(), open(0, { type = "tool_use", id = "t", name = "f",
      input = { x = 1 } }), stop(0), ending("tool_use"), STOP }
    assert.equal('{"x":1}', got.content[1].arguments_json)
  end)

  it("events, blocks and deltas that it does not know, without harm", function()
    local got = read { start(), { type = "new_event" },
      open(0, { type = "compaction" }),
      delta(0, { type = "compaction_delta", content = "a" }),
      delta(0, { type = "compaction_delta", content = "b" }), stop(0),
      open(1, { type = "text", text = "" }),
      delta(1, { type = "new_delta", x = "y" }),
      delta(1, { type = "text_delta", text = "Hi" }), stop(1), ending("end_turn"),
      STOP }
    assert.equal("compaction", got.content[1].opaque)
    assert.same({ type = "compaction", content = "ab" },
      json.decode(got.content[1].provider_state))
    assert.equal("Hi", got.content[2].text)
  end)
end)

describe("anthropic is asked", function()
  it("with its own blocks back as they came (bug 3)", function()
    local body = build { context = { messages = { { role = "user", content = "a" },
      answer_of(read(WHOLE)), result("toolu_1", "text") } } }
    assert.same({
      { type = "thinking", thinking = "Hm, ü.", signature = "Sig/+==" },
      { type = "redacted_thinking", data = "Red==" },
      { type = "server_tool_use", id = "srv_1", name = "web_search",
        input = { query = "x" } },
      SEARCH, { type = "text", text = "你好" },
      { type = "tool_use", id = "toolu_1", name = "read",
        input = { path = "a.txt" } },
    }, body.messages[2].content)
    assert.same({ { type = "tool_result", tool_use_id = "toolu_1",
      content = { { type = "text", text = "text" } } } }, body.messages[3].content)
  end)

  it("with empty thinking where only its signature was sent", function()
    local got = read { start(), open(0, { type = "thinking", thinking = "",
      signature = "" }), delta(0, { type = "signature_delta", signature = "S" }),
      stop(0), open(1, { type = "text", text = "x" }), stop(1),
      ending("end_turn"), STOP }
    local body = build { context = { messages = { { role = "user", content = "a" },
      answer_of(got), { role = "user", content = "b" } } } }
    assert.same({ type = "thinking", thinking = "", signature = "S" },
      body.messages[2].content[1])
  end)

  it("without thinking that was aborted before its signature (bug 3)", function()
    local got = read { start(), open(0, { type = "thinking", thinking = "" }),
      delta(0, { type = "thinking_delta", thinking = "signed" }),
      delta(0, { type = "signature_delta", signature = "S" }), stop(0),
      open(1, { type = "text", text = "so" }), stop(1),
      open(2, { type = "thinking", thinking = "" }),
      delta(2, { type = "thinking_delta", thinking = "cut" }) }
    local body = build { context = { messages = { { role = "user", content = "a" },
      answer_of(got), { role = "user", content = "b" } } } }
    assert.same({ { type = "thinking", thinking = "signed", signature = "S" },
      { type = "text", text = "so" } }, body.messages[2].content)
  end)

  it("without another model's thinking", function()
    local body = build { context = { messages = { { role = "user", content = "a" },
      answer_of(read(WHOLE), { state_of = { api = "anthropic", provider = "p",
        model = "older", scope = "s" } }), result("toolu_1", "x") } } }
    local kinds = {}
    for index, block in ipairs(body.messages[2].content) do
      kinds[index] = block.type
    end
    assert.same({ "text", "tool_use" }, kinds)
  end)

  it("in turns that alternate, results first, ids as it takes them (bugs 4, 16)",
    function()
      local body = build { context = { messages = {
        { role = "assistant", content = { { type = "tool_call", id = "a:1",
          name = "f", arguments_json = "{}" }, { type = "tool_call", id = "b",
          name = "f", arguments_json = "{}" } }, stop_reason = "tool_use" },
        { role = "user", content = "meanwhile" }, result("b", "B") } } }
      local roles = {}
      for index, message in ipairs(body.messages) do
        roles[index] = message.role
      end
      assert.same({ "user", "assistant", "user" }, roles)
      local calls, results = body.messages[2].content, body.messages[3].content
      assert.matches("^[%w_-]+$", calls[1].id)
      assert.equal(calls[1].id, results[1].tool_use_id)
      assert.is_true(results[1].is_error)
      assert.equal("b", results[2].tool_use_id)
      assert.equal("meanwhile", results[3].text)
    end)

  it("for a pause with the message as it is, and no word behind it", function()
    local paused = answer_of(read(WHOLE), { stop_reason = "pause" })
    table.remove(paused.content) -- the call
    local body = build { context = { messages = { { role = "user", content = "a" },
      paused } } }
    assert.equal(2, #body.messages)
    paused.stop_reason = "stop"
    assert.equal("user", build { context = { messages = { { role = "user",
      content = "a" }, paused } } }.messages[3].role)
  end)

  it("for no sampling that it refuses, nor unasked for any (bug 17)", function()
    local options = { temperature = 0.5, top_p = 0.9 }
    assert.equal(0.5, build({ options = options }).temperature)
    assert.is_nil(build({}).temperature)
    for _, settings in ipairs { { api_version = "2026-10-21" },
      { takes = { sampling = false } } } do
      local body = build({ options = options }, settings)
      assert.is_nil(body.temperature)
      assert.is_nil(body.top_p)
    end
    options.thinking_enabled = true
    assert.is_nil(build({ options = options }).temperature)
  end)

  it("for thinking in the way that the model takes (bug 17)", function()
    local function thinking(options, settings)
      local body = build({ options = options }, settings)
      return body.thinking, body
    end
    local budget, body = thinking { thinking_budget_tokens = 5000,
      max_tokens = 100 }
    assert.same({ type = "enabled", budget_tokens = 5000 }, budget)
    assert.is_true(body.max_tokens > 5000)
    local adaptive
    adaptive, body = thinking { thinking_effort = "high" }
    assert.same({ type = "adaptive" }, adaptive)
    assert.equal("high", body.output_config.effort)
    assert.equal("adaptive", thinking({ thinking_budget_tokens = 5000 },
      { takes = { thinking = "adaptive" } }).type)
    assert.is_nil((thinking({ thinking_effort = "high" },
      { takes = { thinking = false } })))
    assert.is_nil((thinking { thinking_enabled = false,
      thinking_effort = "high" }))
    assert.is_nil((thinking {}))
  end)

  it("to force no call on a model that thinks or does not let itself", function()
    local request = { options = { tool_choice = { type = "required" },
      parallel_tool_calls = false }, context = { messages = {},
      tools = { { name = "f", parameters_schema_json = "{}" } } } }
    assert.same({ type = "any", disable_parallel_tool_use = true },
      build(request).tool_choice)
    assert.equal("auto", build(request,
      { takes = { forced_tool_choice = false } }).tool_choice.type)
    request.options.thinking_enabled = true
    assert.equal("auto", build(request).tool_choice.type)
    request.context.tools = nil
    assert.is_nil(build(request).tool_choice)
  end)

  it("with each option under its name there", function()
    local body, built = build { options = { max_tokens = 9,
      stop_sequences = { "END" }, cache_retention = "long",
      metadata = { user_id = "u" }, response_schema = { type = "object" },
      extra = { top_k = 3, model = "other" } },
      context = { system_prompt = "Be brief.", messages = { { role = "user",
        content = { { type = "image", data = "AA==", mime_type = "image/png" } } } },
        tools = { { name = "f", description = "d",
          parameters_schema_json = { type = "object" } } } } }
    local mark = { type = "ephemeral", ttl = "1h" }
    assert.same({ model = "m", stream = true, max_tokens = 9, top_k = 3,
      stop_sequences = { "END" }, metadata = { user_id = "u" },
      output_config = { format = { type = "json_schema",
        schema = { type = "object" } } },
      system = { { type = "text", text = "Be brief.", cache_control = mark } },
      tools = { { name = "f", description = "d", cache_control = mark,
        input_schema = { type = "object", properties = {} } } },
      messages = { { role = "user", content = { { type = "image",
        cache_control = mark, source = { type = "base64",
          media_type = "image/png", data = "AA==" } } } } } }, body)
    assert.equal("/v1/messages", built.path)
    assert.equal("2023-06-01", built.headers["anthropic-version"])
  end)

  it("with the key in the header of its version", function()
    local headers = {}
    vendor.authorize(headers, "k", { api_version = "2023-06-01" })
    assert.same({ ["x-api-key"] = "k" }, headers)
    headers = {}
    vendor.authorize(headers, "k", { api_version = "2026-10-21" })
    assert.same({ authorization = "Bearer k" }, headers)
  end)
end)
