--- What happens once, for all who wait for it.
local class = require("agentwire._class")
local scheduler = require("agentwire._scheduler")
local signal = require("agentwire._signal")

local check_timeout = scheduler.check_timeout
local give_up, waiting_task = scheduler.give_up, scheduler.waiting_task

local M = {}

--- Set once, with up to three values that every wait from then on returns.
---@class agentwire.Latch
local Latch = {}
Latch.__index = Latch

---@param name string?
---@return agentwire.Latch
function M.new(name)
  return setmetatable({
    _signal = signal.new(name or "latch"),
    _set = false,
    _first = nil,
    _second = nil,
    _third = nil,
  }, Latch)
end

--- Sets it for good, with up to three values.
---@return boolean first false if it was set before: nothing changes then
function Latch:set(first, second, third)
  if self._set then
    return false
  end
  self._set = true
  self._first, self._second, self._third = first, second, third
  self._signal:wake_all()
  return true
end

---@return boolean
function Latch:is_set()
  return self._set
end

--- Waits until it is set, or returns at once when it is.
---@async
---@param timeout_ms number?
---@return any ... what `set` was given, or nil, message, "timeout"
function Latch:wait(timeout_ms)
  local t = waiting_task()
  if not self._set then
    timeout_ms = check_timeout(timeout_ms)
    local cause = self._signal:_park(t, timeout_ms)
    if cause then
      return give_up(t, cause, timeout_ms)
    end
  end
  return self._first, self._second, self._third
end

M.public = class.public(Latch, "latch")

return M
