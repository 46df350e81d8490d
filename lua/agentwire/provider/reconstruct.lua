--- Accumulates a stream's events into the assistant message.
---
--- Deltas are kept as pieces and joined on demand. Pieces are folded into
--- chunks of `FOLD`, so that a long stream of short deltas costs the memory of
--- its text and joining stays linear.
local class = require("agentwire._class")
local clock = require("agentwire._clock")
local json = require("agentwire.json")
local protocol = require("agentwire.provider.protocol")
local tables = require("agentwire._tables")

local M = {}

-- The client's read loop appends pieces itself, without a call: for a string
-- delta whose `blocks[content_index].delta_type` is the event's type, and only
-- while `left` has room and fewer than `M.FOLD` pieces lie there.
---@class agentwire.Reconstructor
---@field ignored integer events that did not fit: orphans, kinds, over limits
---@field truncated boolean whether `max_bytes` cut the message
---@field started boolean whether `start` came
---@field left integer bytes that may still be added
---@field blocks table<integer, table> by content_index
local Reconstructor = {}
Reconstructor.__index = Reconstructor

local FOLD = 256
M.FOLD = FOLD

-- A `result` is one message, so nothing larger could have been sent whole.
local MAX_BYTES = 16 * 1024 * 1024

-- Providers answer with a handful of blocks; the limit keeps a peer from
-- growing the block table with empty ones.
local MAX_BLOCKS = 4096

local START = {
  text_start = "text", thinking_start = "thinking", toolcall_start = "tool",
}
local DELTA = {
  text_delta = "text", thinking_delta = "thinking", toolcall_delta = "tool",
}
local END = {
  text_end = "text", thinking_end = "thinking", toolcall_end = "tool",
}
local DELTA_TYPE = {
  text = "text_delta", thinking = "thinking_delta", tool = "toolcall_delta",
}

-- A content block of a message, by its type: the kind, the first part of its
-- events' names, where its text is, and where `include_partial` puts that.
local CONTENT = {
  text = { "text", "text", "text", "current_text" },
  thinking = { "thinking", "thinking", "thinking", "current_thinking" },
  tool_call = {
    "tool", "toolcall", "arguments_json", "current_arguments_json",
  },
}

local function clear(self)
  self.ignored = 0
  self.truncated = false
  self.started = false
  self.blocks = {}
  self._indexes = {}
  self.left = self._max_bytes
  self._model = nil
  self._state_of = nil
  self._usage = nil
  self._stop_reason = nil
  self._whole = nil
  return self
end

--- A reconstructor. `implicit_start = false` makes a text or thinking delta
--- without its start an orphan; base peers send such deltas, so the default is
--- to accept them. `max_bytes` and `max_blocks` bound the message.
---@param options? table
---@return agentwire.Reconstructor
function M.new(options)
  options = options or {}
  return clear(setmetatable({
    _implicit = options.implicit_start ~= false,
    _max_bytes = options.max_bytes or MAX_BYTES,
    _max_blocks = options.max_blocks or MAX_BLOCKS,
  }, Reconstructor))
end

--- Forgets everything, for the next stream.
---@return agentwire.Reconstructor self
function Reconstructor:reset()
  return clear(self)
end

local function ignore(self)
  self.ignored = self.ignored + 1
  return false
end

local function open_block(self, index, kind)
  if type(index) ~= "number" or index < 0 or index % 1 ~= 0
    or self.blocks[index] or #self._indexes >= self._max_blocks then
    return nil
  end
  local block = {
    kind = kind, delta_type = DELTA_TYPE[kind], n = 0, chunks = {},
    index = index,
  }
  self.blocks[index] = block
  self._indexes[#self._indexes + 1] = index
  return block
end

local function fold(block)
  block.chunks[#block.chunks + 1] = table.concat(block, "", 1, block.n)
  block.n = 0
end

local function text_of(block)
  if block.n > 0 then
    fold(block)
  end
  if #block.chunks > 1 then
    block.chunks = { table.concat(block.chunks) }
  end
  return block.chunks[1] or ""
end

local function take_room(self, size)
  local left = self.left - size
  if left < 0 then
    self.truncated = true
    return ignore(self)
  end
  self.left = left
  return true
end

-- A delta without text adds nothing, not even a piece.
local function append(self, block, delta)
  local size = #delta
  if size == 0 then
    return true
  elseif not take_room(self, size) then
    return false
  end
  local n = block.n + 1
  block[n] = delta
  block.n = n
  if n >= FOLD then
    fold(block)
  end
  return true
end

local function push_delta(self, event, kind)
  local delta = event.delta
  if type(delta) ~= "string" then
    return ignore(self)
  end
  local block = self.blocks[event.content_index]
  if not block and self._implicit and kind ~= "tool" then
    block = open_block(self, event.content_index, kind)
  end
  if not block or block.kind ~= kind or block.ended then
    return ignore(self)
  end
  return append(self, block, delta)
end

local function filled(text)
  return type(text) == "string" and text:find("%S") and text or nil
end

local function text_or_none(value)
  return type(value) == "string" and value or nil
end

local function push_start(self, event, kind)
  local block = open_block(self, event.content_index, kind)
  if not block then
    return ignore(self)
  end
  block.id, block.name = event.id, event.name
  return true
end

-- `toolcall_end` carries the whole arguments: they win over the deltas, and
-- one that never had a start still makes a block.
local function push_end(self, event, kind)
  local block = self.blocks[event.content_index]
  if not block and kind == "tool" and self._implicit
    and type(event.name) == "string" then
    block = open_block(self, event.content_index, kind)
  end
  if not block or block.kind ~= kind or block.ended then
    return ignore(self)
  end
  local state = text_or_none(event.provider_state)
  if not take_room(self, #(state or "")) then
    return false
  end
  block.ended = true
  block.delta_type = nil
  block.provider_state, block.opaque = state, text_or_none(event.opaque)
  if kind == "tool" then
    block.id = filled(event.id) or block.id
    block.name = filled(event.name) or block.name
    block.arguments_json = filled(event.arguments_json)
    block.thought_signature = event.thought_signature
    block.incomplete = event.incomplete == true or nil
  end
  return true
end

local OTHER = {}

function OTHER.start(self, event)
  self.started = true
  self._model = event.model
  self._state_of = type(event.state_of) == "table" and event.state_of or nil
  if type(event.input_tokens) == "number" then
    self._usage = { input = event.input_tokens }
  end
end

function OTHER.done(self, event)
  self._stop_reason = event.reason
  if protocol.check("done", event) then
    self._whole = event.message
    self._usage = event.message.usage or self._usage
  end
end

function OTHER.error(self, event)
  self._stop_reason = event.reason
  self._usage = event.usage or self._usage
end

function OTHER.keepalive() end

function OTHER.warning() end

--- Takes one event.
---@param event table
---@return boolean taken false when it did not fit (counted in `ignored`)
function Reconstructor:push(event)
  local kind = event.type
  if DELTA[kind] then
    return push_delta(self, event, DELTA[kind])
  elseif START[kind] then
    return push_start(self, event, START[kind])
  elseif END[kind] then
    return push_end(self, event, END[kind])
  elseif OTHER[kind] then
    OTHER[kind](self, event)
    return true
  end
  return ignore(self)
end

local WRITE = {}

function WRITE.text(block)
  return {
    type = "text", text = text_of(block), provider_state = block.provider_state,
  }
end

function WRITE.thinking(block)
  return {
    type = "thinking", thinking = text_of(block), opaque = block.opaque,
    provider_state = block.provider_state,
  }
end

-- A call without arguments is a call with none: `{}` is what every tool
-- takes for that.
function WRITE.tool(block)
  local arguments = block.arguments_json or text_of(block)
  return {
    type = "tool_call",
    id = block.id or "",
    name = block.name or "",
    arguments_json = arguments ~= "" and arguments or "{}",
    thought_signature = block.thought_signature,
    provider_state = block.provider_state,
    incomplete = block.incomplete,
  }
end

local function content_of(self)
  table.sort(self._indexes)
  local content = {}
  for position, index in ipairs(self._indexes) do
    local block = self.blocks[index]
    content[position] = WRITE[block.kind](block)
  end
  return json.array(content)
end

local function has_tool_call(self)
  for _, block in pairs(self.blocks) do
    if block.kind == "tool" then
      return true
    end
  end
  return false
end

--- The text accumulated in one block so far, joined.
---@param index integer content_index
---@return string|nil text a finished tool call's is its arguments
function Reconstructor:text(index)
  local block = self.blocks[index]
  return block and (block.arguments_json or text_of(block))
end

--- Whether a block is there that had no end yet.
---@return integer|nil content_index
function Reconstructor:open_index()
  for _, index in ipairs(self._indexes) do
    if not self.blocks[index].ended then
      return index
    end
  end
  return nil
end

--- Whether no block came yet.
---@return boolean
function Reconstructor:is_empty()
  return #self._indexes == 0
end

--- Token counts as far as they are known.
---@return table usage
function Reconstructor:usage()
  return protocol.usage(self._usage)
end

--- The assistant message: the one that `done` carried, else what the events
--- gave. `defaults` supplies members that events don't carry (model, api,
--- provider, timestamp).
---@param defaults? table
---@return table message
function Reconstructor:message(defaults)
  if self._whole then
    return self._whole
  end
  defaults = defaults or {}
  local stop_reason = self._stop_reason
  if not protocol.stop_reasons[stop_reason] then
    stop_reason = has_tool_call(self) and "tool_use" or "stop"
  end
  return {
    role = "assistant",
    model = self._model or defaults.model or "",
    api = defaults.api or "",
    provider = defaults.provider or "",
    timestamp = defaults.timestamp or clock.now_ms(),
    stop_reason = stop_reason,
    state_of = self._state_of,
    usage = self:usage(),
    content = content_of(self),
  }
end

--- What is left of a message that has no good end: calls that are open are
--- marked `incomplete`, so that nobody executes them.
---@param defaults? table as for `message`
---@param stop_reason "error"|"aborted"
---@return table message
function Reconstructor:cut(defaults, stop_reason)
  local message = tables.copy(self:message(defaults))
  message.stop_reason = stop_reason
  for position, index in ipairs(message.content == (self._whole or {}).content
    and {} or self._indexes) do
    local block = self.blocks[index]
    if block.kind == "tool" and not block.ended then
      message.content[position].incomplete = true
    end
  end
  return message
end

--- The state so far as `sync` carries it: the message in the result shape, and
--- which of its blocks are open. An open call's arguments are as far as they
--- came.
---@param defaults? table as for `message`
---@return table state {partial, blocks}
function Reconstructor:state(defaults)
  local partial = protocol.result_from_message(self:message(defaults))
  local blocks = {}
  for position, index in ipairs(self._indexes) do
    local block = self.blocks[index]
    blocks[position] = { content_index = index, open = not block.ended }
    if block.kind == "tool" and not block.ended then
      partial.content[position].arguments_json = text_of(block)
    end
  end
  return { partial = partial, blocks = json.array(blocks) }
end

-- What one block of a state has that was not taken yet. False: they contradict
-- each other.
local function catch_up(self, content, stated, add)
  local shape, index = CONTENT[content.type], stated.content_index
  local block = self.blocks[index]
  if not shape or (block and block.kind ~= shape[1]) then
    return false
  elseif block and block.ended then
    return true
  end
  local kind, prefix, whole = shape[1], shape[2], content[shape[3]]
  local known = block and text_of(block) or ""
  local fits = whole:sub(1, #known) == known
  local id, name = content.id, content.name
  if not block then
    add(prefix .. "_start", "", { content_index = index, id = id, name = name })
  end
  if fits and #whole > #known then
    add(DELTA_TYPE[kind], whole, {
      content_index = index, delta = whole:sub(#known + 1),
    })
  end
  if not stated.open then
    add(prefix .. "_end", whole, {
      content_index = index, id = id, name = name,
      arguments_json = content.arguments_json,
      thought_signature = content.thought_signature,
      incomplete = content.incomplete, opaque = content.opaque,
      provider_state = content.provider_state,
    })
  end
  -- A call's end carries its arguments, which need not be what was streamed.
  return fits or (kind == "tool" and not stated.open)
end

--- The events that lead from what was taken so far to a state, each once: what
--- a reader is given in the place of those that were folded. They are not taken
--- by this.
---@param sync table a checked `sync`
---@param with_partial? boolean as after `include_partial`
---@return table[]|nil events
---@return string|nil message
function Reconstructor:missing(sync, with_partial)
  local events = {}
  local content = sync.partial and sync.partial.content or {}
  for position, block in ipairs(content) do
    local stated = sync.blocks and sync.blocks[position]
      or { content_index = position - 1 }
    local ok = catch_up(self, block, stated, function(kind, text, event)
      event.type, event.sequence = kind, sync.sequence
      if with_partial then
        event.partial = { [CONTENT[block.type][4]] = text }
      end
      events[#events + 1] = event
    end)
    if not ok then
      return nil, ("block %d of the state contradicts what came before")
        :format(stated.content_index)
    end
  end
  return events
end

--- What a message has of the model that was asked for, until the provider has
--- said which one answers.
---@param model table of the request
---@return table defaults of `message` and `state`
function M.defaults(model)
  return { model = model.id, api = model.api, provider = model.provider }
end

class.seal(Reconstructor, "reconstruction", { push = true })

return M
