-- Ollama's chat as it is streamed, and as it is asked.
local json = require("agentwire.json")
local ollama = require("agentwire.providers.ollama")
local transcript = require("spec.support.transcript")

local vendor = ollama.vendor

local function line(message, more)
  local value = { model = "m", message = message, done = false }
  for name, each in pairs(more or {}) do
    value[name] = each
  end
  return json.encode_sorted(value) .. "\n"
end

local function call(name, arguments)
  return line { role = "assistant", content = "", tool_calls = json.array {
    { ["function"] = { name = name, arguments = arguments } } } }
end

local function done(reason)
  return line({ role = "assistant", content = "" }, { done = true,
    done_reason = reason, prompt_eval_count = 40, eval_count = 20 })
end

local WHOLE = line { role = "assistant", content = "", thinking = "Hm, " }
  .. line { content = "", thinking = "ü." } .. line { content = "你" }
  .. line { content = "好" } .. call("read", { path = "a" })
  .. call("read", { path = "b" }) .. done("stop")

local function read(bytes)
  return transcript.read(vendor, { bytes })
end

local TAG = { api = "ollama", provider = "p", model = "m", scope = "s" }

local function build(request, settings)
  request.model = { id = "m", provider = "p", api = "" }
  request.options = request.options or {}
  request.context = request.context or { messages = {
    { role = "user", content = "Hi" } } }
  settings = settings or {}
  settings.takes = settings.takes or {}
  local built = assert(vendor.build(request, { tag = TAG, settings = settings }))
  return json.decode(json.encode(built.body)), built
end

describe("ollama reads", function()
  it("its lines the same however the bytes are cut", function()
    local whole = transcript.cut(vendor, WHOLE)
    local list = {}
    for index, block in ipairs(whole.content) do
      list[index] = block.text or block.thinking or block.arguments_json
    end
    assert.same({ "Hm, ü.", "你好", '{"path":"a"}', '{"path":"b"}' }, list)
    assert.not_equal(whole.content[3].id, whole.content[4].id)
    assert.equal("tool_use", whole.message.stop_reason)
    assert.equal(40, whole.message.usage.input)
    assert.equal(60, whole.message.usage.total)
  end)

  it("no success before the last line, at any byte (bug 2)", function()
    transcript.ends_early(vendor, WHOLE, '"done":true')
  end)

  it("an error line, also behind good ones (bug 12)", function()
    for _, problem in ipairs { "kaput", { message = "kaput" } } do
      local got = read(line { content = "x" }
        .. json.encode { error = problem } .. "\n")
      assert.equal("provider_error", got.code)
      assert.equal("kaput", got.text)
    end
  end)

  it("the length limit, also of a message with calls", function()
    assert.equal("length", read(call("f", {}) .. done("length")).message.stop_reason)
    assert.equal("stop", read(line { content = "x" } .. done("load")).message.stop_reason)
  end)
end)

describe("ollama is asked", function()
  it("with calls and results in order, by the tool's name (bug 16)", function()
    local content = read(WHOLE).content
    local body = build { context = { messages = { { role = "user", content = "a" },
      { role = "assistant", content = content, state_of = TAG },
      { role = "tool", tool_call_id = content[4].id, tool_name = "read",
        content = { { type = "text", text = "B" } } },
      { role = "tool", tool_call_id = content[3].id, tool_name = "read",
        content = { { type = "text", text = "A" } } } } } }
    assert.same({ role = "assistant", content = "你好", thinking = "Hm, ü.",
      tool_calls = {
        { ["function"] = { name = "read", arguments = { path = "a" } } },
        { ["function"] = { name = "read", arguments = { path = "b" } } } } },
      body.messages[2])
    assert.same({ role = "tool", tool_name = "read", content = "A" },
      body.messages[3])
    assert.equal("B", body.messages[4].content)
  end)

  it("to think only where the model can (bug 17)", function()
    assert.equal("high", build({ options = { thinking_effort = "high" } }).think)
    assert.is_true(build({ options = { thinking_enabled = true } }).think)
    assert.is_nil(build({}).think)
    assert.is_nil(build({ options = { thinking_effort = "high" } },
      { takes = { thinking = false } }).think)
    assert.is_false(build({ options = { thinking_enabled = false } },
      { takes = { thinking = true } }).think)
  end)

  it("with each option under its name there", function()
    local body, built = build({ options = { temperature = 0.5, top_p = 0.9,
      seed = 7, max_tokens = 9, stop_sequences = { "END" },
      response_schema = { type = "object" }, extra = { keep_alive = "1m" } },
      context = { system_prompt = "Be brief.", messages = { { role = "user",
        content = { { type = "text", text = "see" }, { type = "image",
          data = "AA==", mime_type = "image/png" } } } },
        tools = { { name = "f", description = "d",
          parameters_schema_json = { type = "object" } } } } },
      { options = { num_ctx = 8192, seed = 1 } })
    assert.same({ model = "m", stream = true, keep_alive = "1m",
      format = { type = "object" },
      options = { temperature = 0.5, top_p = 0.9, seed = 7, num_predict = 9,
        stop = { "END" }, num_ctx = 8192 },
      tools = { { type = "function", ["function"] = { name = "f",
        description = "d", parameters = { type = "object", properties = {} } } } },
      messages = { { role = "system", content = "Be brief." }, { role = "user",
        content = "see", images = { "AA==" } } } }, body)
    assert.equal("lines", built.format)
  end)

  it("for no tools where none may be called", function()
    assert.is_nil(build { options = { tool_choice = { type = "none" } },
      context = { messages = {}, tools = { { name = "f" } } } }.tools)
  end)
end)
