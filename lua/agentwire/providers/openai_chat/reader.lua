--- Reads a stream of Chat Completions, of OpenAI and of those who say that they
--- are like it: each rule here is for one who is not quite. Pure.
local blocks = require("agentwire.providers._blocks")
local errors = require("agentwire.providers._errors")
local json = require("agentwire.json")
local state = require("agentwire.providers._state")
local usages = require("agentwire.providers._usage")
local values = require("agentwire.providers._values")

local M = {}

local filled, object, objects = values.filled, values.object, values.objects

local STOP = {
  stop = "stop", length = "length", tool_calls = "tool_use",
  function_call = "tool_use", content_filter = "content_filter",
  max_tokens = "length", eos = "stop",
}

-- Bytes of reasoning_details, which are kept beside the text.
local MAX_DETAILS = 4 * 1024 * 1024

-- Where reasoning stands; of several in one delta the first counts.
local REASONING = { "reasoning_content", "reasoning", "reasoning_text" }

---@class agentwire.ChatReader
---@field ended boolean nothing comes after what was read
---@field usage table|nil
local Reader = {}
Reader.__index = Reader

---@param given table emit, settings
---@return agentwire.ChatReader
function M.new(given)
  return setmetatable({
    ended = false,
    usage = nil,
    _blocks = blocks.new(given.emit, given.settings.max_arguments_bytes),
    _is_lenient = given.settings.ending == "lenient",
    _by_index = {}, -- the last call of each index
    _by_id = {},
    _last_call = nil,
    _reason = nil, -- the finish_reason
    _is_done = false, -- [DONE]
    _refuses = false,
    _thinking = nil, -- what the open thinking block goes back as
    _details_size = 0,
    _raw_usage = nil,
    _id = nil,
  }, Reader)
end

-- A new id on an index that was used is another call: some send index 0 for all.
local function call_of(self, part)
  local id, index = filled(part.id), tonumber(part.index)
  local call
  if id and self._by_id[id] then
    call = self._by_id[id]
  elseif index and self._by_index[index] then
    call = self._by_index[index]
    if id and call.id and call.id ~= id then
      call = nil
    end
  elseif not index and not id then
    call = self._last_call
  end
  return call, id, index
end

local function open_call(self, id, index, name)
  self._blocks:close_current()
  local call = self._blocks:open("tool", id, name)
  if index then
    self._by_index[index] = call
  end
  if id then
    self._by_id[id] = call
  end
  self._last_call = call
  return call
end

local function read_call(self, part)
  local spec = object(part["function"]) or {}
  local call, id, index = call_of(self, part)
  if not call then
    call = open_call(self, id, index, filled(spec.name) or "unnamed")
  end
  self._last_call = call
  if id and not call.id then
    call.id, self._by_id[id] = id, call
  end
  if call.name == "unnamed" then
    call.name = filled(spec.name) or call.name
  end
  if object(part.extra_content) then
    call.state = { extra_content = part.extra_content }
  end
  local arguments = spec.arguments
  if object(arguments) then
    arguments = json.encode_sorted(arguments)
  end
  return self._blocks:add(call, filled(arguments) or "")
end

local function think(self, text, kept)
  local block = self._blocks:say("thinking", text)
  block.state = block.state or kept
  self._thinking = block
  return block
end

-- OpenRouter: what its models need back, in pieces that are put together again.
local function read_details(details)
  local text = {}
  for _, detail in ipairs(details) do
    text[#text + 1] = filled(detail.text) or filled(detail.summary)
  end
  return table.concat(text)
end

local JOINED = { "text", "summary", "data" }

-- One detail from its pieces, which stand under the names of JOINED.
local function joined_details(kept)
  local list = json.array {}
  for index, entry in ipairs(kept) do
    for name, pieces in pairs(entry.pieces) do
      entry.value[name] = table.concat(pieces)
    end
    list[index] = entry.value
  end
  return { details = list }
end

local function keep_detail(self, kept, detail)
  local last = kept[#kept]
  if not last or last.value.type ~= detail.type
    or last.value.index ~= detail.index or filled(detail.id) then
    last = { value = {}, pieces = {} }
    kept[#kept + 1] = last
  end
  for name, value in pairs(detail) do
    last.value[name] = value
  end
  for _, name in ipairs(JOINED) do
    if filled(detail[name]) then
      last.pieces[name] = last.pieces[name] or {}
      table.insert(last.pieces[name], detail[name])
      self._details_size = self._details_size + #detail[name]
    end
  end
end

local function keep_details(self, block, details)
  if not block.details then
    local kept = {}
    block.details = kept
    block.state = function()
      return joined_details(kept)
    end
  end
  for _, detail in ipairs(details) do
    keep_detail(self, block.details, detail)
  end
  return self._details_size <= MAX_DETAILS
end

local function read_reasoning(self, delta)
  local details = objects(delta.reasoning_details)
  for _, field in ipairs(REASONING) do
    local text = delta[field]
    if type(text) == "string" and (text ~= "" or not self._thinking) then
      local block = think(self, text, { field = field })
      return block, details
    end
  end
  if #details > 0 then
    return think(self, read_details(details), {}), details
  end
end

local function keep_chunk(block, chunk)
  local kept = type(block.state) == "table" and block.state.chunk
  if kept then
    kept.signature = filled(chunk.signature) or kept.signature
    if type(chunk.closed) == "boolean" then
      kept.closed = chunk.closed
    end
  end
end

-- Mistral: content as a list of chunks.
local function read_chunks(self, chunks)
  for _, chunk in ipairs(objects(chunks)) do
    if chunk.type == "thinking" then
      local text = {}
      for _, part in ipairs(objects(chunk.thinking)) do
        text[#text + 1] = filled(part.text)
      end
      keep_chunk(think(self, table.concat(text), { chunk = {} }), chunk)
    elseif filled(chunk.text) then
      self._blocks:say("text", chunk.text)
    end
  end
end

local function read_delta(self, delta)
  local block, details = read_reasoning(self, delta)
  if block and #details > 0 and not keep_details(self, block, details) then
    return nil, "the provider's reasoning_details are too large", "limit"
  end
  if filled(delta.content) then
    self._blocks:say("text", delta.content)
  elseif object(delta.content) then
    read_chunks(self, delta.content)
  end
  if filled(delta.refusal) then
    self._refuses = true
    self._blocks:say("text", delta.refusal)
  end
  for _, part in ipairs(objects(delta.tool_calls)) do
    local ok, text, code = read_call(self, part)
    if not ok then
      return nil, text, code
    end
  end
  return true
end

-- It includes what came from the cache; ours does not.
local function read_usage(self, raw)
  local read = object(raw.prompt_tokens_details) or {}
  local made = object(raw.completion_tokens_details) or {}
  self._raw_usage = raw
  self.usage = usages.of_whole {
    prompt = raw.prompt_tokens,
    cache_read = read.cached_tokens or raw.prompt_cache_hit_tokens,
    cache_write = read.cache_write_tokens or read.cache_creation_tokens,
    output = raw.completion_tokens,
    reasoning = made.reasoning_tokens,
  }
end

local function read_chunk(self, chunk)
  self._id = filled(chunk.id) or self._id
  local usage = object(chunk.usage)
    or object((object(chunk.x_groq) or {}).usage)
  if usage then
    read_usage(self, usage)
  end
  local choice = objects(chunk.choices)[1]
  if not choice then
    return true
  end
  self._reason = filled(choice.finish_reason) or self._reason
  if object(choice.usage) then
    read_usage(self, choice.usage)
  end
  return read_delta(self, object(choice.delta) or object(choice.message) or {})
end

local function fail(body)
  local text, code, details = errors.read(body)
  return nil, text, code, details
end

--- Takes one event.
---@param data string
---@param name string? of the event
---@return true|nil ok
---@return string|nil text
---@return string|nil code
---@return table|nil details
function Reader:feed(data, name)
  if data == "[DONE]" then
    self._is_done, self.ended = true, true
    return true
  end
  local chunk = json.decode(data)
  if name == "error" or object(chunk) and object(chunk.error) or object(chunk)
    and filled(chunk.error) then
    return fail(object(chunk) and chunk or data)
  elseif not object(chunk) then
    return nil, "the provider sent an event that is no JSON", "truncated"
  end
  return read_chunk(self, chunk)
end

local function stop_reason(self)
  if self._refuses then
    return "refusal"
  end
  local reason = STOP[self._reason]
  if self._blocks.has_call and (not reason or reason == "stop") then
    return "tool_use"
  end
  return reason or "stop"
end

--- The end of what the upstream sent.
---@return table|nil message
---@return string|nil text
---@return string|nil code
---@return table|nil details
function Reader:finish()
  local is_whole = self._is_done or self._reason ~= nil
    or self._is_lenient and self._blocks.count > 0 and not self._blocks.has_call
  if not is_whole then
    return errors.truncated(self.usage)
  elseif self._reason == "error" then
    return nil, "the provider failed while it answered", "provider_error",
      { usage = self.usage, may_retry = true }
  end
  self._blocks:close_all()
  return {
    stop_reason = stop_reason(self), stop_raw = self._reason,
    usage = self.usage,
    provider_state = state.write { id = self._id, usage = self._raw_usage },
  }
end

return M
