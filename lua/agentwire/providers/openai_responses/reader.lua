--- Reads a stream of the Responses API, of OpenAI and of those who offer the
--- same. Text comes from deltas alone: `done` events repeat it. Pure.
local blocks = require("agentwire.providers._blocks")
local errors = require("agentwire.providers._errors")
local json = require("agentwire.json")
local state = require("agentwire.providers._state")
local usages = require("agentwire.providers._usage")
local values = require("agentwire.providers._values")

local M = {}

local filled, object, objects = values.filled, values.object, values.objects

-- Items of one response, told or not.
local MAX_ITEMS = 4096

local INCOMPLETE = { max_output_tokens = "length", max_tokens = "length",
  content_filter = "content_filter", steered = "steered" }

---@class agentwire.ResponsesReader
---@field ended boolean
---@field usage table|nil
local Reader = {}
Reader.__index = Reader

---@param given table emit, settings
---@return agentwire.ResponsesReader
function M.new(given)
  return setmetatable({
    ended = false,
    usage = nil,
    _blocks = blocks.new(given.emit, given.settings.max_arguments_bytes),
    _items = {}, -- by output_index
    _count = 0,
    _by_id = {}, -- by the item's id or call_id
    _sequence = nil,
    _status = nil,
    _reason = nil,
    _refuses = false,
    _raw_usage = nil,
    _id = nil,
  }, Reader)
end

-- One item goes by its place, its id or its call's.
local function item_of(self, event)
  local given = object(event.item) or {}
  local item = self._items[event.output_index]
    or self._by_id[filled(event.item_id) or filled(given.id) or false]
    or self._by_id[filled(event.call_id) or filled(given.call_id) or false]
  if not item then
    item = { parts = {}, texts = {} }
    self._count = self._count + 1
  end
  if event.output_index then
    self._items[event.output_index] = item
  end
  for _, id in ipairs { filled(event.item_id) or false, filled(given.id) or false,
    filled(given.call_id) or false } do
    if id then
      self._by_id[id] = item
    end
  end
  return item
end

local function text_part(self, item, index)
  local block = item.parts[index or 0]
  if not block then
    block = self._blocks:open("text")
    item.parts[index or 0] = block
    item.texts[#item.texts + 1] = block
  end
  return block
end

local function thinking_of(self, item)
  if not item.thinking then
    item.thinking = self._blocks:open("thinking")
  end
  return item.thinking
end

local function call_of(self, item, given)
  if not item.call then
    item.call = self._blocks:open("tool", filled(given.call_id)
      or filled(given.id), filled(given.name) or "unnamed")
  end
  return item.call
end

local EVENT = {}

function EVENT.created(self, event)
  self._id = filled((object(event.response) or {}).id)
  return true
end

EVENT["output_item.added"] = function(self, event)
  local item, given = item_of(self, event), object(event.item) or {}
  if given.type == "function_call" then
    return self._blocks:add(call_of(self, item, given),
      filled(given.arguments) or "")
  end
  return true
end

EVENT["output_text.delta"] = function(self, event)
  local item = item_of(self, event)
  return self._blocks:add(text_part(self, item, event.content_index),
    filled(event.delta) or "")
end

EVENT["refusal.delta"] = function(self, event)
  self._refuses = true
  return EVENT["output_text.delta"](self, event)
end

-- A summary has parts; what is between them is no part of any.
EVENT["reasoning_summary_text.delta"] = function(self, event)
  local item = item_of(self, event)
  local block, part = thinking_of(self, item), event.summary_index
  if item.summary_index and part ~= item.summary_index then
    self._blocks:add(block, "\n\n")
  end
  item.summary_index = part
  return self._blocks:add(block, filled(event.delta) or "")
end

EVENT["reasoning_text.delta"] = function(self, event)
  return self._blocks:add(thinking_of(self, item_of(self, event)),
    filled(event.delta) or "")
end

EVENT["function_call_arguments.delta"] = function(self, event)
  local item = item_of(self, event)
  return self._blocks:add(call_of(self, item, event), filled(event.delta) or "")
end

local function take_arguments(self, item, given)
  local call, whole = call_of(self, item, given), filled(given.arguments)
  if whole and call.size == 0 then
    return self._blocks:add(call, whole)
  elseif whole then
    call.arguments_json = whole
  end
  return true
end

EVENT["function_call_arguments.done"] = function(self, event)
  return take_arguments(self, item_of(self, event), event)
end

local FINISH = {}

-- Some send no deltas: what nobody has told yet is told now.
function FINISH.message(self, item, given)
  for index, part in ipairs(objects(given.content)) do
    if part.type == "refusal" then
      self._refuses = true
    end
    local text = filled(part.text) or filled(part.refusal)
    if text and not item.parts[index - 1] then
      self._blocks:add(text_part(self, item, index - 1), text)
    end
  end
  for _, block in ipairs(item.texts) do
    if not block.closed then
      block.state = { id = filled(given.id), phase = filled(given.phase) }
      self._blocks:close(block)
    end
  end
  return true
end

function FINISH.reasoning(self, item, given)
  local block = thinking_of(self, item)
  given.status = nil -- nothing that it takes back
  block.state = { item = given }
  self._blocks:close(block)
  return true
end

function FINISH.function_call(self, item, given)
  local ok, text, code = take_arguments(self, item, given)
  if ok then
    item.call.name = item.call.name ~= "unnamed" and item.call.name
      or filled(given.name) or item.call.name
    item.call.state = filled(given.id) and { id = given.id }
    self._blocks:close(item.call, given.status == "incomplete")
  end
  return ok, text, code
end

EVENT["output_item.done"] = function(self, event)
  local given = object(event.item)
  if not given or type(given.type) ~= "string" then
    return true
  end
  local item = item_of(self, event)
  if item.is_done then
    return true
  end
  item.is_done = true
  local finish = FINISH[given.type]
  if finish then
    return finish(self, item, given)
  end
  self._blocks:opaque(given.type, given)
  return true
end

local function fail(body)
  local text, code, details = errors.read(body)
  return nil, text, code, details
end

-- It includes what came from the cache; ours does not.
local function read_usage(self, raw)
  local read = object(raw.input_tokens_details) or {}
  self._raw_usage = raw
  self.usage = usages.of_whole {
    prompt = raw.input_tokens, output = raw.output_tokens,
    cache_read = read.cached_tokens, cache_write = read.cache_write_tokens,
    reasoning = (object(raw.output_tokens_details) or {}).reasoning_tokens,
  }
end

local function terminal(self, event, status)
  local response = object(event.response) or {}
  if object(response.usage) then
    read_usage(self, response.usage)
  end
  self._id = filled(response.id) or self._id
  self._status = status
  self._reason = (object(response.incomplete_details) or {}).reason
  return response
end

function EVENT.completed(self, event)
  terminal(self, event, "completed")
  self.ended = true
  return true
end

function EVENT.incomplete(self, event)
  terminal(self, event, "incomplete")
  self.ended = true
  return true
end

function EVENT.failed(self, event)
  local response = terminal(self, event, "failed")
  return fail { error = object(response.error) or { message = "it failed" } }
end

function EVENT.cancelled(self, event)
  terminal(self, event, "cancelled")
  return nil, "the provider cancelled the response", "provider_error"
end

-- Of who numbers its events, each is there once.
local function check_sequence(self, event)
  local number, last = event.sequence_number, self._sequence
  if type(number) == "number" then
    self._sequence = number
    if last and number ~= last + 1 then
      return nil, ("the provider's event %d came behind %d"):format(number, last),
        "truncated"
    end
  end
  return true
end

--- Takes one event.
---@param data string
---@param name string? of the event; the data's own type counts
---@return true|nil ok
---@return string|nil text
---@return string|nil code
---@return table|nil details
function Reader:feed(data, name)
  if data == "[DONE]" then
    return true
  end
  local event = object(json.decode(data))
  if not event then
    return nil, "the provider sent an event that is no JSON", "truncated"
  end
  local kind = filled(event.type) or name or ""
  if kind == "error" or object(event.error) then
    return fail(object(event.error) and event or { error = event })
  end
  local ok, text, code = check_sequence(self, event)
  if not ok then
    return nil, text, code
  end
  local handle = EVENT[kind:match("^response%.(.+)$") or ""]
  if handle and self._count <= MAX_ITEMS then
    return handle(self, event)
  elseif handle then
    return nil, "the provider's response has too many items", "limit"
  end
  return true
end

local function stop_reason(self)
  if self._status == "incomplete" then
    return INCOMPLETE[self._reason] or "length"
  elseif self._refuses then
    return "refusal"
  end
  return self._blocks.has_call and "tool_use" or "stop"
end

--- The end of what the upstream sent.
---@return table|nil message
---@return string|nil text
---@return string|nil code
---@return table|nil details
function Reader:finish()
  if not self.ended then
    return errors.truncated(self.usage)
  end
  self._blocks:close_all(self._status == "incomplete")
  return {
    stop_reason = stop_reason(self), usage = self.usage,
    stop_raw = filled(self._reason) or self._status,
    provider_state = state.write { id = self._id, usage = self._raw_usage },
  }
end

return M
