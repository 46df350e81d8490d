--- Functions that hear of something, in the order in which they came: the state
--- listeners of a connection, its listeners for unsequenced messages, those of
--- an agent loop. The list is replaced, never changed, so that a listener may
--- leave, or another come, while they are being called.
local M = {}

---@class agentwire.Listeners
local Listeners = {}
Listeners.__index = Listeners

---@return agentwire.Listeners
function M.new()
  return setmetatable({ _list = {} }, Listeners)
end

local function remove(self, is_meant)
  local list = {}
  for _, entry in ipairs(self._list) do
    if not is_meant(entry) then
      list[#list + 1] = entry
    end
  end
  self._list = list
end

---@param fn function
---@return fun() off it is called no longer; idempotent
function Listeners:add(fn)
  local added = { fn = fn }
  local list = {}
  for index, entry in ipairs(self._list) do
    list[index] = entry
  end
  list[#list + 1] = added
  self._list = list
  return function()
    remove(self, function(entry)
      return entry == added
    end)
  end
end

--- Drops a function wherever it stands.
---@param fn function
function Listeners:drop(fn)
  remove(self, function(entry)
    return entry.fn == fn
  end)
end

local function next_one(list, index)
  local entry = list[index + 1]
  if entry then
    return index + 1, entry.fn
  end
end

---@return integer
function Listeners:count()
  return #self._list
end

--- Iterates over those that are there now.
function Listeners:each()
  return next_one, self._list, 0
end

return M
