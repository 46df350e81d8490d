--- A task: handle and scope. How it runs and ends, and what becomes of its
--- children then. docs/concurrency.md is the model, and says what is promised.
local cancelled = require("agentwire._cancelled")
local class = require("agentwire._class")
local compat = require("agentwire._compat")
local failures = require("agentwire._task_failures")
local misuse = require("agentwire._misuse")
local problems = require("agentwire._problem")
local schedulers = require("agentwire._scheduler")
local wait = require("agentwire._wait")

local park, suspend = schedulers.park, schedulers.suspend
local waiting_task = wait.waiting_task

---@class agentwire.Task
---@field name string? for reports
local Task = {}
Task.__index = Task

-- What is looked at with each wait is false, not nil: a class asks its guard for
-- what is not there.
---@return agentwire.Task
local function new_task(scheduler, parent, fn)
  return setmetatable({
    name = nil,
    _scheduler = scheduler,
    _coroutine = nil,
    _fn = fn, -- names the task in reports
    _state = "running",
    -- the scope
    _parent = parent,
    _first_child = false,
    _last_child = nil,
    _previous = nil,
    _next = nil,
    _defers = false,
    _draining = false, -- waits for its children to end
    _failures = false, -- set of children's failures that nobody has seen
    -- the current wait, owned by agentwire._wait
    _parked = false,
    _cause = false,
    _timer = false,
    _line = false,
    _ahead = false,
    _behind = false,
    _value = nil,
    -- cancellation and outcome
    _cancel = false,
    _shield = 0,
    _joiners = false,
    _trace = nil,
    _trace_of = nil,
    _ended = false, -- its function has; what follows is outcome or code
    _results = nil,
    _code = nil,
    _message = nil,
    _error = nil,
    _failure = false,
    _anchor = nil,
  }, Task)
end

---@return string
function Task:__tostring()
  return "task " .. wait.error_text(self.name or wait.place_of(self._fn))
end

---@return "running"|"cancelling"|"done"
function Task:status()
  return self._state
end

---@return boolean
function Task:is_done()
  return self._state == "done"
end

local function adopt(parent, child)
  local last = parent._last_child
  if last then
    last._next = child
    child._previous = last
  else
    parent._first_child = child
  end
  parent._last_child = child
end

local function disown(parent, child)
  local previous, next_one = child._previous, child._next
  if previous then
    previous._next = next_one
  else
    parent._first_child = next_one or false
  end
  if next_one then
    next_one._previous = previous
  else
    parent._last_child = previous
  end
  child._previous, child._next = nil, nil
end

local function is_own_cancellation(t, err)
  return t._cancel and rawequal(err, t._cancel)
end

--- Keeps the traceback of what a task raised, where the stack still stands.
--- Errors raised again by shield and timeout keep the first, deepest one.
local function on_raise(err)
  local t = wait.current()
  if not is_own_cancellation(t, err) and not rawequal(err, t._trace_of) then
    t._trace_of = err
    t._trace = debug.traceback(wait.error_text(err), 2)
  end
  return err
end

local function cancel_children(t)
  local child = t._first_child
  while child do
    child:cancel("parent ended")
    child = child._next
  end
end

local DRAIN = { name = "the end of its children" }

local function drain_children(t)
  cancel_children(t)
  t._draining = true
  while t._first_child do
    park(t, DRAIN)
  end
  t._draining = false
end

local function run_defers(t)
  local defers = t._defers
  while defers and #defers > 0 do
    local fn = table.remove(defers)
    t._trace_of = nil
    local ok, err = xpcall(fn, on_raise)
    if not ok then
      local message = rawequal(err, t._trace_of) and t._trace
      t._scheduler:report(
        message or wait.error_text(err),
        "a deferred function of " .. tostring(t)
      )
    end
  end
end

--- Takes a task whose outcome is known and whose children are gone out of the
--- tree, and tells those who wait for that.
local function finish(t)
  local scheduler, parent = t._scheduler, t._parent
  t._state = "done"
  t._coroutine, t._defers, t._trace, t._trace_of = nil, nil, nil, nil
  scheduler._live = scheduler._live - 1
  disown(parent, t)
  if t._failures then
    failures.report_all(t)
  end
  if t._code == "task_error" then
    failures.note(t)
  end
  if t._joiners then
    t._joiners:wake_all()
  end
  if parent._draining and not parent._first_child and parent._parked then
    wait.unpark(parent)
  end
end

local function settle(t, ok, ...)
  t._ended = true
  t._shield = t._shield + 1 -- nothing interrupts what follows
  if ok then
    t._results = compat.pack(...)
    return
  end
  local err = ...
  if is_own_cancellation(t, err) then
    t._code, t._message = "cancelled", wait.error_text(err)
  else
    t._code, t._error = "task_error", err
    t._message = rawequal(err, t._trace_of) and t._trace
      or wait.error_text(err)
  end
end

local function conclude(t)
  repeat
    drain_children(t)
    run_defers(t)
  until not t._first_child
  finish(t)
end

local function perform(t, fn, ...)
  if t._cancel then
    settle(t, false, t._cancel)
  else
    settle(t, xpcall(fn, on_raise, ...))
  end
  return conclude(t)
end

local function recover(t, err, trace)
  if not t._ended then
    t._trace_of, t._trace = err, trace
    settle(t, false, err)
  end
  return conclude(t)
end

-- What a task's coroutine runs. It parks first, with its arguments on its own
-- stack, so that a spawn makes neither a closure nor a table for them.
local function in_coroutine(t, run, ...)
  suspend(t)
  return run(t, ...)
end

local function in_thread(t, run, arguments)
  schedulers.settle_in(t)
  local ok, err = xpcall(run, debug.traceback, t,
    compat.unpack(arguments, 1, arguments.n))
  if not ok then
    t:_stopped(false, err)
  end
end

--- Has `run(t, ...)` called when the task is first resumed.
local function begin(t, run, ...)
  local threads = t._scheduler.threads
  if threads then
    local arguments = compat.pack(...)
    threads.start(t, function()
      in_thread(t, run, arguments)
    end)
  else
    t._coroutine = compat.create(in_coroutine)
    compat.resume(t._coroutine, t, run, ...)
  end
end

--- The coroutine gave up control other than by parking: it has ended, died of
--- an error past its protection, or yielded on its own.
function Task:_stopped(ok, signal)
  if self._state == "done" then
    return
  end
  local co = self._coroutine
  local err = signal
  if ok then
    err = "coroutine.yield called by a task: use agentwire.task"
  end
  local trace = debug.traceback(co, wait.error_text(err))
  if ok then
    compat.close(co)
  end
  if self._ended then -- cleanup went wrong; the outcome stands
    self._scheduler:report(trace, tostring(self))
  end
  begin(self, recover, err, trace)
  wait.enqueue(self)
end

local function outcome(t)
  local results = t._results
  if results then
    return compat.unpack(results, 1, results.n)
  end
  local failure = t._failure
  if failure then
    failures.see(failure)
    t._failure, t._anchor = false, nil
  end
  return nil, t._message, t._code, t._error
end

---@return string? cause nil when `target` is done
local function await(t, target, timeout_ms)
  if target._state == "done" then
    return nil
  end
  local joiners = target._joiners
  if not joiners then
    joiners = wait.signal("the end of", target)
    target._joiners = joiners
  end
  return joiners:_park(t, timeout_ms)
end

--- Waits until the task has ended.
---@async
---@param timeout_ms number? leaves the task alone when it passes
---@return any ... the function's results, or nil, message and code:
--- "task_error" (the message has the traceback, the raised value follows the
--- code), "cancelled", "timeout"
function Task:join(timeout_ms)
  if self._state ~= "done" then
    local t = waiting_task()
    if t == self then
      misuse.raise("a task cannot join itself")
    end
    timeout_ms = wait.check_timeout(timeout_ms)
    local cause = await(t, self, timeout_ms)
    if cause == "cancelled" then
      error(t._cancel, 0)
    elseif cause then
      return wait.timed_out(timeout_ms)
    end
  end
  return outcome(self)
end

--- Asks the task to end: raises the cancellation at its current or next wait.
--- The first call counts.
---@param reason string?
function Task:cancel(reason)
  if self._ended or self._cancel then
    return
  end
  self._cancel = cancelled.new(reason)
  self._state = "cancelling"
  if self._parked and self._shield == 0 then
    wait.unpark(self, "cancelled")
  end
end

--- Registers cleanup for the end of this task. Unlike `task.defer` inside of
--- its function it also runs when the task is cancelled before it began.
---@param fn fun() may wait
function Task:defer(fn)
  if type(fn) ~= "function" then
    misuse.raise("Task:defer: expected a function, got %s", misuse.describe(fn))
  elseif self._state == "done" then
    misuse.raise("Task:defer: %s has ended", tostring(self))
  end
  self._defers = self._defers or {}
  table.insert(self._defers, fn)
end

--- How its function ended badly, in one line without paths; for what is
--- deferred, which runs when that is known.
---@return string? message nil when it has not, or ended well
---@return string? code "task_error" or "cancelled"
function Task:failure()
  if self._code == "task_error" then
    return problems.brief(self._error), self._code
  end
  return self._message, self._code
end

local function spawn_child(scheduler, parent, fn, ...)
  local t = new_task(scheduler, parent, fn)
  begin(t, perform, fn, ...)
  adopt(parent, t)
  scheduler._live = scheduler._live + 1
  if parent._draining then
    t:cancel("parent ended")
  end
  wait.enqueue(t)
  return t
end

local function is_task(value)
  return getmetatable(value) == Task
end

local function check_function(fn)
  if type(fn) ~= "function" then
    misuse.raise("expected a function, got %s", misuse.describe(fn))
  end
end

--- The current task, for functions that do not wait themselves.
local function running_task()
  local t = wait.current()
  if not t then
    misuse.raise("only inside a task: use host.run or host:spawn")
  end
  return t
end

--- Ends a task whose thread is gone as if it had been cancelled where it stood:
--- its children end, and what it deferred runs in another thread.
---@param t agentwire.Task
---@param reason string
local function bereave(t, reason)
  schedulers.uproot(t)
  t._cancel = t._cancel or cancelled.new(reason)
  begin(t, recover, t._cancel)
  wait.enqueue(t)
end

class.seal(Task, "task")

return {
  new = new_task,
  is_task = is_task,
  spawn = spawn_child,
  running = running_task,
  check_function = check_function,
  await = await,
  outcome = outcome,
  on_raise = on_raise,
  finish = finish,
  bereave = bereave,
}
