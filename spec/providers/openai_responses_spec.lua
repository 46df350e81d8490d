-- The Responses API as it is streamed, and as it is asked.
local json = require("agentwire.json")
local responses = require("agentwire.providers.openai_responses")
local transcript = require("spec.support.transcript")

local vendor = responses.vendor

local function event(name, members)
  members = members or {}
  members.type = "response." .. name
  return members
end

local REASONING = { type = "reasoning", id = "rs_1", encrypted_content = "Enc/+==",
  summary = json.array { { type = "summary_text", text = "One." },
    { type = "summary_text", text = "Two: ü" } } }

local MESSAGE = { type = "message", id = "msg_1", role = "assistant",
  phase = "commentary", status = "completed",
  content = json.array { { type = "output_text", text = "你好", annotations = {} } } }

local function function_call(id, call_id, arguments, status)
  return { type = "function_call", id = id, call_id = call_id, name = "read",
    arguments = arguments, status = status }
end

local function arguments(index, delta)
  return event("function_call_arguments.delta", { output_index = index,
    item_id = "fc_" .. index, delta = delta })
end

local function completed(status, more)
  local response = { id = "resp_1", status = status, usage = {
    input_tokens = 100, input_tokens_details = { cached_tokens = 60 },
    output_tokens = 20, output_tokens_details = { reasoning_tokens = 5 } } }
  for name, value in pairs(more or {}) do
    response[name] = value
  end
  return event(status, { response = response })
end

local function numbered(list)
  for index, each in ipairs(list) do
    each.sequence_number = index - 1
  end
  return list
end

local function whole_list()
  return numbered {
    event("created", { response = { id = "resp_1" } }), event("in_progress"),
    event("output_item.added", { output_index = 0, item = { type = "reasoning",
      id = "rs_1", summary = json.array {} } }),
    event("reasoning_summary_text.delta", { output_index = 0, item_id = "rs_1",
      summary_index = 0, delta = "One." }),
    event("reasoning_summary_text.delta", { output_index = 0, item_id = "rs_1",
      summary_index = 1, delta = "Two: ü" }),
    event("output_item.done", { output_index = 0, item = REASONING }),
    event("output_item.added", { output_index = 1, item = { type = "message",
      id = "msg_1", content = json.array {} } }),
    event("output_text.delta", { output_index = 1, item_id = "msg_1",
      content_index = 0, delta = "你" }),
    event("output_text.delta", { output_index = 1, item_id = "msg_1",
      content_index = 0, delta = "好" }),
    event("output_text.done", { output_index = 1, item_id = "msg_1",
      content_index = 0, text = "你好" }),
    event("output_item.done", { output_index = 1, item = MESSAGE }),
    event("output_item.added", { output_index = 2,
      item = function_call("fc_2", "call_a", "", "in_progress") }),
    event("output_item.added", { output_index = 3,
      item = function_call("fc_3", "call_b", "", "in_progress") }),
    arguments(2, '{"path":'), arguments(3, '{"path":"b'), arguments(2, '"a"}'),
    arguments(3, '"}'),
    event("function_call_arguments.done", { output_index = 2, item_id = "fc_2",
      arguments = '{"path":"a"}' }),
    event("output_item.done", { output_index = 2,
      item = function_call("fc_2", "call_a", '{"path":"a"}', "completed") }),
    event("output_item.done", { output_index = 3,
      item = function_call("fc_3", "call_b", '{"path":"b"}', "completed") }),
    completed("completed"),
  }
end

local WHOLE = transcript.events(whole_list())

local function read(list)
  return transcript.read(vendor, { type(list) == "string" and list
    or transcript.events(list) })
end

local function texts(content)
  local list = {}
  for index, block in ipairs(content) do
    list[index] = block.opaque or block.text or block.thinking
      or block.id .. block.arguments_json
  end
  return list
end

local TAG = { api = "openai_responses", provider = "p", model = "m", scope = "s" }

local function build(request, settings, base_url)
  request.model = { id = "m", provider = "p", api = "" }
  request.options = request.options or {}
  request.context = request.context or { messages = {
    { role = "user", content = "Hi" } } }
  settings = settings or {}
  settings.takes = settings.takes or {}
  local built = assert(vendor.build(request, { tag = TAG, settings = settings,
    base_url = base_url or "http://localhost/v1" }))
  return json.decode(json.encode(built.body))
end

local function answer_of(content, more)
  local message = { role = "assistant", content = content, state_of = TAG,
    stop_reason = "stop" }
  for name, value in pairs(more or {}) do
    message[name] = value
  end
  return message
end

local function result(id, text)
  return { role = "tool", tool_call_id = id, tool_name = "f",
    content = { { type = "text", text = text } } }
end

describe("openai_responses reads", function()
  it("each text once, the same however the bytes are cut", function()
    local whole = transcript.cut(vendor, WHOLE)
    assert.same({ "One.\n\nTwo: ü", "你好", 'call_a{"path":"a"}',
      'call_b{"path":"b"}' }, texts(whole.content))
    assert.equal("tool_use", whole.message.stop_reason)
    assert.same({ input = 40, cache_read = 60, cache_write = 0, output = 20,
      reasoning = 5, total = 120 }, whole.message.usage)
  end)

  it("no success before the terminal event, at any byte (bug 2)", function()
    transcript.ends_early(vendor, WHOLE, '"type":"response.completed"')
  end)

  it("what comes without deltas from the items", function()
    local got = read { event("output_item.done", { output_index = 0,
      item = MESSAGE }), event("output_item.done", { output_index = 1,
      item = function_call("fc", "c", '{"x":1}') }), completed("completed") }
    assert.same({ "你好", 'c{"x":1}' }, texts(got.content))
  end)

  it("a gap in the numbers as a hole, but no numbers as none", function()
    local list = whole_list()
    table.remove(list, 8)
    assert.equal("truncated", read(list).code)
    for _, each in ipairs(list) do
      each.sequence_number = nil
    end
    assert.truthy(read(list).message)
  end)

  it("both forms of an error (bug 12)", function()
    for _, bytes in ipairs {
      { { type = "error", code = "rate_limit_exceeded", message = "slow",
        param = json.null } },
      { { type = "error", status = 429, error = { type = "rate_limit_error",
        message = "slow" } } },
      { completed("failed", { error = { code = "rate_limit_exceeded",
        message = "slow" } }) },
    } do
      local got = read(bytes)
      assert.equal("rate_limited", got.code)
      assert.equal("slow", got.text)
    end
    assert.equal("provider_error", read { completed("cancelled") }.code)
  end)

  it("why it is incomplete (bug 15)", function()
    for reason, own in pairs { max_output_tokens = "length", steered = "steered",
      content_filter = "content_filter" } do
      local got = read { completed("incomplete", {
        incomplete_details = { reason = reason } }) }
      assert.equal(own, got.message.stop_reason)
      assert.equal(reason, got.message.stop_raw)
    end
  end)

  it("a call that was cut as incomplete (bug 10)", function()
    local got = read { event("output_item.added", { output_index = 2,
      item = function_call("fc_2", "c", "") }), arguments(2, '{"pa'),
      completed("incomplete", { incomplete_details = {
        reason = "max_output_tokens" } }) }
    assert.is_true(got.content[1].incomplete)
  end)

  it("a refusal as one", function()
    local got = read { event("refusal.delta", { output_index = 0, item_id = "m",
      content_index = 0, delta = "No." }), completed("completed") }
    assert.equal("refusal", got.message.stop_reason)
    assert.same({ "No." }, texts(got.content))
  end)
end)

describe("openai_responses is asked", function()
  it("with its own items back, untouched (bug 6)", function()
    local body = build { context = { messages = { { role = "user", content = "a" },
      answer_of(read(WHOLE).content), result("call_a", "A"),
      result("call_b", "B") } } }
    assert.same(REASONING, body.input[2])
    assert.equal("msg_1", body.input[3].id)
    assert.equal("commentary", body.input[3].phase)
    assert.same({ type = "function_call", id = "fc_2", call_id = "call_a",
      name = "read", arguments = '{"path":"a"}' }, body.input[4])
    assert.same({ type = "function_call_output", call_id = "call_a",
      output = "A" }, body.input[6])
  end)

  it("for what is encrypted, where nothing is stored and it reasons (bug 6)",
    function()
      local include = { "reasoning.encrypted_content" }
      local body = build { options = { reasoning_effort = "low",
        reasoning_summary = "auto" } }
      assert.is_false(body.store)
      assert.same(include, body.include)
      assert.same({ effort = "low", summary = "auto" }, body.reasoning)
      assert.same(include, build({}, { takes = { reasoning = true } }).include)
      assert.is_nil(build({}).include)
      assert.is_nil(build({ options = { reasoning_effort = "low" } },
        { store = true }).include)
      assert.is_nil(build({ options = { reasoning_effort = "low" } },
        { takes = { reasoning = false } }).reasoning)
    end)

  it("with no reasoning that nothing follows, and none of another account",
    function()
      local content = read(WHOLE).content
      local alone = { content[2], content[1], { type = "tool_call", id = "c",
        name = "f", arguments_json = "{", incomplete = true } }
      local body = build { context = { messages = { { role = "user",
        content = "a" }, answer_of(alone), { role = "user", content = "b" } } } }
      assert.equal(3, #body.input)
      assert.equal("message", body.input[2].type)
      local other = { api = "openai_responses", provider = "p", model = "m",
        scope = "other" }
      body = build { context = { messages = { { role = "user", content = "a" },
        answer_of(content, { state_of = other }) } } }
      assert.equal("message", body.input[2].type)
      assert.is_nil(body.input[2].id)
      assert.is_nil(body.input[3].id)
    end)

  it("with ids of calls that it takes (bug 16)", function()
    local id = ("x"):rep(100)
    local body = build { context = { messages = { answer_of { { type = "tool_call",
      id = id, name = "f", arguments_json = "{}" } }, result(id, "A") } } }
    assert.is_true(#body.input[1].call_id <= 64)
    assert.equal(body.input[1].call_id, body.input[2].call_id)
  end)

  it("with each option under its name there", function()
    local body = build({ options = { temperature = 0.5, top_p = 0.9,
      max_tokens = 9, prompt_cache_key = "k", parallel_tool_calls = false,
      tool_choice = { type = "function", ["function"] = "f" },
      response_schema = { type = "object" }, metadata = { user_id = "u" },
      extra = { truncation = "auto", stream = false } },
      context = { system_prompt = "Be brief.", messages = { { role = "user",
        content = { { type = "image", data = "AA==", mime_type = "image/png" } } } },
        tools = { { name = "f", description = "d",
          parameters_schema_json = { type = "object" } } } } }, {},
      "https://api.openai.com/v1")
    assert.same({ model = "m", stream = true, store = false, temperature = 0.5,
      top_p = 0.9, max_output_tokens = 9, prompt_cache_key = "k",
      safety_identifier = "u", truncation = "auto", parallel_tool_calls = false,
      stream_options = { include_obfuscation = false },
      instructions = "Be brief.",
      tool_choice = { type = "function", name = "f" },
      text = { format = { type = "json_schema", name = "answer", strict = true,
        schema = { type = "object" } } },
      tools = { { type = "function", name = "f", description = "d",
        strict = false, parameters = { type = "object", properties = {} } } },
      input = { { type = "message", role = "user", content = { {
        type = "input_image", detail = "auto",
        image_url = "data:image/png;base64,AA==" } } } } }, body)
  end)
end)
