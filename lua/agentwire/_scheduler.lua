--- Who runs, and who is parked. What tasks wait for is built on it
--- (agentwire._wait has all of that).
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

local M = {}

--- What a parked task yields, to be told from a yield of the user's.
local PARK = {}
M.PARK = PARK

local TIMEOUT = "timeout"
local CANCELLED = "cancelled"

--- The task that runs now. One for each Lua state, as only one can run.
local current

-- Where a host has threads of its own they run when that host sees fit, and
-- which of them does can only be asked. By coroutine.
local threaded = setmetatable({}, { __mode = "k" })

---@return agentwire.Task?
function M.current()
  return current or threaded[coroutine_running() or M]
end
local current_task = M.current

--- Has a task run in the thread that calls this.
---@param t agentwire.Task
function M.settle_in(t)
  local thread = coroutine_running()
  t._coroutine = thread
  threaded[thread] = t
end

--- It has not any more. The thread may have been given to another meanwhile.
---@param t agentwire.Task
---@param thread thread?
function M.leave(t, thread)
  if thread and threaded[thread] == t then
    threaded[thread] = nil
  end
end

--- The current task, if it may wait here and now. Raises a misuse error
--- otherwise, or the task's cancellation.
---@return agentwire.Task
local function waiting_task()
  local t = current or current_task()
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
M.waiting_task = waiting_task

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
M.check_timeout = check_timeout

---@param ms number
---@return nil, string message, string code
local function timed_out(ms)
  return nil, string.format("timed out after %.0f ms", ms), TIMEOUT
end
M.timed_out = timed_out

--- The text of an error value, whose __tostring may raise as well.
---@param err any
---@return string
function M.error_text(err)
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
M.place_of = place_of

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
M.enqueue = enqueue

--- Makes a parked task runnable.
---@param t agentwire.Task
---@param cause string? why its wait failed; nil when it was woken
local function unpark(t, cause)
  t._parked = false
  t._cause = cause or false
  local timer = t._timer
  if timer then
    t._timer = false
    t._scheduler.host:cancel_timer(timer)
  end
  return enqueue(t)
end
M.unpark = unpark

--- Takes a task out of whatever it waits for, and off the ready list, between
--- two passes: its thread is gone.
---@param t agentwire.Task
function M.uproot(t)
  local scheduler, kept = t._scheduler, 0
  M.leave(t, t._coroutine)
  if t._timer then
    scheduler.host:cancel_timer(t._timer)
  end
  if t._line then
    t._line:_leave(t)
  end
  t._parked, t._timer = false, false
  local ready, count = scheduler._ready, scheduler._count
  for i = 1, count do
    local each = ready[i]
    ready[i] = nil
    if each ~= t then
      kept = kept + 1
      ready[kept] = each
    end
  end
  scheduler._count = kept
end

local function expire(t)
  t._timer = false
  unpark(t, TIMEOUT)
end

--- Gives up control until the task's next turn.
---@param t agentwire.Task the current one
function M.suspend(t)
  local threads = t._scheduler.threads
  if threads then
    threads.suspend(t)
  else
    coroutine_yield(PARK)
  end
end

--- Suspends the current task. The caller has checked that it may wait.
---@param t agentwire.Task
---@param source table what it waits for; `name` appears in reports
---@param timeout_ms number?
---@return string|false cause false: woken; else "timeout" or "cancelled"
local function park(t, source, timeout_ms)
  if timeout_ms then
    t._timer = t._scheduler.host:timer(timeout_ms, expire, t)
  end
  t._parked = source
  local threads = t._scheduler.threads -- as M.suspend, a call less
  if threads then
    threads.suspend(t)
  else
    coroutine_yield(PARK)
  end
  return t._cause
end
M.park = park

--- Ends a wait that failed the way the public functions do.
function M.give_up(t, cause, timeout_ms)
  if cause == CANCELLED then
    error(t._cancel, 0)
  end
  return timed_out(timeout_ms)
end

--- What a host has in place of coroutines that the scheduler resumes itself:
--- threads that run when the host sees fit.
---@class agentwire.Threads
---@field start fun(t: agentwire.Task, run: fun()) has `run()` called in a thread
--- of its own once `resume(t)` was called
---@field suspend fun(t: agentwire.Task) called in that thread; returns after the
--- next `resume(t)`, which may have come before
---@field resume fun(t: agentwire.Task) called outside of it; may return before the
--- thread runs
---@field stop fun(t: agentwire.Task) its thread is not to run again

--- Who runs next.
---@class agentwire.Scheduler
---@field host table
---@field threads agentwire.Threads|false false: coroutines of the scheduler's own
---@field slow_us number what runs for longer without a wait is told to the log
local Scheduler = {}
Scheduler.__index = Scheduler

---@param host agentwire.Host
---@param threads agentwire.Threads?
---@return agentwire.Scheduler
function M.new(host, threads)
  return setmetatable({
    host = host,
    threads = threads or false,
    slow_us = math.huge,
    _slow_calls = 0,
    _ready = {}, -- tasks of the next pass; the two lists take turns
    _spare = {},
    _count = 0,
    _calls = { count = 0 }, -- scheduled functions and their arguments, in pairs
    _spare_calls = { count = 0 }, -- the two lists take turns
    _asleep = false,
  }, Scheduler)
end

---@return boolean
function Scheduler:is_runnable()
  return self._count > 0 or self._calls.count > 0
end

--- Has the host's `wakeup` called as soon as a task becomes runnable.
function Scheduler:sleep()
  self._asleep = true
end

--- Calls `fn(argument)` in the next pass, outside of any task. Finalizers call
--- this, in the middle of whatever allocates.
---@param fn fun(argument: any)
---@param argument any
function Scheduler:schedule(fn, argument)
  local calls = self._calls
  local count = calls.count
  calls[2 * count + 1] = fn
  calls[2 * count + 2] = argument
  calls.count = count + 1
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
    self:report(M.error_text(message), what)
  end
  if clock_us() - began >= self.slow_us and told == self._slow_calls then
    self._slow_calls = told + 1 -- what this was called by was not slow itself
    tell_slow(what .. " (" .. place_of(fn) .. ")", began)
  end
end

-- The lists change places in one step: what is scheduled before it, by a
-- finalizer, is in the list that runs now, and what comes after it in the next.
---@return integer count
local function run_calls(self)
  local calls = self._calls
  self._calls = self._spare_calls
  self._spare_calls = calls
  local count = calls.count
  for i = 1, count do
    local fn, argument = calls[2 * i - 1], calls[2 * i]
    calls[2 * i - 1], calls[2 * i] = nil, nil
    self:call("a scheduled function", fn, argument)
  end
  calls.count = 0
  return count
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
  local calls = self._calls.count > 0 and run_calls(self) or 0
  local ready, count = self._ready, self._count
  self._ready, self._spare = self._spare, ready
  self._count = 0
  local resume_thread = self.threads and self.threads.resume
  local began, slow_us = clock_us(), self.slow_us
  for i = 1, count do
    local t = ready[i]
    ready[i] = nil
    if resume_thread then
      resume_thread(t)
    else
      current = t
      local ok, signal = coroutine_resume(t._coroutine)
      if signal ~= PARK then
        t:_stopped(ok, signal)
      end
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
  self._calls = { count = 0 }
end

return M
