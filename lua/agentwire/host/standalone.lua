--- The host of a plain script: it owns a loop and blocks in it when no task can
--- run. Embedded, it is a descriptor, a timeout and `turn`.
local core = require("agentwire.core")
local host = require("agentwire.host")
local misuse = require("agentwire._misuse")
local options = require("agentwire._options")
local task = require("agentwire.task")

local clock_us = core.monotonic_us

local standalone = {}

-- A pass takes this many ready objects at most, so that a source which is
-- ready again at once cannot keep the tasks from running.
local DISPATCH_LIMIT = 1024
-- `turn` begins nothing new after this long, so that the embedding loop runs.
local BUDGET_MS = 4
-- What runs for this long without a wait is told to the log.
local SLOW_TURN_MS = 250
-- A collection for the sake of a failure's report stops the loop for as long
-- as it takes, so failing tasks get one this often at most.
local COLLECT_INTERVAL_MS = 1000
-- The loop takes its timeout as a C int.
local MAX_WAIT_MS = 2147483647

local function is_before(a, b)
  if a.deadline ~= b.deadline then
    return a.deadline < b.deadline
  end
  return a.age < b.age
end

local function put(heap, i, timer)
  heap[i] = timer
  timer.index = i
end

local function sift_up(heap, i, timer)
  while i > 1 do
    local parent = (i - i % 2) / 2
    if not is_before(timer, heap[parent]) then
      break
    end
    put(heap, i, heap[parent])
    i = parent
  end
  put(heap, i, timer)
end

local function sift_down(heap, count, i, timer)
  while 2 * i <= count do
    local child = 2 * i
    if child < count and is_before(heap[child + 1], heap[child]) then
      child = child + 1
    end
    if not is_before(heap[child], timer) then
      break
    end
    put(heap, i, heap[child])
    i = child
  end
  put(heap, i, timer)
end

local function remove(self, timer)
  local heap, count, i = self._timers, self._timer_count, timer.index
  local last = heap[count]
  heap[count] = nil
  count = count - 1
  self._timer_count = count
  timer.index = nil
  if last ~= timer then
    if i > 1 and is_before(last, heap[(i - i % 2) / 2]) then
      sift_up(heap, i, last)
    else
      sift_down(heap, count, i, last)
    end
  end
end

---@class agentwire.StandaloneHost
---@field on_error fun(message: string, what: string)? default: to stderr
local Standalone = {}
Standalone.__index = Standalone

---@class agentwire.HostOptions
---@field on_error (fun(message: string, what: string))? hears of errors that
--- nobody else will; default: to stderr
---@field budget_ms number? how long a `turn` goes on beginning things; 4
---@field slow_turn_ms number? what runs for longer without a wait is told to the
--- log, event "slow_turn"; 250, math.huge: never
---@field loop table? replaces agentwire.core's, for tests

local HOST_OPTIONS = options.spec("host.new", {
  on_error = options.func,
  budget_ms = options.duration_ms,
  slow_turn_ms = options.duration_ms,
  loop = options.having("a loop", "wait"),
})

---@param given agentwire.HostOptions?
---@return agentwire.StandaloneHost
function standalone.new(given)
  given = HOST_OPTIONS:check(given)
  local self = setmetatable({
    on_error = given.on_error,
    _budget_ms = given.budget_ms or BUDGET_MS,
    _loop = given.loop or core.loop(),
    _scheduler = nil,
    _main = nil,
    _turning = nil, -- "run" or "turn" during one
    _closed = false,
    _handlers = {}, -- by object; holds it while it is watched
    _timers = {},
    _timer_count = 0,
    _timer_age = 0,
    _collected_at = -math.huge,
  }, Standalone)
  self._scheduler = task.scheduler(self)
  self._scheduler.slow_us = (given.slow_turn_ms or SLOW_TURN_MS) * 1000
  self._scheduler:sleep()
  return self
end

--- Milliseconds, monotonic, as of the start of the turn.
---@return integer
function Standalone:now()
  return self._loop:now()
end

---@return table loop
function Standalone:loop()
  return self._loop
end

--- How many tasks are not done.
---@return integer
function Standalone:live_tasks()
  return self._scheduler._live
end

--- Calls `fn(argument)` once, outside of any task.
---@param ms number
---@param fn fun(argument: any)
---@param argument any
---@return table handle
function Standalone:timer(ms, fn, argument)
  options.argument("host:timer", "ms", options.number, ms)
  options.argument("host:timer", "fn", options.func, fn)
  local age = self._timer_age + 1
  self._timer_age = age
  local timer = {
    deadline = self._loop:now() + ms,
    age = age,
    fn = fn,
    argument = argument,
    index = nil,
  }
  local count = self._timer_count + 1
  self._timer_count = count
  sift_up(self._timers, count, timer)
  if timer.index == 1 then -- whoever drives the loop knows of a later one
    self:wakeup()
  end
  return timer
end

--- Idempotent, and harmless after the timer has fired.
---@param timer table
function Standalone:cancel_timer(timer)
  if timer.index then
    remove(self, timer)
  end
end

--- Makes the descriptor readable, so that whoever drives this host turns it. In
--- a turn there is nothing to do: it looks before it blocks.
function Standalone:wakeup()
  if not (self._turning or self._closed) then
    self._loop:ring()
  end
end

--- Calls `fn(argument)` in the next pass, outside of any task.
---@param fn fun(argument: any)
---@param argument any
function Standalone:schedule(fn, argument)
  self._scheduler:schedule(fn, argument)
end

--- Makes a task from anywhere: a child of the main task during `run`, else one
--- that belongs to the host.
---@param fn function
---@return agentwire.Task
function Standalone:spawn(fn, ...)
  local main = self._main
  if main and main:is_done() then
    main = nil
  end
  return task.spawn_in(self._scheduler, main, fn, ...)
end

--- Calls `handler(object, events)` whenever the loop names `object` ready.
---@param object any
---@param handler fun(object: any, events: integer)
function Standalone:watch(object, handler)
  self._handlers[object] = handler
end

---@param object any
function Standalone:unwatch(object)
  self._handlers[object] = nil
end

local function is_over(deadline_us)
  return deadline_us and clock_us() >= deadline_us
end

local function dispatch(self, deadline_us)
  local loop, handlers = self._loop, self._handlers
  for i = 1, DISPATCH_LIMIT do
    local object, events = loop:ready()
    if object == nil then
      return i - 1
    end
    local handler = handlers[object]
    if handler then
      self._scheduler:call("a handler", handler, object, events)
      if is_over(deadline_us) then
        return i
      end
    end
  end
  return DISPATCH_LIMIT
end

local function fire(self, deadline_us)
  local timers, now = self._timers, self._loop:now()
  local newest, fired = self._timer_age, 0
  local timer = timers[1]
  while timer and timer.deadline <= now and timer.age <= newest do
    remove(self, timer)
    self._scheduler:call("a timer", timer.fn, timer.argument)
    fired = fired + 1
    timer = not is_over(deadline_us) and timers[1]
  end
  return fired
end

--- How long the loop may block; -1 without limit.
local function idle_ms(self)
  local timer = self._timers[1]
  if not timer then
    return -1
  end
  local left = math.ceil(timer.deadline - self._loop:now())
  return math.max(0, math.min(left, MAX_WAIT_MS))
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
  local ms = idle_ms(self)
  if again_ms and ms < 0 and not self._loop:wait(0) then
    return false -- a report alone is nothing to wait for
  elseif again_ms and (ms < 0 or again_ms < ms) then
    ms = again_ms
  end
  return self._loop:wait(ms) or self._timer_count > 0
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
  local done = dispatch(self) + fire(self) + scheduler:pass()
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

--- What `run` and `turn` have in common: nobody has to be woken meanwhile, and
--- this is the host that everything made meanwhile belongs to.
local function protected(self, what, fn, ...)
  self._turning = what
  self._loop:enter()
  local outer = host.drive(self)
  local ok, problem = pcall(fn, self, ...)
  host.drive(outer)
  self._turning = nil
  self._loop:leave()
  self._scheduler:sleep()
  if self._scheduler:is_runnable() then
    self:wakeup()
  end
  return ok, problem
end

local function check_idle(self, what)
  if self._closed then
    misuse.raise("%s: the host is closed", what)
  elseif self._turning or task.current() then
    misuse.raise("a %s inside a %s: what runs there already can be called, or "
      .. "spawned", what, self._turning or "run")
  end
end

local function run_main(self, main)
  self._main = main
  local ok, problem = protected(self, "run", drive, main)
  self._main = nil
  if not ok then
    task.abandon(self._scheduler)
  end
  return problem
end

local function begin(self, fn, ...)
  options.argument("run", "fn", options.func, fn)
  check_idle(self, "run")
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

local function run_passes(self, deadline_us)
  repeat
    self._loop:step()
    dispatch(self, deadline_us)
    fire(self, deadline_us)
    self._scheduler:pass(deadline_us)
  until not self._scheduler:is_runnable() or is_over(deadline_us)
end

--- For embedding: does what can be done now, without blocking.
---@param budget_ms number? begins nothing after this long; the host's default
---@return boolean more whether it stopped with work left
function Standalone:turn(budget_ms)
  if budget_ms ~= nil then
    options.argument("turn", "budget_ms", options.duration_ms, budget_ms)
  end
  check_idle(self, "turn")
  local deadline_us = clock_us() + (budget_ms or self._budget_ms) * 1000
  local ok, problem = protected(self, "turn", run_passes, deadline_us)
  if not ok then
    error(problem, 0)
  end
  return self:timeout_ms() == 0
end

--- For embedding: call `turn` when this becomes readable.
---@return integer
function Standalone:fd()
  return self._loop:fd()
end

--- For embedding: call `turn` after this long at the latest.
---@return integer ms -1 for never
function Standalone:timeout_ms()
  if self._scheduler:is_runnable() then
    return 0
  end
  local own, loops = idle_ms(self), self._loop:timeout_ms()
  if own < 0 or loops < 0 then
    return math.max(own, loops)
  end
  return math.min(own, loops)
end

--- Cancels what still runs, drops what does not end by that, closes the loop.
--- Idempotent.
function Standalone:close()
  if self._closed then
    return
  elseif self._turning or task.current() then
    misuse.raise("a host cannot be closed from inside: end its tasks instead")
  end
  if self._scheduler._live > 0 then
    task.cancel_all(self._scheduler, "host closed")
    self:turn()
  end
  task.abandon(self._scheduler)
  self._closed = true
  self._handlers = {}
  self._loop:close()
end

return standalone
