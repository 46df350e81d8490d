--- Functions that run in a bound, and tasks that are waited for together.
local misuse = require("agentwire._misuse")
local task = require("agentwire._task")
local wait = require("agentwire._wait")

local await, outcome = task.await, task.outcome
local check_function, on_raise = task.check_function, task.on_raise
local spawn, waiting_task = task.spawn, wait.waiting_task

local M = {}

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
function M.shield(fn, ...)
  local t = task.running()
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
function M.timeout(ms, fn, ...)
  local t = waiting_task()
  check_function(fn)
  local timeout_ms = wait.check_timeout(ms)
  local child = spawn(t._scheduler, t, fn, ...)
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
function M.all(tasks, timeout_ms)
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
  local t = waiting_task()
  local ended = wait.latch("one of several tasks")
  for _, each in ipairs(tasks) do
    spawn(t._scheduler, t, tell_end, each, ended)
  end
  ended:wait()
end

--- Waits until one of the tasks has ended; the earlier in the list wins.
---@async
---@param tasks agentwire.Task[] not empty
---@param timeout_ms number?
---@return agentwire.Task? done, string? message, string? code "timeout"
function M.first(tasks, timeout_ms)
  waiting_task()
  if type(tasks) ~= "table" or #tasks == 0 then
    misuse.raise("a list of tasks is expected")
  end
  local done, why, code = first_done(tasks), nil, nil
  if not done then
    why, code = select(2, M.timeout(timeout_ms, watch, tasks))
    done = first_done(tasks)
  end
  if done then
    return done
  end
  return nil, why, code
end

return M
