-- What an upstream can make grow: at its limit, and ten times beyond it.
local anthropic = require("agentwire.providers.anthropic")
local errors = require("agentwire.providers._errors")
local json = require("agentwire.json")
local openai_chat = require("agentwire.providers.openai_chat")
local responses = require("agentwire.providers.openai_responses")

--- A reader that tells nobody; `feed` takes tables.
local function reader_of(module, settings)
  settings = settings or {}
  settings.takes = {}
  local reader = module.vendor.reader { settings = settings, emit = function() end }
  return function(value)
    local ok, _, code = reader:feed(json.encode(value))
    return ok or code
  end
end

local function call(arguments)
  return { choices = json.array { { index = 0, delta = { tool_calls = json.array {
    { index = 0, id = "a", ["function"] = { name = "f",
      arguments = arguments } } } } } } }
end

local MIB = 1024 * 1024

describe("an upstream's", function()
  it("arguments end at max_arguments_bytes, 4 MiB", function()
    for limit, settings in pairs { [100] = { max_arguments_bytes = 100 },
      [4 * MIB] = {} } do
      local feed = reader_of(openai_chat, settings)
      assert.is_true(feed(call(("x"):rep(limit))))
      assert.equal("limit", feed(call("x")))
      assert.equal("limit", reader_of(openai_chat, settings)(
        call(("x"):rep(limit * 10 > 12 * MIB and 12 * MIB or limit * 10))))
    end
  end)

  it("reasoning_details end at 4 MiB", function()
    local feed = reader_of(openai_chat)
    local function details(size)
      return { choices = json.array { { index = 0, delta = {
        reasoning_details = json.array { { type = "reasoning.encrypted",
          data = ("x"):rep(size) } } } } } }
    end
    for _ = 1, 4 do
      assert.is_true(feed(details(MIB)))
    end
    assert.equal("limit", feed(details(1)))
  end)

  it("blocks of its own kinds end at 4 MiB", function()
    local feed = reader_of(anthropic)
    assert.is_true(feed { type = "content_block_start", index = 0,
      content_block = { type = "compaction" } })
    local function more(size)
      return { type = "content_block_delta", index = 0, delta = {
        type = "compaction_delta", content = ("x"):rep(size) } }
    end
    for _ = 1, 4 do
      assert.is_true(feed(more(MIB)))
    end
    assert.equal("limit", feed(more(1)))
  end)

  it("blocks are 4096, also those that nobody is told of", function()
    local feed = reader_of(anthropic)
    for index = 0, 40960 do
      local got = feed { type = "content_block_start", index = index,
        content_block = { type = "new_kind" } }
      assert.equal(index < 4096 or "limit", got)
    end
  end)

  it("items are 4096, also those that nobody is told of", function()
    local feed, got = reader_of(responses), nil
    for index = 0, 4095 do
      got = feed { type = "response.output_item.added", output_index = index,
        item = { type = "reasoning", id = "r" .. index } }
      assert.is_true(got)
    end
    for index = 4096, 40960 do
      got = feed { type = "response.output_item.added", output_index = index,
        item = { type = "reasoning", id = "r" .. index } }
    end
    assert.equal("limit", got)
  end)

  it("refusal is shown as far as 500 bytes", function()
    local text = errors.read(("<html> "):rep(100000), 502)
    assert.is_true(#text < 600)
  end)
end)
