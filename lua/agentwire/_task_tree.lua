--- All tasks of one host, from its root: what whoever turns a loop does to them.
local compat = require("agentwire._compat")
local failures = require("agentwire._task_failures")
local schedulers = require("agentwire._scheduler")
local tasks = require("agentwire._task")

local outcome = tasks.outcome

local M = {}

--- Ends a task whose thread is gone as if it had been cancelled where it stood:
--- its children end, and what it deferred runs in another thread.
---@param t agentwire.Task
---@param reason string
function M.bereave(t, reason)
  tasks.bereave(t, reason)
end

--- The scheduler of a host, with an empty tree of tasks.
---@param host agentwire.Host
---@param threads agentwire.Threads? what tasks run in; nil: coroutines
---@return agentwire.Scheduler
function M.scheduler(host, threads)
  local scheduler = schedulers.new(host, threads)
  scheduler._root = tasks.new(scheduler, nil, M.scheduler)
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
function M.spawn_in(scheduler, parent, fn, ...)
  tasks.check_function(fn)
  return tasks.spawn(scheduler, parent or scheduler._root, fn, ...)
end

--- A main task's results; raises what it raised.
---@param t agentwire.Task
---@return any ...
function M.conclusion(t)
  if t._code == "task_error" then
    outcome(t)
    error(type(t._error) == "string" and t._message or t._error, 0)
  end
  return outcome(t)
end

--- For a main task that nobody joins: what it raised is told to the host.
---@param t agentwire.Task
function M.report_end(t)
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
function M.describe(scheduler)
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
function M.cancel_all(scheduler, reason)
  visit(scheduler._root, function(t)
    t:cancel(reason)
  end)
end

--- Drops every task where it stands: nothing of them runs again. For when a
--- loop has broken, or nothing can end them.
---@param scheduler agentwire.Scheduler
function M.abandon(scheduler)
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
    tasks.finish(t)
    if scheduler.threads then
      scheduler.threads.stop(t)
    else
      compat.close(co)
    end
  end)
  scheduler:clear()
  if scheduler._root._failures then
    failures.report_all(scheduler._root)
  end
end

return M
