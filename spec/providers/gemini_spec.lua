-- Gemini as it is streamed, and as it is asked.
local gemini = require("agentwire.providers.gemini")
local json = require("agentwire.json")
local schemas = require("agentwire.providers._tool_schema")
local transcript = require("spec.support.transcript")

local vendor = gemini.vendor

local function chunk(parts, finish_reason, more)
  local value = { responseId = "r1", candidates = json.array { { index = 0,
    content = { role = "model", parts = json.array(parts) },
    finishReason = finish_reason } } }
  for name, each in pairs(more or {}) do
    value[name] = each
  end
  return transcript.event(value)
end

local function call(name, args, signature, id)
  return { functionCall = { name = name, args = args, id = id },
    thoughtSignature = signature }
end

local USAGE = { promptTokenCount = 100, cachedContentTokenCount = 60,
  candidatesTokenCount = 15, thoughtsTokenCount = 5, totalTokenCount = 120 }

local WHOLE = chunk { { text = "Hm, ", thought = true } }
  .. chunk { { text = "ü.", thought = true } } .. chunk { { text = "你" } }
  .. chunk({ { text = "好" } }, nil, { usageMetadata = { promptTokenCount = 100 } })
  .. chunk { call("read", { path = "a" }, "SigA==") }
  .. chunk { call("read", { path = "b" }, nil, "id-b") }
  .. chunk({ { text = "", thoughtSignature = "SigT==" } }, "STOP",
    { usageMetadata = USAGE })

local function read(bytes)
  return transcript.read(vendor, { bytes })
end

local TAG = { api = "gemini", provider = "p", model = "m", scope = "s" }

local function build(request, settings)
  request.model = { id = "m/1", provider = "p", api = "" }
  request.options = request.options or {}
  request.context = request.context or { messages = {
    { role = "user", content = "Hi" } } }
  settings = settings or {}
  settings.takes = settings.takes or {}
  settings.api_version = settings.api_version or "v1beta"
  local built = assert(vendor.build(request, { tag = TAG, settings = settings }))
  return json.decode(json.encode(built.body)), built
end

local function continued(content, tag, settings)
  local messages = { { role = "user", content = "a" }, { role = "assistant",
    content = content, state_of = tag or TAG, stop_reason = "tool_use" } }
  for index, block in ipairs(content) do
    if block.type == "tool_call" then
      messages[#messages + 1] = { role = "tool", tool_call_id = block.id,
        tool_name = block.name, is_error = index > 3 and content[4] ~= block,
        content = { { type = "text", text = "r" } } }
    end
  end
  return build({ context = { messages = messages } }, settings).contents
end

describe("gemini reads", function()
  it("its parts in order, the same however the bytes are cut", function()
    local whole = transcript.cut(vendor, WHOLE)
    local list = {}
    for index, block in ipairs(whole.content) do
      list[index] = block.text or block.thinking or block.arguments_json
    end
    assert.same({ "Hm, ü.", "你好", '{"path":"a"}', '{"path":"b"}', "" }, list)
    assert.equal("tool_use", whole.message.stop_reason)
    assert.same({ input = 40, cache_read = 60, cache_write = 0, output = 20,
      reasoning = 5, total = 120 }, whole.message.usage)
  end)

  it("no success before a finishReason, at any byte (bug 2)", function()
    transcript.ends_early(vendor, WHOLE, '"finishReason":"STOP"')
  end)

  it("calls of several chunks as several, each with an id (bug 1)", function()
    local content = read(WHOLE).content
    assert.equal("id-b", content[4].id)
    assert.is_true(#content[3].id > 0)
    assert.not_equal(content[3].id, content[4].id)
    local same = read(chunk { call("f", {}) } .. chunk({ call("f", {}) }, "STOP"))
    assert.not_equal(same.content[1].id, same.content[2].id)
  end)

  it("a blocked prompt as refused, though there is no candidate", function()
    local got = read(transcript.event { promptFeedback = {
      blockReason = "PROHIBITED_CONTENT" } })
    assert.equal("refused", got.code)
    assert.is_false(got.details.may_retry)
  end)

  it("each reason to finish for what it is (bug 15)", function()
    for raw, own in pairs { STOP = "stop", MAX_TOKENS = "length",
      SAFETY = "content_filter", RECITATION = "content_filter",
      IMAGE_SAFETY = "content_filter", OTHER = "stop", NEW_ONE = "stop" } do
      local got = read(chunk({ { text = "x" } }, raw))
      assert.equal(own, got.message.stop_reason)
      assert.equal(raw, got.message.stop_raw)
    end
    for _, raw in ipairs { "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL",
      "MISSING_THOUGHT_SIGNATURE", "TOO_MANY_TOOL_CALLS" } do
      local got = read(chunk({}, raw))
      assert.equal("provider_error", got.code)
      assert.is_true(got.details.may_retry)
    end
  end)

  it("an error inside a good answer (bug 12)", function()
    local got = read(chunk { { text = "x" } } .. transcript.event { error = {
      code = 503, status = "UNAVAILABLE", message = "overloaded" } })
    assert.equal("overloaded", got.code)
  end)

  it("parts that it does not know as blocks of the provider's own", function()
    local part = { executableCode = { language = "PYTHON", code = "1" } }
    local got = read(chunk({ { text = "x" }, part, { text = "y" } }, "STOP"))
    assert.equal("executableCode", got.content[2].opaque)
    assert.same(part, continued(got.content)[2].parts[2])
  end)
end)

describe("gemini is asked", function()
  it("with each signature on the part that it came on (bug 7)", function()
    local parts = continued(read(WHOLE).content)[2].parts
    assert.same({ text = "你好" }, parts[1])
    assert.same({ functionCall = { name = "read", args = { path = "a" } },
      thoughtSignature = "SigA==" }, parts[2])
    assert.same({ functionCall = { name = "read", args = { path = "b" },
      id = "id-b" } }, parts[3])
    assert.same({ text = "", thoughtSignature = "SigT==" }, parts[4])
  end)

  it("with what was signed apart from what was not (bug 7)", function()
    local got = read(chunk { { text = "a" } }
      .. chunk { { text = "b", thoughtSignature = "S" } }
      .. chunk({ { text = "c" } }, "STOP"))
    assert.same({ { text = "a" }, { text = "b", thoughtSignature = "S" },
      { text = "c" } }, continued(got.content)[2].parts)
  end)

  it("with ids only where it gave them, errors as errors (bug 16)", function()
    local content = read(WHOLE).content
    local contents = continued(content)
    assert.same({ functionResponse = { name = "read",
      response = { output = "r" } } }, contents[3].parts[1])
    assert.equal("id-b", contents[3].parts[2].functionResponse.id)
    local unanswered = build { context = { messages = { { role = "user",
      content = "a" }, { role = "assistant", content = content,
      state_of = TAG } } } }.contents
    assert.truthy(unanswered[3].parts[1].functionResponse.response.error)
  end)

  it("without a foreign signature, with a mark where the model wants one",
    function()
      local other = { api = "gemini", provider = "p", model = "m", scope = "x" }
      local content = read(WHOLE).content
      local parts = continued(content, other)[2].parts
      assert.is_nil(parts[2].thoughtSignature)
      assert.equal(3, #parts)
      parts = continued(content, other, { takes = { signatures = true } })[2].parts
      assert.equal("skip_thought_signature_validator", parts[2].thoughtSignature)
    end)

  it("for no tools where there are none (bug 18)", function()
    local body = build { options = { tool_choice = { type = "auto" } },
      context = { messages = {}, tools = json.array {} } }
    assert.is_nil(body.tools)
    assert.is_nil(body.toolConfig)
  end)

  it("with each option under its name there", function()
    local body, built = build { options = { temperature = 0.5, top_p = 0.9,
      seed = 7, max_tokens = 9, stop_sequences = { "END" },
      thinking_effort = "low", response_schema = { type = "object" },
      tool_choice = { type = "function", ["function"] = "f" },
      extra = { cachedContent = "c", contents = "no" } },
      context = { system_prompt = "Be brief.", messages = { { role = "user",
        content = { { type = "image", data = "AA==", mime_type = "image/png" } } } },
        tools = { { name = "f", description = "d",
          parameters_schema_json = { type = "object" } } } } }
    assert.same({ cachedContent = "c",
      systemInstruction = { parts = { { text = "Be brief." } } },
      generationConfig = { temperature = 0.5, topP = 0.9, seed = 7,
        maxOutputTokens = 9, stopSequences = { "END" },
        thinkingConfig = { includeThoughts = true, thinkingLevel = "LOW" },
        responseMimeType = "application/json",
        responseJsonSchema = { type = "object" } },
      tools = { { functionDeclarations = { { name = "f", description = "d",
        parametersJsonSchema = { type = "object", properties = {} } } } } },
      toolConfig = { functionCallingConfig = { mode = "ANY",
        allowedFunctionNames = { "f" } } },
      contents = { { role = "user", parts = { { inlineData = {
        mimeType = "image/png", data = "AA==" } } } } } }, body)
    assert.equal("/v1beta/models/m%2F1:streamGenerateContent?alt=sse", built.path)
  end)

  it("with the key in a header, never in the URL", function()
    local headers = {}
    vendor.authorize(headers, "k")
    assert.same({ ["x-goog-api-key"] = "k" }, headers)
  end)
end)

describe("a tool's schema (bug 18)", function()
  local function openapi(schema)
    return json.decode(json.encode(schemas.openapi(schemas.of {
      parameters_schema_json = schema })))
  end

  it("has its references in place, one type each, and no word that is unknown",
    function()
      assert.same({ type = "object", required = { "a" }, properties = {
        a = { type = "string", nullable = true },
        b = { type = "object", properties = { x = { type = "integer" } } },
        c = { type = "string", enum = { "k" } },
        d = { nullable = true, type = "number" },
        e = { anyOf = { { type = "string" }, { type = "integer" } } },
        f = { type = "array", items = { type = "string" } },
      } }, openapi { type = "object", additionalProperties = false,
        ["$schema"] = "x", required = { "a" }, properties = {
          a = { type = { "string", "null" }, format = "uri" },
          b = { ["$ref"] = "#/$defs/B" }, c = { const = "k" },
          d = { anyOf = { { type = "number" }, { type = "null" } } },
          e = { oneOf = { { type = "string" }, { type = "integer" } } },
          f = { type = "array", items = { type = "string", ["$comment"] = "x" } },
        }, ["$defs"] = { B = { type = "object", properties = {
          x = { type = "integer" } } } } })
    end)

  it("that refers to itself, or nowhere, has an end", function()
    local made = openapi { type = "object", properties = {
      a = { ["$ref"] = "#" }, b = { ["$ref"] = "#/nowhere" },
      c = { ["$ref"] = "https://elsewhere" } } }
    assert.equal("object", made.properties.b.type)
    assert.equal("object", made.properties.c.type)
    assert.is_true(#json.encode(made) < 1024 * 1024)
  end)

  it("whose references multiply is cut where it gets too large", function()
    local properties = {}
    for index = 1, 40 do
      properties["p" .. index] = { ["$ref"] = "#" }
    end
    local made = openapi { type = "object", properties = properties }
    assert.is_true(#json.encode(made) < 1024 * 1024)
  end)

  it("whose words have no sense is read for what has", function()
    local made = openapi { type = "object", required = 5, anyOf = "x",
      allOf = 7, properties = { a = { type = "string", items = true } } }
    assert.same({ type = "object", properties = { a = { type = "string" } } },
      made)
  end)

  it("is not changed where it stands", function()
    local given = { type = "object", properties = { a = { const = 1 } } }
    local before = json.encode_sorted(given)
    openapi(given)
    assert.equal(before, json.encode_sorted(given))
  end)

  it("that is none is an object's", function()
    for _, given in ipairs { "nonsense", "[]", "null", 7 } do
      assert.equal('{"properties":{},"type":"object"}',
        json.encode_sorted(schemas.of { parameters_schema_json = given }))
    end
  end)
end)
