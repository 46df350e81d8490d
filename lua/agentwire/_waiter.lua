--- A slot in which one task waits.
local class = require("agentwire._class")
local compat = require("agentwire._compat")
local misuse = require("agentwire._misuse")
local scheduler = require("agentwire._scheduler")

local check_timeout, timed_out = scheduler.check_timeout, scheduler.timed_out
local coroutine_running, is_yieldable = compat.running, compat.is_yieldable
local current_task, waiting_task = scheduler.current, scheduler.waiting_task
local give_up = scheduler.give_up
local park, unpark = scheduler.park, scheduler.unpark

local M = {}

--- A reusable slot in which one task waits.
---@class agentwire.Waiter
---@field name string? for reports
local Waiter = {}
Waiter.__index = Waiter

---@param name string?
---@return agentwire.Waiter
function M.new(name)
  return setmetatable({
    name = name,
    _task = nil, -- who waits, or waited last and has not run since
    _woken = false, -- a wake nobody has consumed, with these values
    _first = nil,
    _second = nil,
    _third = nil,
  }, Waiter)
end

--- Waits until `wake`; returns at once if a wake is remembered.
---@async
---@param timeout_ms number?
---@return any first, any second, any third what `wake` was given, or nil,
--- message, "timeout"; always three values
function Waiter:wait(timeout_ms)
  local t = current_task()
  if t == nil or t._cancel or coroutine_running() ~= t._coroutine then
    t = waiting_task()
  end
  if not self._woken then
    if self._task and self._task._parked == self then
      misuse.raise("another task waits on this waiter")
    end
    if timeout_ms or not is_yieldable() then
      waiting_task()
      timeout_ms = check_timeout(timeout_ms)
      if timeout_ms == 0 then
        return timed_out(0)
      end
    end
    self._task = t
    local cause = park(t, self, timeout_ms)
    if cause then
      if self._task == t then
        self._task = nil
      end
      return give_up(t, cause, timeout_ms)
    end
  end
  self._woken = false
  local first, second, third = self._first, self._second, self._third
  self._first, self._second, self._third = nil, nil, nil
  return first, second, third
end

--- Wakes the task that waits, or is remembered for the next that does.
---@param first any
---@param second any
---@param third any
---@return boolean woken whether a task was waiting
function Waiter:wake(first, second, third)
  if self._woken then
    return false
  end
  self._woken = true
  self._first, self._second, self._third = first, second, third
  local t = self._task
  if t == nil then
    return false
  end
  self._task = nil
  if t._parked ~= self then
    return false
  end
  unpark(t)
  return true
end

--- Forgets a remembered wake.
function Waiter:reset()
  if self._task == nil or self._task._parked ~= self then
    self._woken = false
    self._first, self._second, self._third = nil, nil, nil
  end
end

---@return boolean
function Waiter:is_waiting()
  return self._task ~= nil and self._task._parked == self
end

M.public = class.public(Waiter, "waiter")

return M
