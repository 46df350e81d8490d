--- Waiting and waking: the scheduler's ready list, and what tasks wait for.
---
--- A parked task has `_parked` set to what it waits for. Whoever clears that
--- field (a wake, a timeout, a cancellation) has decided how the wait ends and
--- puts the task on the ready list, once. Everything else follows from this:
--- whatever came first wins, and late wakes find nothing to do.

local compat = require("agentwire._compat")
local core = require("agentwire.core")
local log = require("agentwire.log")
local misuse = require("agentwire._misuse")

local clock_us = core.monotonic_us

local coroutine_resume = compat.resume
local coroutine_running = compat.running
local is_yieldable = compat.is_yieldable
local coroutine_yield = compat.yield

local wait = {}

--- What a parked task yields, to be told from a yield of the user's.
local PARK = {}
wait.PARK = PARK

local TIMEOUT = "timeout"
local CANCELLED = "cancelled"

--- The task that runs now. One for each Lua state, as only one can run.
local current

---@return agentwire.Task?
function wait.current()
  return current
end

--- The current task, if it may wait here and now. Raises a misuse error
--- otherwise, or the task's cancellation.
---@return agentwire.Task
local function waiting_task()
  local t = current
  if t == nil then
    misuse.raise("only a task can wait: call it inside agentwire.run")
  end
  if coroutine_running() ~= t._coroutine then
    misuse.raise("a coroutine inside a task cannot wait: spawn a task")
  end
  if not is_yieldable() then
    misuse.raise("a function called from C, as by table.sort, cannot wait")
  end
  if t._cancel and t._shield == 0 then
    error(t._cancel, 0)
  end
  return t
end
wait.waiting_task = waiting_task

--- A timeout as the scheduler takes it: nil for none, never negative, since
--- what is left of a deadline may be.
---@param ms number?
---@return number?
local function check_timeout(ms)
  if ms == nil or ms == math.huge then
    return nil
  end
  if type(ms) ~= "number" or ms ~= ms then
    misuse.raise("expected a duration in milliseconds, got %s",
      misuse.describe(ms))
  end
  return ms > 0 and ms or 0
end
wait.check_timeout = check_timeout

---@param ms number
---@return nil, string message, string code
local function timed_out(ms)
  return nil, string.format("timed out after %.0f ms", ms), TIMEOUT
end
wait.timed_out = timed_out

--- The text of an error value, whose __tostring may raise as well.
---@param err any
---@return string
function wait.error_text(err)
  local ok, text = pcall(tostring, err)
  return ok and text or "an error without a text"
end

--- Where a function is written.
---@param fn function
---@return string
local function place_of(fn)
  local info = debug.getinfo(fn, "S")
  return ("%s:%d"):format(info.short_src, info.linedefined)
end
wait.place_of = place_of

local function enqueue(t)
  local scheduler = t._scheduler
  local count = scheduler._count + 1
  scheduler._count = count
  scheduler._ready[count] = t
  if scheduler._asleep then
    scheduler._asleep = false
    scheduler.host:wakeup()
  end
end
wait.enqueue = enqueue

--- Makes a parked task runnable.
---@param t agentwire.Task
---@param cause string? why its wait failed; nil when it was woken
local function unpark(t, cause)
  t._parked = nil
  t._cause = cause
  local timer = t._timer
  if timer then
    t._timer = nil
    t._scheduler.host:cancel_timer(timer)
  end
  return enqueue(t)
end
wait.unpark = unpark

local function expire(t)
  t._timer = nil
  unpark(t, TIMEOUT)
end

--- Suspends the current task. The caller has checked that it may wait.
---@param t agentwire.Task
---@param source table what it waits for; `name` appears in reports
---@param timeout_ms number?
---@return string? cause nil: woken; else "timeout" or "cancelled"
local function park(t, source, timeout_ms)
  if timeout_ms then
    t._timer = t._scheduler.host:timer(timeout_ms, expire, t)
  end
  t._parked = source
  coroutine_yield(PARK)
  return t._cause
end
wait.park = park

--- Ends a wait that failed the way the public functions do.
local function give_up(t, cause, timeout_ms)
  if cause == CANCELLED then
    error(t._cancel, 0)
  end
  return timed_out(timeout_ms)
end

--- A reusable slot in which one task waits.
---@class agentwire.Waiter
---@field name string? for reports
local Waiter = {}
Waiter.__index = Waiter

---@param name string?
---@return agentwire.Waiter
function wait.waiter(name)
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
  local t = current
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

--- A line of tasks that wait, without memory. Links are kept in the tasks, for
--- a task stands in one line at most: leaving costs the same wherever it stood.
---@class agentwire.Signal
local Signal = {}
Signal.__index = Signal

---@param name string? for reports
---@param owner any? appended to the name
---@return agentwire.Signal
function wait.signal(name, owner)
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
  t._line, t._ahead, t._behind = nil, nil, nil
end

--- Parks `t` at the end of the line; never raises, leaves nothing behind.
---@async
---@return string? cause as of `park`
function Signal:_park(t, timeout_ms)
  if timeout_ms == 0 then
    return TIMEOUT
  end
  local last = self._last
  if last then
    last._behind = t
  else
    self._first = t
  end
  t._line, t._ahead = self, last
  self._last = t
  local cause = park(t, self, timeout_ms)
  if t._line == self then
    leave_line(self, t)
  end
  return cause
end

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

function Signal:wake_all()
  while self:wake_one() do
  end
end

--- Set once, with up to three values that every wait from then on returns.
---@class agentwire.Latch
local Latch = {}
Latch.__index = Latch

---@param name string?
---@return agentwire.Latch
function wait.latch(name)
  return setmetatable({
    _signal = wait.signal(name or "latch"),
    _set = false,
    _first = nil,
    _second = nil,
    _third = nil,
  }, Latch)
end

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

--- A bounded queue. Values are handed over, in order, straight to the task that
--- has waited longest: nobody can overtake, and none is lost to a wait that was
--- cancelled.
---@class agentwire.Queue
local Queue = {}
Queue.__index = Queue

---@param limit integer how many values it holds, at least 1
---@param name string?
---@return agentwire.Queue
function wait.queue(limit, name)
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
    _readers = wait.signal("a value from " .. name),
    _writers = wait.signal("room in " .. name),
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

---@param value any not nil
---@return true? pushed, string? message, string? code "closed" or "full"
function Queue:try_push(value)
  check_value(value)
  return push_now(self, value)
end

--- Waits for room.
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

---@return integer
function Queue:length()
  return self._count
end

--- Who runs next. `host` is the port that docs/concurrency.md describes.
---@class agentwire.Scheduler
---@field host table
---@field slow_us number what runs for longer without a wait is told to the log
local Scheduler = {}
Scheduler.__index = Scheduler

---@param host table
---@return agentwire.Scheduler
function wait.scheduler(host)
  return setmetatable({
    host = host,
    slow_us = math.huge,
    _slow_calls = 0,
    _ready = {}, -- tasks of the next pass; the two lists take turns
    _spare = {},
    _count = 0,
    _calls = {}, -- scheduled functions and their arguments, in pairs
    _call_count = 0,
    _asleep = false,
  }, Scheduler)
end

---@return boolean
function Scheduler:is_runnable()
  return self._count > 0 or self._call_count > 0
end

--- Has the host's `wakeup` called as soon as a task becomes runnable.
function Scheduler:sleep()
  self._asleep = true
end

--- Calls `fn(argument)` in the next pass, outside of any task.
---@param fn fun(argument: any)
---@param argument any
function Scheduler:schedule(fn, argument)
  local count = self._call_count
  self._calls[2 * count + 1] = fn
  self._calls[2 * count + 2] = argument
  self._call_count = count + 1
  if self._asleep then
    self._asleep = false
    self.host:wakeup()
  end
end

--- Tells the host of an error that nobody else will hear of.
---@param message string with traceback
---@param what string what failed
function Scheduler:report(message, what)
  local on_error = self.host.on_error
  if on_error and pcall(on_error, message, what) then
    return
  end
  io.stderr:write("agentwire: ", what, " failed: ", message, "\n")
end

--- Says that one piece of work kept everything else from running.
local function tell_slow(what, began)
  local ms = (clock_us() - began) / 1000
  log.write("warn", "slow_turn", ("%s kept the loop busy for %.0f ms; nothing "
    .. "else ran meanwhile"):format(what, ms), { what = what, ms = ms })
end

--- Calls host-side code, which must neither wait nor end the loop.
---@param what string what it is called in reports
---@param fn function
function Scheduler:call(what, fn, first, second)
  local began, told = clock_us(), self._slow_calls
  local ok, message = xpcall(fn, debug.traceback, first, second)
  if not ok then
    self:report(wait.error_text(message), what)
  end
  if clock_us() - began >= self.slow_us and told == self._slow_calls then
    self._slow_calls = told + 1 -- what this was called by was not slow itself
    tell_slow(what .. " (" .. place_of(fn) .. ")", began)
  end
end

local function run_calls(self)
  local calls, count = self._calls, self._call_count
  self._calls, self._call_count = {}, 0
  for i = 1, count do
    self:call("a scheduled function", calls[2 * i - 1], calls[2 * i])
  end
end

--- Puts those that a pass had no time for before those that have become
--- runnable meanwhile.
local function postpone(self, rest, first, last)
  local fresh, kept = self._ready, 0
  for i = first, last do
    kept = kept + 1
    rest[kept], rest[i] = rest[i], nil
  end
  for i = 1, self._count do
    rest[kept + i], fresh[i] = fresh[i], nil
  end
  self._ready, self._spare, self._count = rest, fresh, kept + self._count
end

--- Runs each task that is runnable now once, in the order they became so.
---@param deadline_us number? on the monotonic clock: later tasks keep their
--- places for the next pass; one runs in any case
---@return integer count how many ran
function Scheduler:pass(deadline_us)
  if current then
    misuse.raise("the scheduler cannot run inside a task")
  end
  local calls = self._call_count
  if calls > 0 then
    run_calls(self)
  end
  local ready, count = self._ready, self._count
  self._ready, self._spare = self._spare, ready
  self._count = 0
  local began, slow_us = clock_us(), self.slow_us
  for i = 1, count do
    local t = ready[i]
    ready[i] = nil
    current = t
    local ok, signal = coroutine_resume(t._coroutine)
    if signal ~= PARK then
      t:_stopped(ok, signal)
    end
    local now = clock_us()
    if now - began >= slow_us then
      tell_slow(tostring(t), began)
    end
    began = now
    if deadline_us and now >= deadline_us and i < count then
      postpone(self, ready, i + 1, count)
      count = i
      break
    end
  end
  current = nil
  return count + calls
end

--- Forgets every runnable task.
function Scheduler:clear()
  current = nil
  self._ready, self._spare, self._count = {}, {}, 0
  self._calls, self._call_count = {}, 0
end

return wait
