--- Structured concurrency: a task is handle and scope. docs/concurrency.md is
--- the model, and says what is promised. How a task runs is `_task`.
local cancelled = require("agentwire._cancelled")
local class = require("agentwire._class")
local combinators = require("agentwire._combinators")
local misuse = require("agentwire._misuse")
local options = require("agentwire._options")
local schedulers = require("agentwire._scheduler")
local tasks = require("agentwire._task")
local tree = require("agentwire._task_tree")
local wait = require("agentwire._wait")

local park, suspend = schedulers.park, schedulers.suspend
local waiting_task = wait.waiting_task

local task = {
  is_cancelled = cancelled.is_cancelled,
  shield = combinators.shield,
  timeout = combinators.timeout,
  all = combinators.all,
  first = combinators.first,
  -- for hosts
  scheduler = tree.scheduler,
  spawn_in = tree.spawn_in,
  conclusion = tree.conclusion,
  report_end = tree.report_end,
  describe = tree.describe,
  cancel_all = tree.cancel_all,
  abandon = tree.abandon,
  bereave = tree.bereave,
}

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
  local t = tasks.running()
  tasks.check_function(fn)
  return tasks.spawn(t._scheduler, t, fn, ...)
end

--- Registers cleanup for the end of the current task. It may wait.
---@param fn fun()
function task.defer(fn)
  tasks.running():defer(fn)
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

--- A reusable slot for one waiting task, for authors of waitable things.
---@param name string? for reports
---@return agentwire.Waiter
function task.waiter(name)
  options.optional("waiter", "name", options.string, name)
  return setmetatable(wait.waiter(name), wait.public.waiter)
end

--- A line in which any number of tasks wait; it does not remember a wake.
---@param name string? for reports
---@return agentwire.Signal
function task.signal(name)
  options.optional("signal", "name", options.string, name)
  return setmetatable(wait.signal(name or "a signal"), wait.public.signal)
end

--- What is set once and for all: whoever waits then or later has the values.
---@param name string? for reports
---@return agentwire.Latch
function task.latch(name)
  options.optional("latch", "name", options.string, name)
  return setmetatable(wait.latch(name), wait.public.latch)
end

--- A queue of values between tasks. A full one makes those who push wait.
---@param limit integer how many values it holds, at least 1
---@param name string? for reports
---@return agentwire.Queue
function task.queue(limit, name)
  options.optional("queue", "name", options.string, name)
  return setmetatable(wait.queue(limit, name), wait.public.queue)
end

return class.module(task, "aw.task")
