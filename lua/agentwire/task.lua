--- Structured concurrency: a task is handle and scope. docs/concurrency.md is
--- the model, and says what is promised; this is how.
local class = require("agentwire._class")
local compat = require("agentwire._compat")
local misuse = require("agentwire._misuse")
local options = require("agentwire._options")
local problems = require("agentwire._problem")
local schedulers = require("agentwire._scheduler")
local wait = require("agentwire._wait")

local park, suspend = schedulers.park, schedulers.suspend
local waiting_task = wait.waiting_task

local task = {}

---@class agentwire.Cancelled
---@field reason string?
local Cancelled = {}
Cancelled.__index = Cancelled

function Cancelled:__tostring()
  if self.reason == nil then
    return "cancelled"
  end
  return "cancelled: " .. tostring(self.reason)
end

--- Whether an error value is a cancellation.
---@param err any
---@return boolean
function task.is_cancelled(err)
  return type(err) == "table" and getmetatable(err) == Cancelled
end

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

local function see(failure)
  if not failure.seen then
    failure.seen = true
    failure.siblings[failure] = nil
    failure.scheduler._unseen = failure.scheduler._unseen - 1
  end
end

local function report_failure(failure)
  if not failure.seen then
    see(failure)
    failure.scheduler:report(failure.message, failure.name)
  end
end

--- Remembers a failure until somebody joins `t`, the parent ends, or the handle
--- is collected, which is when it is certain that nobody will.
local function note_failure(t)
  local scheduler, parent = t._scheduler, t._parent
  parent._failures = parent._failures or {}
  local failure = {
    scheduler = scheduler,
    siblings = parent._failures,
    name = tostring(t),
    message = t._message,
    seen = false,
  }
  t._failure = failure
  parent._failures[failure] = true
  scheduler._failed = true
  scheduler._unseen = scheduler._unseen + 1
  t._anchor = compat.on_collect(function()
    if not failure.seen then
      -- Not reported from here: a finalizer may run in the middle of anything.
      scheduler:schedule(report_failure, failure)
    end
  end)
end

local function report_failures(t)
  for failure in pairs(t._failures) do
    report_failure(failure)
  end
  t._failures = false
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
    report_failures(t)
  end
  if t._code == "task_error" then
    note_failure(t)
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
    see(failure)
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
  self._cancel = setmetatable({ reason = reason }, Cancelled)
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

--- The task that runs now, or nil outside of any.
---@return agentwire.Task?
function task.current()
  return wait.current()
end

--- Makes a child of the current task, which starts at the next turn.
---@param fn function
---@param ... any its arguments
---@return agentwire.Task
function task.spawn(fn, ...)
  local t = running_task()
  check_function(fn)
  return spawn_child(t._scheduler, t, fn, ...)
end

--- Registers cleanup for the end of the current task. It may wait.
---@param fn fun()
function task.defer(fn)
  running_task():defer(fn)
end

local SLEEP = { name = "a sleep" }

---@async
---@param ms number
function task.sleep(ms)
  local t = waiting_task()
  if ms == nil then
    misuse.raise("expected a duration in milliseconds, got %s",
      misuse.describe(ms))
  end
  ms = wait.check_timeout(ms)
  if ms == 0 then
    return task.yield()
  end
  if park(t, SLEEP, ms) == "cancelled" then
    error(t._cancel, 0)
  end
end

--- Lets every other task that can run go first.
---@async
function task.yield()
  local t = waiting_task()
  wait.enqueue(t)
  suspend(t)
  if t._cancel and t._shield == 0 then
    error(t._cancel, 0)
  end
end

--- Raises the current task's cancellation, if there is one, without waiting.
function task.checkpoint()
  waiting_task()
end

local function unshield(t, ok, ...)
  t._shield = t._shield - 1
  if not ok then
    error((...), 0)
  end
  return ...
end

--- Runs `fn(...)` with its waits not interrupted by a cancellation. For a limit
--- write `task.shield(task.timeout, ms, fn, ...)`.
---@async
---@param fn function
---@return any ... its results; what it raises is raised
function task.shield(fn, ...)
  local t = running_task()
  check_function(fn)
  t._shield = t._shield + 1
  return unshield(t, xpcall(fn, on_raise, ...))
end

--- Raises in `t` what `child` raised, with the child's traceback.
local function raise_again(t, child)
  outcome(child)
  t._trace_of, t._trace = child._error, child._message
  error(child._error, 0)
end

--- Runs `fn(...)` in a child task and cancels it when the time is up.
---@async
---@param ms number? nil: no limit, only the scope
---@param fn function
---@return any ... its results, or nil, message, "timeout"; what it raises is
--- raised
function task.timeout(ms, fn, ...)
  local t = waiting_task()
  check_function(fn)
  local timeout_ms = wait.check_timeout(ms)
  local child = spawn_child(t._scheduler, t, fn, ...)
  local cause = await(t, child, timeout_ms)
  if cause then
    child:cancel(cause == "timeout" and "timed out" or "caller cancelled")
    t._shield = t._shield + 1
    await(t, child)
    t._shield = t._shield - 1
  end
  if child._code == "task_error" then
    return raise_again(t, child)
  elseif cause == "cancelled" then
    error(t._cancel, 0)
  elseif cause and child._code == "cancelled" then
    return wait.timed_out(timeout_ms)
  end
  return outcome(child)
end

--- Milliseconds that are left of a timeout which began at `start`.
local function remainder(t, timeout_ms, start)
  if timeout_ms then
    return math.max(0, timeout_ms - (t._scheduler.host:now() - start))
  end
  return nil
end

--- Joins each task in turn.
---@async
---@param tasks agentwire.Task[]
---@param timeout_ms number? for all of them together
---@return any[]? results the first result of each, string? message, string? code
function task.all(tasks, timeout_ms)
  local t = waiting_task()
  if type(tasks) ~= "table" then
    misuse.raise("all: expected a list of tasks, got %s",
      misuse.describe(tasks))
  end
  timeout_ms = wait.check_timeout(timeout_ms)
  local start = timeout_ms and t._scheduler.host:now()
  local results = {}
  for i, each in ipairs(tasks) do
    local value, why, code, err = each:join(remainder(t, timeout_ms, start))
    if not each:is_done() then
      return wait.timed_out(timeout_ms)
    elseif each._code then
      return nil, why, code, err
    end
    results[i] = value
  end
  return results
end

local function first_done(tasks)
  for _, each in ipairs(tasks) do
    if each:is_done() then
      return each
    end
  end
  return nil
end

local function tell_end(each, ended)
  local t = waiting_task()
  if not await(t, each) then
    ended:set()
  end
end

--- Watches with one task each: a task stands in one line at a time.
local function watch(tasks)
  local ended = wait.latch("one of several tasks")
  for _, each in ipairs(tasks) do
    task.spawn(tell_end, each, ended)
  end
  ended:wait()
end

--- Waits until one of the tasks has ended; the earlier in the list wins.
---@async
---@param tasks agentwire.Task[] not empty
---@param timeout_ms number?
---@return agentwire.Task? done, string? message, string? code "timeout"
function task.first(tasks, timeout_ms)
  waiting_task()
  if type(tasks) ~= "table" or #tasks == 0 then
    misuse.raise("a list of tasks is expected")
  end
  local done, why, code = first_done(tasks), nil, nil
  if not done then
    why, code = select(2, task.timeout(timeout_ms, watch, tasks))
    done = first_done(tasks)
  end
  if done then
    return done
  end
  return nil, why, code
end

--- A reusable slot for one waiting task, for authors of waitable things.
---@param name string? for reports
---@return agentwire.Waiter
function task.waiter(name)
  options.optional("waiter", "name", options.string, name)
  return wait.waiter(name)
end

--- A line in which any number of tasks wait; it does not remember a wake.
---@param name string? for reports
---@return agentwire.Signal
function task.signal(name)
  options.optional("signal", "name", options.string, name)
  return wait.signal(name or "a signal")
end

--- What is set once and for all: whoever waits then or later has the values.
---@param name string? for reports
---@return agentwire.Latch
function task.latch(name)
  options.optional("latch", "name", options.string, name)
  return wait.latch(name)
end

--- A queue of values between tasks. A full one makes those who push wait.
---@param limit integer how many values it holds, at least 1
---@param name string? for reports
---@return agentwire.Queue
function task.queue(limit, name)
  options.optional("queue", "name", options.string, name)
  return wait.queue(limit, name)
end

--- The scheduler of a host, with an empty tree of tasks.
---@param host agentwire.Host
---@param threads agentwire.Threads? what tasks run in; nil: coroutines
---@return agentwire.Scheduler
function task.scheduler(host, threads)
  local scheduler = schedulers.new(host, threads)
  scheduler._root = new_task(scheduler, nil, task.scheduler)
  scheduler._live = 0
  scheduler._unseen = 0 -- failures that were neither joined nor reported
  scheduler._failed = false -- one of them is new since the host collected
  return scheduler
end

--- Makes a task from outside of any.
---@param scheduler agentwire.Scheduler
---@param parent agentwire.Task? nil for one at the root
---@param fn function
---@return agentwire.Task
function task.spawn_in(scheduler, parent, fn, ...)
  check_function(fn)
  return spawn_child(scheduler, parent or scheduler._root, fn, ...)
end

--- A main task's results; raises what it raised.
---@param t agentwire.Task
---@return any ...
function task.conclusion(t)
  if t._code == "task_error" then
    outcome(t)
    error(type(t._error) == "string" and t._message or t._error, 0)
  end
  return outcome(t)
end

--- For a main task that nobody joins: what it raised is told to the host.
---@param t agentwire.Task
function task.report_end(t)
  if t._code == "task_error" then
    outcome(t)
    t._scheduler:report(t._message, tostring(t))
  end
end

local function visit(t, fn)
  local child = t._first_child
  while child do
    local next_one = child._next
    visit(child, fn)
    fn(child)
    child = next_one
  end
end

--- One line for each task that waits and what for.
---@param scheduler agentwire.Scheduler
---@return string
function task.describe(scheduler)
  local lines = {}
  visit(scheduler._root, function(t)
    local source = t._parked
    if source then
      local what = source.name or "a waiter"
      if source.owner then
        what = what .. " " .. tostring(source.owner)
      end
      table.insert(lines, "  " .. tostring(t) .. " waits for " .. what)
    end
  end)
  return table.concat(lines, "\n")
end

--- Cancels every task.
---@param scheduler agentwire.Scheduler
---@param reason string
function task.cancel_all(scheduler, reason)
  visit(scheduler._root, function(t)
    t:cancel(reason)
  end)
end

--- Drops every task where it stands: nothing of them runs again. For when a
--- loop has broken, or nothing can end them.
---@param scheduler agentwire.Scheduler
function task.abandon(scheduler)
  visit(scheduler._root, function(t)
    local co, timer = t._coroutine, t._timer
    if timer then
      t._timer = false
      scheduler.host:cancel_timer(timer)
    end
    t._parked, t._joiners, t._draining = false, false, false
    if not t._ended then
      t._ended, t._code, t._message = true, "cancelled", "cancelled: abandoned"
    end
    finish(t)
    if scheduler.threads then
      scheduler.threads.stop(t)
    else
      compat.close(co)
    end
  end)
  scheduler:clear()
  if scheduler._root._failures then
    report_failures(scheduler._root)
  end
end

class.seal(Task, "task")

return class.module(task, "aw.task")
