package.path = "./lua/?.lua;./lua/?/init.lua;./?.lua;" .. package.path
local model_ref = require("agentwire.provider.model_ref")

describe("model_ref", function()
  local good = {
    { "lab/ollama@tiny%3A1", "lab", "ollama", "tiny:1" },
    { "openrouter/openai-completions@anthropic%2Fclaude", "openrouter",
      "openai-completions", "anthropic/claude" },
    { "a/b@-._~", "a", "b", "-._~" },
    { "a/b@caf%C3%A9", "a", "b", "caf\195\169" },
    { "a/b@%F0%9F%98%80", "a", "b", "\240\159\152\128" },
    { "a/b@100%25", "a", "b", "100%" },
    { "a/b@x%40y%20z", "a", "b", "x@y z" },
  }

  it("writes what it reads, for names of every sort", function()
    for _, case in ipairs(good) do
      local parts = assert(model_ref.parse(case[1]))
      assert.same({ provider = case[2], api = case[3], model_id = case[4] },
        parts)
      assert.equal(case[1], model_ref.format(parts))
    end
  end)

  it("reads escapes in lower case", function()
    assert.equal("tiny:1", model_ref.parse("lab/ollama@tiny%3a1").model_id)
    assert.equal("caf\195\169", model_ref.parse("a/b@caf%c3%a9").model_id)
  end)

  local bad = {
    { 7, "not_a_string" },
    { "", "empty_ref" },
    { "lab", "missing_slash" },
    { "lab/ollama", "missing_at" },
    { "/ollama@x", "empty_provider" },
    { "l b/ollama@x", "invalid_provider" },
    { "lab/@x", "empty_api" },
    { "lab/a/b@x", "invalid_api" },
    { "lab/ollama@", "empty_model_id" },
    { "lab/ollama@a%", "truncated_escape" },
    { "lab/ollama@a%4", "truncated_escape" },
    { "lab/ollama@a%zzb", "invalid_escape" },
    { "lab/ollama@tiny:1", "unescaped_character" },
    { "lab/ollama@a@b", "unescaped_character" },
    { "lab/ollama@caf\195\169", "unescaped_character" },
    { "lab/ollama@%FF", "invalid_utf8" },
    { "lab/ollama@%C3", "invalid_utf8" },
    { "lab/ollama@%C0%80", "invalid_utf8" },
    { "lab/ollama@%ED%A0%80", "invalid_utf8" },
    { "lab/ollama@%F4%90%80%80", "invalid_utf8" },
    { "lab/ollama@a%00b", "control_character" },
    { "lab/ollama@a%0A", "control_character" },
  }

  it("has a code of its own for each malformed class", function()
    for _, case in ipairs(bad) do
      local parts, message, code = model_ref.parse(case[1])
      assert.is_nil(parts)
      assert.is_string(message)
      assert.equal(case[2], code, tostring(case[1]))
    end
  end)

  it("refuses to write what it would not read", function()
    local function code_of(provider, api, id)
      return select(3, model_ref.format {
        provider = provider, api = api, model_id = id,
      })
    end
    assert.equal("empty_provider", code_of("", "a", "x"))
    assert.equal("invalid_provider", code_of("a@b", "a", "x"))
    assert.equal("empty_api", code_of("a", "", "x"))
    assert.equal("empty_model_id", code_of("a", "b", ""))
    assert.equal("invalid_utf8", code_of("a", "b", "\255"))
    assert.equal("control_character", code_of("a", "b", "x\n"))
  end)
end)
