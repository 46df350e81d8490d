--- A line in which tasks wait.
local class = require("agentwire._class")
local scheduler = require("agentwire._scheduler")

local check_timeout = scheduler.check_timeout
local give_up, waiting_task = scheduler.give_up, scheduler.waiting_task
local park, unpark = scheduler.park, scheduler.unpark

local M = {}

--- A line of tasks that wait, without memory. Links are kept in the tasks, for
--- a task stands in one line at most: leaving costs the same wherever it stood.
---@class agentwire.Signal
local Signal = {}
Signal.__index = Signal

---@param name string? for reports
---@param owner any? appended to the name
---@return agentwire.Signal
function M.new(name, owner)
  return setmetatable({
    name = name,
    owner = owner,
    _first = nil,
    _last = nil,
  }, Signal)
end

local function leave_line(self, t)
  local previous, next_one = t._ahead, t._behind
  if previous then
    previous._behind = next_one
  else
    self._first = next_one
  end
  if next_one then
    next_one._ahead = previous
  else
    self._last = previous
  end
  t._line, t._ahead, t._behind = false, false, false
end

--- Takes `t` out, wherever it stands in the line.
---@param t agentwire.Task
function Signal:_leave(t)
  leave_line(self, t)
end

--- Parks `t` at the end of the line; never raises, leaves nothing behind.
---@async
---@return string? cause as of `park`
function Signal:_park(t, timeout_ms)
  if timeout_ms == 0 then
    return "timeout"
  end
  local last = self._last
  if last then
    last._behind = t
  else
    self._first = t
  end
  t._line, t._ahead = self, last or false -- nil would be looked for in the class
  self._last = t
  local cause = park(t, self, timeout_ms)
  if t._line == self then
    leave_line(self, t)
  end
  return cause
end

--- Waits until it is woken.
---@async
---@param timeout_ms number?
---@return true? woken, string? message, string? code "timeout"
function Signal:wait(timeout_ms)
  local t = waiting_task()
  timeout_ms = check_timeout(timeout_ms)
  local cause = self:_park(t, timeout_ms)
  if cause then
    return give_up(t, cause, timeout_ms)
  end
  return true
end

--- Wakes the task that has waited longest.
---@return agentwire.Task? woken
function Signal:wake_one()
  local t = self._first
  while t do
    leave_line(self, t)
    if t._parked == self then -- else its wait has failed, it only has not run
      unpark(t)
      return t
    end
    t = self._first
  end
  return nil
end

--- Wakes all that wait now.
function Signal:wake_all()
  while self:wake_one() do
  end
end

M.public = class.public(Signal, "signal")

return M
