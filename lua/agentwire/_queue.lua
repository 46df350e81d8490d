--- Values that are handed from task to task.
local class = require("agentwire._class")
local misuse = require("agentwire._misuse")
local scheduler = require("agentwire._scheduler")
local signal = require("agentwire._signal")

local check_timeout = scheduler.check_timeout
local give_up, waiting_task = scheduler.give_up, scheduler.waiting_task

local M = {}

--- A bounded queue. Values are handed over, in order, straight to the task that
--- has waited longest: nobody can overtake, and none is lost to a wait that was
--- cancelled.
---@class agentwire.Queue
local Queue = {}
Queue.__index = Queue

---@param limit integer how many values it holds, at least 1
---@param name string?
---@return agentwire.Queue
function M.new(limit, name)
  if type(limit) ~= "number" or limit < 1 or limit % 1 ~= 0 then
    misuse.raise("a queue needs a limit of at least 1")
  end
  name = name or "queue"
  return setmetatable({
    _limit = limit,
    _items = {}, -- a ring of slots 1 to limit
    _head = 0, -- slot before the oldest value
    _count = 0,
    _closed = false,
    _readers = signal.new("a value from " .. name),
    _writers = signal.new("room in " .. name),
  }, Queue)
end

local function append(self, value)
  self._items[(self._head + self._count) % self._limit + 1] = value
  self._count = self._count + 1
end

local function check_value(value)
  if value == nil then
    misuse.raise("a queue cannot hold nil")
  end
end

---@return true? pushed, string? message, string? code "closed" or "full"
local function push_now(self, value)
  if self._closed then
    return nil, "closed", "closed"
  end
  local reader = self._readers:wake_one()
  if reader then
    reader._value = value
    return true
  end
  if self._count == self._limit then
    return nil, "full", "full"
  end
  append(self, value)
  return true
end

--- Puts a value in, if there is room.
---@param value any not nil
---@return true? pushed, string? message, string? code "closed" or "full"
function Queue:try_push(value)
  check_value(value)
  return push_now(self, value)
end

--- Puts a value in; waits for room.
---@async
---@param value any not nil
---@param timeout_ms number?
---@return true? pushed, string? message, string? code "closed" or "timeout"
function Queue:push(value, timeout_ms)
  local t = waiting_task()
  check_value(value)
  timeout_ms = check_timeout(timeout_ms)
  local pushed, why, code = push_now(self, value)
  if code ~= "full" then
    return pushed, why, code
  end
  t._value = value
  local cause = self._writers:_park(t, timeout_ms)
  local refused = t._value ~= nil
  t._value = nil
  if cause then
    return give_up(t, cause, timeout_ms)
  end
  if refused then -- woken by close, with the value still in hand
    return nil, "closed", "closed"
  end
  return true
end

local function pop_now(self)
  if self._count == 0 then
    return nil
  end
  local slot = self._head + 1
  local value = self._items[slot]
  self._items[slot] = nil
  self._head = slot % self._limit
  self._count = self._count - 1
  local writer = self._writers:wake_one()
  if writer then
    append(self, writer._value)
    writer._value = nil
  end
  return value
end

--- Takes the oldest value, if there is one.
---@return any value, string? message, string? code "closed" or "empty"
function Queue:try_pop()
  local value = pop_now(self)
  if value ~= nil then
    return value
  end
  if self._closed then
    return nil, "closed", "closed"
  end
  return nil, "empty", "empty"
end

--- Waits for a value. After `close` returns what is left, then "closed".
---@async
---@param timeout_ms number?
---@return any value, string? message, string? code "closed" or "timeout"
function Queue:pop(timeout_ms)
  local t = waiting_task()
  local value, why, code = self:try_pop()
  if code ~= "empty" then
    return value, why, code
  end
  timeout_ms = check_timeout(timeout_ms)
  local cause = self._readers:_park(t, timeout_ms)
  if cause then
    return give_up(t, cause, timeout_ms)
  end
  value, t._value = t._value, nil
  if value == nil then
    return nil, "closed", "closed"
  end
  return value
end

--- Takes no more values and wakes every waiter. Idempotent.
function Queue:close()
  self._closed = true
  self._readers:wake_all()
  self._writers:wake_all()
end

--- How many values it holds.
---@return integer
function Queue:length()
  return self._count
end

M.public = class.public(Queue, "queue")

return M
