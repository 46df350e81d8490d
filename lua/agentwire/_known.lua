--- What a client knows by its id: the streams or sessions that somebody holds,
--- and the latest of those that have ended, for whoever asks about them by id.
--- The former are held weakly, so that one that nobody holds is given up; the
--- latter are kept, up to a limit, and the oldest is forgotten.
local M = {}

---@class agentwire.Known
local Known = {}
Known.__index = Known

---@param max_ended integer
---@return agentwire.Known
function M.new(max_ended)
  return setmetatable({
    _by_id = setmetatable({}, { __mode = "v" }),
    _ended = {}, -- from `_first` to `_last`, the oldest first
    _first = 1,
    _last = 0,
    _max_ended = max_ended,
  }, Known)
end

---@param object table with an `id`; takes the place of any other with it
function Known:add(object)
  self._by_id[object.id] = object
end

---@param id string
---@return table?
function Known:get(id)
  return self._by_id[id]
end

--- Keeps an object that has ended. Does nothing for one that is not known any
--- more: it was forgotten, or another has its id.
---@param object table
function Known:retire(object)
  if self._by_id[object.id] ~= object then
    return
  end
  self._last = self._last + 1
  self._ended[self._last] = object
  while self._last - self._first + 1 > self._max_ended do
    local oldest = self._ended[self._first]
    self._ended[self._first] = nil
    self._first = self._first + 1
    if self._by_id[oldest.id] == oldest then
      self._by_id[oldest.id] = nil
    end
  end
end

--- Forgets an object, whether it has ended or not.
---@param id string
---@return table? object
function Known:forget(id)
  local object = self._by_id[id]
  self._by_id[id] = nil
  local kept = self._first - 1
  for at = self._first, self._last do
    local each = self._ended[at]
    self._ended[at] = nil
    if each ~= object then
      kept = kept + 1
      self._ended[kept] = each
    end
  end
  self._last = kept
  return object
end

--- Iterates over all of them as `id, object`.
function Known:each()
  return pairs(self._by_id)
end

---@return integer known
---@return integer ended
function Known:counts()
  local known = 0
  for _ in pairs(self._by_id) do
    known = known + 1
  end
  return known, self._last - self._first + 1
end

return M
