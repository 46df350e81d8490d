--- The blocks of an answer while an upstream streams it: each is opened, added
--- to and closed, and that is told as events in the order in which a stream may
--- have them. Calls keep their arguments here until it is known whether they
--- are whole.
local json = require("agentwire.json")
local state = require("agentwire.providers._state")

local M = {}

-- Arguments of one call, 4 MiB.
local MAX_ARGUMENTS = 4 * 1024 * 1024

---@class agentwire.ProviderBlocks
---@field has_call boolean
local Blocks = {}
Blocks.__index = Blocks

---@param emit fun(event: table)
---@param max_arguments_bytes integer?
---@return agentwire.ProviderBlocks
function M.new(emit, max_arguments_bytes)
  return setmetatable({
    has_call = false,
    count = 0,
    _emit = emit,
    _open = {}, -- in order
    _max = max_arguments_bytes or MAX_ARGUMENTS,
    _current = nil, -- text or thinking that may still get more
  }, Blocks)
end

local PREFIX = { text = "text", thinking = "thinking", tool = "toolcall" }

--- Opens a block, beside those that are open.
---@param kind "text"|"thinking"|"tool"
---@param id string? of a call
---@param name string?
---@return table block
function Blocks:open(kind, id, name)
  local block = { kind = kind, index = self.count, id = id, name = name }
  self.count = self.count + 1
  self._open[#self._open + 1] = block
  if kind == "tool" then
    self.has_call = true
    block.pieces, block.size = {}, 0
  end
  self._emit {
    type = PREFIX[kind] .. "_start", content_index = block.index,
    id = kind == "tool" and (id or "") or nil, name = name,
  }
  return block
end

--- More text or thinking, for upstreams that do not say where a block begins:
--- into the last block if it is of that kind, else into a new one.
---@param kind "text"|"thinking"
---@param text string
---@return table block
function Blocks:say(kind, text)
  local block = self._current
  if not block or block.kind ~= kind then
    self:close_current()
    block = self:open(kind)
    self._current = block
  end
  self:add(block, text)
  return block
end

--- More of a block.
---@param block table
---@param delta string
---@return true|nil ok
---@return string? text
---@return string? code limit, truncated
function Blocks:add(block, delta)
  if delta == "" then
    return true
  elseif block.closed then
    return nil, "the provider added to what had ended", "truncated"
  end
  if block.pieces then
    block.size = block.size + #delta
    if block.size > self._max then
      return nil, ("the arguments of a call are over %d bytes"):format(self._max),
        "limit"
    end
    block.pieces[#block.pieces + 1] = delta
  end
  self._emit {
    type = PREFIX[block.kind] .. "_delta", content_index = block.index,
    delta = delta,
  }
  return true
end

local function finish_call(block, event)
  local text = block.arguments_json or table.concat(block.pieces)
  local value = json.decode(text)
  if not text:find("%S") or value == json.null then
    text = "{}"
  elseif type(value) ~= "table" then
    event.incomplete = true
  end
  event.id, event.name, event.arguments_json = block.id or "", block.name, text
end

--- Closes a block. A call whose arguments are no JSON was cut.
---@param block table with `state`? (a table, or a function that makes one),
--- `opaque`?, of a call `arguments_json`?
---@param is_cut boolean?
function Blocks:close(block, is_cut)
  if block.closed then
    return
  end
  block.closed = true
  if self._current == block then
    self._current = nil
  end
  for index, each in ipairs(self._open) do
    if each == block then
      table.remove(self._open, index)
      break
    end
  end
  local kept = block.state
  if type(kept) == "function" then
    kept = kept()
  end
  local event = {
    type = PREFIX[block.kind] .. "_end", content_index = block.index,
    provider_state = kept and state.write(kept),
    opaque = block.opaque,
  }
  if block.kind == "tool" then
    finish_call(block, event)
    event.incomplete = event.incomplete or is_cut or nil
  end
  self._emit(event)
end

--- A block of a kind that only its provider knows.
---@param kind string the provider's name for it
---@param value table all of it
function Blocks:opaque(kind, value)
  local block = self:open("thinking")
  block.opaque, block.state = kind, value
  self:close(block)
end

--- Closes what `say` has opened.
function Blocks:close_current()
  if self._current then
    self:close(self._current)
  end
end

--- Closes whatever is open.
---@param is_cut boolean? calls that are open were cut
function Blocks:close_all(is_cut)
  while self._open[1] do
    self:close(self._open[1], is_cut)
  end
end

return M
