-- Chat Completions as its servers stream it, and as they are asked.
local json = require("agentwire.json")
local openai_chat = require("agentwire.providers.openai_chat")
local transcript = require("spec.support.transcript")

local vendor = openai_chat.vendor

local function chunk(delta, finish_reason, more)
  local value = { id = "c1", object = "chat.completion.chunk", model = "m",
    choices = json.array { { index = 0, delta = delta,
      finish_reason = finish_reason or json.null } } }
  for name, each in pairs(more or {}) do
    value[name] = each
  end
  return transcript.event(value)
end

local function call(index, id, name, arguments)
  return { tool_calls = json.array { { index = index, id = id, type = "function",
    ["function"] = { name = name, arguments = arguments } } } }
end

local DONE = "data: [DONE]\n\n"
local USAGE = { prompt_tokens = 100, completion_tokens = 20, total_tokens = 120,
  prompt_tokens_details = { cached_tokens = 60 },
  completion_tokens_details = { reasoning_tokens = 5 } }

local function usage_chunk(usage)
  return transcript.event { id = "c1", choices = json.array {}, usage = usage }
end

local function read(bytes, settings)
  return transcript.read(vendor, { bytes }, settings)
end

local function texts(content)
  local list = {}
  for index, block in ipairs(content) do
    list[index] = block.type .. ":" .. (block.text or block.thinking
      or block.name .. block.arguments_json)
  end
  return list
end

local WHOLE = chunk { role = "assistant", content = "" }
  .. chunk { reasoning_content = "Hm, " } .. chunk { reasoning_content = "ü." }
  .. chunk { content = "Let me " } .. chunk { content = "look: 你好" }
  .. chunk(call(0, "call_a", "read", "")) .. chunk(call(0, nil, nil, '{"pa'))
  .. chunk(call(1, "call_b", "list", '{"dir":"s')) .. chunk(call(0, nil, nil, 'th":"x"}'))
  .. chunk(call(1, nil, nil, 'rc"}')) .. chunk({}, "tool_calls")
  .. usage_chunk(USAGE) .. DONE

describe("openai_chat reads", function()
  it("text, reasoning and calls the same, however the bytes are cut", function()
    local whole = transcript.cut(vendor, WHOLE)
    assert.same({ "thinking:Hm, ü.", "text:Let me look: 你好",
      'tool_call:read{"path":"x"}', 'tool_call:list{"dir":"src"}' },
      texts(whole.content))
    assert.equal("tool_use", whole.message.stop_reason)
    assert.equal("tool_calls", whole.message.stop_raw)
  end)

  it("lines that end in CR LF, comments, and no space behind the colon (bug 11)",
    function()
      local bytes = ": OPENROUTER PROCESSING\n\n" .. WHOLE:gsub("data: ", "data:")
      bytes = (":\n" .. bytes):gsub("\n", "\r\n")
      assert.same(texts(read(WHOLE).content),
        texts(transcript.cut(vendor, bytes).content))
    end)

  it("no success from what ends early, at any byte (bug 2)", function()
    transcript.ends_early(vendor, WHOLE, '"finish_reason":"tool_calls"')
    transcript.ends_early(vendor, chunk { content = "Hi" } .. DONE, "[DONE]")
  end)

  it("two calls on one index as two, by their ids (bug 1)", function()
    local got = read(chunk(call(0, "a", "f", '{"x":1}'))
      .. chunk(call(0, "b", "f", '{"x":2}')) .. chunk({}, "tool_calls") .. DONE)
    assert.same({ 'tool_call:f{"x":1}', 'tool_call:f{"x":2}' },
      texts(got.content))
  end)

  it("a call without an index as the last one, or by its id", function()
    local got = read(chunk(call(nil, "a", "f", '{"x":')) .. chunk(call(nil, nil, nil, "1"))
      .. chunk(call(nil, "b", "g", "{}")) .. chunk(call(nil, "a", "f", "}"))
      .. chunk({}, "tool_calls") .. DONE)
    assert.same({ 'tool_call:f{"x":1}', "tool_call:g{}" }, texts(got.content))
  end)

  it("ids and names that are repeated or empty as no change", function()
    local got = read(chunk(call(0, "a", "f", "{"))
      .. chunk(call(0, "", "", "}")) .. chunk(call(0, "a", "f", ""))
      .. chunk({}, "tool_calls") .. DONE)
    assert.same({ "tool_call:f{}" }, texts(got.content))
    assert.equal("a", got.content[1].id)
  end)

  it("arguments that are an object, or nothing", function()
    local got = read(chunk(call(0, "a", "f", { x = 1 })) .. chunk(call(1, "b", "g", ""))
      .. chunk({}, "tool_calls") .. DONE)
    assert.same({ 'tool_call:f{"x":1}', "tool_call:g{}" }, texts(got.content))
    assert.is_nil(got.content[2].incomplete)
  end)

  it("arguments that were cut as an incomplete call, never as {} (bug 10)",
    function()
      local got = read(chunk(call(0, "a", "rm", '{"path":"/tmp'))
        .. chunk({}, "length") .. DONE)
      assert.equal("length", got.message.stop_reason)
      assert.is_true(got.content[1].incomplete)
      assert.equal('{"path":"/tmp', got.content[1].arguments_json)
    end)

  it("null members as nothing", function()
    local got = read(chunk { content = json.null, tool_calls = json.null,
      reasoning_content = json.null } .. transcript.event { choices = json.array {
        { index = 0, finish_reason = json.null } } }
      .. chunk({ content = "Hi" }, "stop") .. DONE)
    assert.same({ "text:Hi" }, texts(got.content))
  end)

  it("reasoning under any of its names, once where two are there (bug 20)",
    function()
      for _, name in ipairs { "reasoning_content", "reasoning", "reasoning_text" } do
        local got = read(chunk { [name] = "a" } .. chunk { [name] = "b" }
          .. chunk({ content = "c" }, "stop") .. DONE)
        assert.same({ "thinking:ab", "text:c" }, texts(got.content))
      end
      local both = read(chunk { reasoning = "a", reasoning_content = "a" }
        .. chunk({ content = "c" }, "stop") .. DONE)
      assert.same({ "thinking:a", "text:c" }, texts(both.content))
    end)

  it("Mistral's lists of chunks", function()
    local got = read(chunk { content = json.array {
      { type = "thinking", thinking = json.array { { type = "text", text = "Hm" } } },
    } } .. chunk { content = json.array { { type = "text", text = "Hi" } } }
      .. chunk({ content = "!" }, "stop") .. DONE)
    assert.same({ "thinking:Hm", "text:Hi!" }, texts(got.content))
  end)

  it("text behind calls as a block of its own", function()
    local got = read(chunk(call(0, "a", "f", "{}")) .. chunk { content = "so" }
      .. chunk({}, "tool_calls") .. DONE)
    assert.same({ "tool_call:f{}", "text:so" }, texts(got.content))
  end)

  it("usage behind the finish_reason (bug 9), the last of several (bug 8)",
    function()
      local got = read(WHOLE)
      assert.same({ input = 40, cache_read = 60, cache_write = 0, output = 20,
        reasoning = 5, total = 120 }, got.message.usage)
      local twice = read(chunk({ content = "x" }, "stop", { usage = {
        prompt_tokens = 3, completion_tokens = 1 } })
        .. usage_chunk { prompt_tokens = 3, completion_tokens = 2 } .. DONE)
      assert.equal(3, twice.message.usage.input)
      assert.equal(2, twice.message.usage.output)
    end)

  it("an error inside a good answer as an error (bug 12)", function()
    for _, bytes in ipairs {
      transcript.event { error = { message = "busy", type = "overloaded_error" } },
      "event: error\n" .. transcript.event { message = "busy",
        type = "overloaded_error" },
    } do
      local got = read(chunk { content = "Hi" } .. bytes .. DONE)
      assert.is_nil(got.message)
      assert.equal("overloaded", got.code)
      assert.equal("busy", got.text)
    end
    assert.equal("provider_error",
      read(chunk({ content = "x" }, "error") .. DONE).code)
    assert.equal("provider_error",
      read(transcript.event { error = "kaput" }).code)
  end)

  it("stop reasons by their own names (bug 15)", function()
    for raw, own in pairs { stop = "stop", length = "length",
      content_filter = "content_filter", odd = "stop" } do
      local got = read(chunk({ content = "x" }, raw) .. DONE)
      assert.equal(own, got.message.stop_reason)
      assert.equal(raw, got.message.stop_raw)
    end
    assert.equal("refusal",
      read(chunk { refusal = "No." } .. chunk({}, "stop") .. DONE).message.stop_reason)
  end)

  it("a lenient server's end without a marker, but not behind a call", function()
    local lenient = { ending = "lenient" }
    assert.truthy(read(chunk { content = "Hi" }, lenient).message)
    assert.is_nil(read("", lenient).message)
    assert.equal("truncated",
      read(chunk(call(0, "a", "f", "{}")), lenient).code)
  end)

  it("arguments up to a limit", function()
    local got = read(chunk(call(0, "a", "f", ("x"):rep(2000))) .. DONE,
      { max_arguments_bytes = 1000 })
    assert.equal("limit", got.code)
  end)
end)

local TAG = { api = "openai_chat", provider = "p", model = "m", scope = "s" }

local function build(request, settings, base_url)
  request.model = { id = "m", provider = "p", api = "" }
  request.options = request.options or {}
  request.context = request.context or { messages = {
    { role = "user", content = "Hi" } } }
  settings = settings or {}
  settings.takes = settings.takes or {}
  local built = assert(vendor.build(request, { tag = TAG, settings = settings,
    base_url = base_url or "http://localhost/v1" }))
  return json.decode(json.encode(built.body)), built
end

--- The messages of a request that continues with an answer which was read.
local function continued(bytes, tag, results)
  local got = read(bytes)
  local messages = { { role = "user", content = "Hi" }, {
    role = "assistant", content = got.content, state_of = tag or TAG,
    stop_reason = got.message.stop_reason,
  } }
  for _, result in ipairs(results or {}) do
    messages[#messages + 1] = result
  end
  messages[#messages + 1] = { role = "user", content = "on" }
  return build({ context = { messages = messages } }).messages
end

local function result(id, text)
  return { role = "tool", tool_call_id = id, tool_name = "f",
    content = { { type = "text", text = text } } }
end

describe("openai_chat asks", function()
  it("with every call answered once, in order", function()
    local messages = continued(WHOLE, nil, { result("call_b", "B"),
      result("call_a", "A"), result("call_z", "nobody's") })
    local roles = {}
    for index, message in ipairs(messages) do
      roles[index] = message.role .. (message.tool_call_id or "")
    end
    assert.same({ "user", "assistant", "toolcall_a", "toolcall_b", "user" }, roles)
    assert.equal("A", messages[3].content)
    assert.equal('{"path":"x"}', messages[2].tool_calls[1]["function"].arguments)
  end)

  it("with reasoning_content beside calls, also where it is empty (bug 5)",
    function()
      assert.equal("Hm, ü.", continued(WHOLE)[2].reasoning_content)
      local empty = chunk { reasoning_content = "" }
        .. chunk(call(0, "a", "f", "{}")) .. chunk({}, "tool_calls") .. DONE
      assert.equal("", continued(empty)[2].reasoning_content)
      local plain = chunk { reasoning_content = "Hm" }
        .. chunk({ content = "Hi" }, "stop") .. DONE
      assert.is_nil(continued(plain)[2].reasoning_content)
    end)

  it("without anybody else's reasoning, which is never text (bug 3)", function()
    local other = { api = "openai_chat", provider = "p", model = "other",
      scope = "s" }
    local message = continued(WHOLE, other)[2]
    assert.is_nil(message.reasoning_content)
    assert.equal("Let me look: 你好", message.content)
  end)

  it("with reasoning_details as they came, put together", function()
    local bytes = chunk { reasoning_details = json.array {
      { type = "reasoning.text", text = "Hm, ", index = 0, format = "x" } } }
      .. chunk { reasoning_details = json.array {
        { type = "reasoning.text", text = "so", index = 0 } } }
      .. chunk { reasoning_details = json.array {
        { type = "reasoning.text", signature = "Sig", index = 0 } } }
      .. chunk({ content = "Hi" }, "stop") .. DONE
    assert.same({ { type = "reasoning.text", text = "Hm, so", index = 0,
      format = "x", signature = "Sig" } }, continued(bytes)[2].reasoning_details)
  end)

  it("with Mistral's thinking in its form, and ids that it takes (bug 16)",
    function()
      local bytes = chunk { content = json.array { { type = "thinking",
        signature = "s", closed = true,
        thinking = json.array { { type = "text", text = "Hm" } } } } }
        .. chunk({ content = "Hi" }, "stop") .. DONE
      assert.same({ { type = "thinking", signature = "s", closed = true,
        thinking = { { type = "text", text = "Hm" } } },
        { type = "text", text = "Hi" } }, continued(bytes)[2].content)
      local messages = { { role = "assistant", content = { { type = "tool_call",
        id = "call_1", name = "f", arguments_json = "{}" } } },
        result("call_1", "A") }
      local asked = build({ context = { messages = messages } },
        { call_ids = "mistral" }).messages
      assert.matches("^%w%w%w%w%w%w%w%w%w$", asked[1].tool_calls[1].id)
      assert.equal(asked[1].tool_calls[1].id, asked[2].tool_call_id)
    end)

  it("for no tools where there are none, and for no choice among none (bug 18)",
    function()
      local body = build { options = { tool_choice = { type = "auto" },
        parallel_tool_calls = false },
        context = { messages = {}, tools = json.array {} } }
      assert.is_nil(body.tools)
      assert.is_nil(body.tool_choice)
      assert.is_nil(body.parallel_tool_calls)
    end)

  it("for nothing that a model refuses, nor for what nobody asked for (bug 17)",
    function()
      local body = build({ options = { temperature = 1, top_p = 0.5,
        reasoning_effort = "high" } }, { takes = { sampling = false,
        reasoning = false } })
      for _, name in ipairs { "temperature", "top_p", "reasoning_effort" } do
        assert.is_nil(body[name])
        assert.is_nil(build({})[name])
      end
    end)

  it("with each option under its name there", function()
    local body = build({ options = { temperature = 0.5, top_p = 0.9, seed = 7,
      max_tokens = 9, stop_sequences = { "END" }, prompt_cache_key = "k",
      response_schema = { type = "object" }, thinking_effort = "low",
      tool_choice = { type = "function", ["function"] = "f" },
      parallel_tool_calls = false, extra = { top_k = 3, stream = false } },
      context = { system_prompt = "Be brief.", messages = { { role = "user",
        content = { { type = "image", data = "AA==", mime_type = "image/png" } } } },
        tools = { { name = "f", description = "d",
          parameters_schema_json = { type = "object" } } } } })
    assert.same({ model = "m", stream = true, temperature = 0.5, top_p = 0.9,
      seed = 7, max_tokens = 9, stop = { "END" }, prompt_cache_key = "k",
      reasoning_effort = "low", top_k = 3, parallel_tool_calls = false,
      stream_options = { include_usage = true },
      tool_choice = { type = "function", ["function"] = { name = "f" } },
      response_format = { type = "json_schema", json_schema = { name = "answer",
        strict = true, schema = { type = "object" } } },
      tools = { { type = "function", ["function"] = { name = "f",
        description = "d", parameters = { type = "object", properties = {} } } } },
      messages = { { role = "system", content = "Be brief." }, { role = "user",
        content = { { type = "image_url", image_url = {
          url = "data:image/png;base64,AA==" } } } } },
    }, body)
  end)

  it("OpenAI's own server for what only that is known to take", function()
    local body = build({ options = { max_tokens = 5 } }, {},
      "https://api.openai.com/v1")
    assert.equal(5, body.max_completion_tokens)
    assert.is_nil(body.max_tokens)
    assert.is_false(body.stream_options.include_obfuscation)
    local _, built = build({}, { api_version = "2024-10-21" })
    assert.equal("/chat/completions?api-version=2024-10-21", built.path)
  end)
end)
