--- The host of a plain script: it blocks in its own loop when no task can run.
--- In a loop of somebody else's, turned by hand, it is a descriptor, a timeout
--- and `turn`.
local engine = require("agentwire.host._engine")
local options = require("agentwire._options")
local task = require("agentwire.task")

local standalone = {}

-- A collection for the sake of a failure's report stops the loop for as long
-- as it takes, so failing tasks get one this often at most.
local COLLECT_INTERVAL_MS = 1000

---@class agentwire.StandaloneHost: agentwire.Host
local Standalone = engine.class()

---@param given agentwire.HostOptions?
---@return agentwire.StandaloneHost
function standalone.new(given)
  local self = engine.new(Standalone, given)
  self._collected_at = -math.huge
  return self
end

--- Whether this is the host to take when nobody has chosen one: always.
---@return boolean
function standalone.fits()
  return true
end

--- Collects garbage if a task has failed and nobody has seen it: one that
--- nobody holds reports its error now, not whenever memory runs short.
---@return integer? ms when to come back, if it is too early for that
local function collect_failures(self)
  local scheduler = self._scheduler
  if not scheduler._failed or scheduler._unseen == 0 then
    return nil
  end
  local now = self._loop:now()
  local left = self._collected_at + COLLECT_INTERVAL_MS - now
  if left > 0 then
    return math.ceil(left)
  end
  scheduler._failed = false
  self._collected_at = now
  collectgarbage()
  return nil
end

--- Blocks until something is ready or due.
---@return boolean alive false: there is nothing to wait for
local function block(self)
  local again_ms = collect_failures(self)
  if self._scheduler:is_runnable() then -- it has something to report
    return true
  end
  local ms = engine.idle_ms(self)
  if again_ms and ms < 0 and not self._loop:wait(0) then
    return false -- a report alone is nothing to wait for
  elseif again_ms and (ms < 0 or again_ms < ms) then
    ms = again_ms
  end
  return self._loop:wait(ms) or self._timers.count > 0
end

--- One pass over everything. Blocks only if no task can run.
---@return boolean alive false: nothing happened and nothing ever will
local function advance(self)
  local scheduler, alive = self._scheduler, true
  if scheduler:is_runnable() then
    self._loop:step()
  else
    alive = block(self)
  end
  local done = engine.dispatch(self) + engine.fire(self) + scheduler:pass()
  return alive or done > 0
end

---@return string? deadlock
local function drive(self, main)
  local deadlock
  while not main:is_done() do
    if not advance(self) then
      if deadlock then
        task.abandon(self._scheduler)
        return deadlock
      end
      deadlock = "deadlock: nothing can wake any of these tasks\n"
        .. task.describe(self._scheduler)
      task.cancel_all(self._scheduler, "deadlock")
    end
  end
  self._scheduler:pass() -- what was scheduled last still has to run
  self._loop:step() -- and what was written last has to go out
  return deadlock
end

local function run_main(self, main)
  self._main = main
  local ok, problem = engine.protected(self, "run", drive, main)
  self._main = nil
  if not ok then
    task.abandon(self._scheduler)
  end
  return problem
end

local function begin(self, fn, ...)
  options.argument("run", "fn", options.func, fn)
  engine.check_idle(self, "run")
  return task.spawn_in(self._scheduler, nil, fn, ...)
end

--- Runs `fn(...)` as the main task until it and its children are done.
---@param fn function
---@return any ... its results, or nil, message, "cancelled"; what it raises is
--- raised
function Standalone:run(fn, ...)
  local main = begin(self, fn, ...)
  local problem = run_main(self, main)
  if problem then
    error(problem, 0)
  end
  return task.conclusion(main)
end

--- The same in a process that is this host's own: INT and TERM end the main
--- task, and then the process (agentwire.signal).
---@param fn function
---@return any ... as `run`
function Standalone:run_process(fn, ...)
  local main = begin(self, fn, ...)
  -- A loop that was given is not ours to hang anything on.
  local stop = self._loop.signal
    and require("agentwire.signal").guard(self, main)
  local problem = run_main(self, main)
  local exit_code = stop and stop()
  if exit_code then
    task.report_end(main)
    io.stdout:flush()
    os.exit(exit_code, true)
  elseif problem then
    error(problem, 0)
  end
  return task.conclusion(main)
end

return standalone
