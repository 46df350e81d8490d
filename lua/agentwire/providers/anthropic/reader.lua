--- Reads a stream of Anthropic's Messages. Pure.
local blocks = require("agentwire.providers._blocks")
local errors = require("agentwire.providers._errors")
local json = require("agentwire.json")
local state = require("agentwire.providers._state")
local usages = require("agentwire.providers._usage")
local values = require("agentwire.providers._values")

local M = {}

local filled, object = values.filled, values.object

-- Bytes of the blocks that are not told as text, thinking or calls.
local MAX_OPAQUE = 4 * 1024 * 1024

-- Blocks of one message, told or not.
local MAX_BLOCKS = 4096

local STOP = {
  end_turn = "stop", stop_sequence = "stop", max_tokens = "length",
  tool_use = "tool_use", pause_turn = "pause", refusal = "refusal",
  model_context_window_exceeded = "length", compaction = "pause",
}

---@class agentwire.MessagesReader
---@field ended boolean
---@field usage table|nil
local Reader = {}
Reader.__index = Reader

---@param given table emit, settings
---@return agentwire.MessagesReader
function M.new(given)
  return setmetatable({
    ended = false,
    usage = nil,
    _blocks = blocks.new(given.emit, given.settings.max_arguments_bytes),
    _open = {}, -- by the provider's index
    _count = 0,
    _opaque_size = 0,
    _raw_usage = {},
    _reason = nil,
    _details = nil,
    _id = nil,
  }, Reader)
end

-- Counts are cumulative, and some gateways leave them at 0 in one of the two
-- places: the larger one is the later one.
local function read_usage(self, given)
  local raw = self._raw_usage
  for name, value in pairs(object(given) or {}) do
    if type(value) == "number" and type(raw[name]) == "number" then
      raw[name] = math.max(raw[name], value)
    elseif value ~= json.null then
      raw[name] = value
    end
  end
  self.usage = usages.of {
    input = raw.input_tokens, output = raw.output_tokens,
    cache_read = raw.cache_read_input_tokens,
    cache_write = raw.cache_creation_input_tokens,
    reasoning = (object(raw.output_tokens_details) or {}).thinking_tokens,
  }
end

local function fail(body)
  local text, code, details = errors.read(body)
  return nil, text, code, details
end

local OPEN = {}

function OPEN.text(self, given)
  local block = self._blocks:open("text")
  self._blocks:add(block, filled(given.text) or "")
  return { block = block }
end

function OPEN.thinking(self, given)
  local block = self._blocks:open("thinking")
  self._blocks:add(block, filled(given.thinking) or "")
  return { block = block, signature = { filled(given.signature) } }
end

function OPEN.tool_use(self, given)
  local block = self._blocks:open("tool", filled(given.id),
    filled(given.name) or "unnamed")
  return { block = block, input = object(given.input) }
end

-- A kind that only its provider knows, and gets back whole.
local function open_opaque(_, given)
  return { value = given, pieces = {} }
end

local DELTA = {}

function DELTA.text_delta(self, open, delta)
  return self._blocks:add(open.block, filled(delta.text) or "")
end

function DELTA.thinking_delta(self, open, delta)
  return self._blocks:add(open.block, filled(delta.thinking) or "")
end

function DELTA.input_json_delta(self, open, delta)
  return self._blocks:add(open.block, filled(delta.partial_json) or "")
end

function DELTA.signature_delta(_, open, delta)
  if open.signature then
    table.insert(open.signature, filled(delta.signature))
  end
  return true
end

function DELTA.citations_delta(_, open, delta)
  open.citations = open.citations or json.array {}
  table.insert(open.citations, object(delta.citation))
  return true
end

local WANTS = { text_delta = "text", thinking_delta = "thinking",
  input_json_delta = "tool", signature_delta = "thinking",
  citations_delta = "text" }

-- Of an opaque block: whatever text a delta brings belongs to the member of that
-- name; a tool's input comes as JSON in pieces.
local function add_opaque(self, open, delta)
  for name, value in pairs(delta) do
    if name ~= "type" and filled(value) then
      open.pieces[name] = open.pieces[name] or {}
      table.insert(open.pieces[name], value)
      self._opaque_size = self._opaque_size + #value
    end
  end
  if self._opaque_size > MAX_OPAQUE then
    return nil, "the blocks of the provider's own are too large", "limit"
  end
  return true
end

local function close_opaque(self, open)
  local value = open.value
  for name, pieces in pairs(open.pieces) do
    local text = table.concat(pieces)
    if name == "partial_json" then
      value.input = object(json.decode(text)) or value.input
    else
      value[name] = (filled(value[name]) or "") .. text
    end
  end
  self._blocks:opaque(value.type, value)
end

local function close(self, open)
  local block = open.block
  if not block then
    return close_opaque(self, open)
  end
  if open.signature and open.signature[1] then
    block.state = { signature = table.concat(open.signature) }
  elseif open.citations then
    block.state = { citations = open.citations }
  elseif open.input and block.size == 0 and next(open.input) ~= nil then
    self._blocks:add(block, json.encode_sorted(open.input))
  end
  self._blocks:close(block)
end

local EVENT = {}

function EVENT.message_start(self, event)
  local message = object(event.message) or {}
  self._id = filled(message.id)
  read_usage(self, message.usage)
  return true
end

function EVENT.content_block_start(self, event)
  local given = object(event.content_block)
  if not given or type(given.type) ~= "string" then
    return nil, "the provider began a block that is none", "truncated"
  end
  self._count = self._count + 1
  if self._count > MAX_BLOCKS then
    return nil, "the provider's message has too many blocks", "limit"
  end
  self._open[event.index or 0] = (OPEN[given.type] or open_opaque)(self, given)
  return true
end

function EVENT.content_block_delta(self, event)
  local open, delta = self._open[event.index or 0], object(event.delta)
  if not open or not delta then
    return nil, "the provider added to a block that is not open", "truncated"
  elseif not open.block then
    return add_opaque(self, open, delta)
  elseif WANTS[delta.type] ~= open.block.kind then
    return true -- a kind of delta that this version does not know
  end
  return DELTA[delta.type](self, open, delta)
end

function EVENT.content_block_stop(self, event)
  local index = event.index or 0
  if self._open[index] then
    close(self, self._open[index])
    self._open[index] = nil
  end
  return true
end

function EVENT.message_delta(self, event)
  local delta = object(event.delta) or {}
  self._reason = filled(delta.stop_reason) or self._reason
  local details = object(delta.stop_details)
  if details then
    self._details = { category = filled(details.category),
      explanation = filled(details.explanation) }
  end
  read_usage(self, event.usage)
  return true
end

function EVENT.message_stop(self)
  self.ended = true
  return true
end

function EVENT.error(_, event)
  return fail(event)
end

--- Takes one event.
---@param data string
---@param name string? of the event; the data's own type counts
---@return true|nil ok
---@return string|nil text
---@return string|nil code
---@return table|nil details
function Reader:feed(data, name)
  local event = object(json.decode(data))
  if not event then
    return nil, "the provider sent an event that is no JSON", "truncated"
  end
  local handle = EVENT[event.type or name]
  if handle then
    return handle(self, event)
  elseif object(event.error) then
    return fail(event)
  end
  return true
end

--- The end of what the upstream sent: good only behind `message_stop`.
---@return table|nil message
---@return string|nil text
---@return string|nil code
---@return table|nil details
function Reader:finish()
  if not self.ended then
    return errors.truncated(self.usage)
  end
  self._blocks:close_all(true)
  return {
    stop_reason = STOP[self._reason]
      or self._blocks.has_call and "tool_use" or "stop",
    stop_raw = self._reason, stop_details = self._details, usage = self.usage,
    provider_state = state.write { id = self._id, usage = self._raw_usage },
  }
end

return M
