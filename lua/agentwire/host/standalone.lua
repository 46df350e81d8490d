---The host of a plain script: it owns a loop and blocks in it when no task can
---run. Embedded, it is a descriptor, a timeout and `turn`.
local task = require("agentwire.task")

local standalone = {}

-- A turn takes this many ready objects at most, so that a source which is
-- ready again at once cannot keep the tasks from running.
local DISPATCH_LIMIT = 1024
-- `turn` makes this many passes at most, so that tasks which never wait cannot
-- keep the embedding loop from running.
local PASS_LIMIT = 64
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

---@param options? {loop?: table} `loop` replaces agentwire.core's
---@return agentwire.StandaloneHost
function standalone.new(options)
  local loop = options and options.loop
  local self = setmetatable({
    on_error = nil,
    _loop = loop or require("agentwire.core").loop(),
    _scheduler = nil,
    _main = nil,
    _turning = false,
    _closed = false,
    _handlers = {}, -- by object; holds it while it is watched
    _timers = {},
    _timer_count = 0,
    _timer_age = 0,
    _collected_at = -math.huge,
  }, Standalone)
  self._scheduler = task.scheduler(self)
  return self
end

---Milliseconds, monotonic, as of the start of the turn.
---@return integer
function Standalone:now()
  return self._loop:now()
end

---@return table loop
function Standalone:loop()
  return self._loop
end

---How many tasks are not done.
---@return integer
function Standalone:live_tasks()
  return self._scheduler._live
end

---Calls `fn(argument)` once, outside of any task.
---@param ms number
---@param fn fun(argument: any)
---@param argument any
---@return table handle
function Standalone:timer(ms, fn, argument)
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
  return timer
end

---Idempotent, and harmless after the timer has fired.
---@param timer table
function Standalone:cancel_timer(timer)
  if timer.index then
    remove(self, timer)
  end
end

---Nothing to do: whoever drives this host looks before it blocks.
function Standalone:wakeup() end -- luacheck: no unused args

---Calls `fn(argument)` in the next pass, outside of any task.
---@param fn fun(argument: any)
---@param argument any
function Standalone:schedule(fn, argument)
  self._scheduler:schedule(fn, argument)
end

---Makes a task from anywhere: a child of the main task during `run`, else one
---that belongs to the host.
---@param fn function
---@return agentwire.Task
function Standalone:spawn(fn, ...)
  local main = self._main
  if main and main:is_done() then
    main = nil
  end
  return task.spawn_in(self._scheduler, main, fn, ...)
end

---Calls `handler(object, events)` whenever the loop names `object` ready.
---@param object any
---@param handler fun(object: any, events: integer)
function Standalone:watch(object, handler)
  self._handlers[object] = handler
end

---@param object any
function Standalone:unwatch(object)
  self._handlers[object] = nil
end

local function dispatch(self)
  local loop, handlers = self._loop, self._handlers
  for i = 1, DISPATCH_LIMIT do
    local object, events = loop:ready()
    if object == nil then
      return i - 1
    end
    local handler = handlers[object]
    if handler then
      self._scheduler:call("a handler", handler, object, events)
    end
  end
  return DISPATCH_LIMIT
end

local function fire(self)
  local timers, now = self._timers, self._loop:now()
  local newest, fired = self._timer_age, 0
  local timer = timers[1]
  while timer and timer.deadline <= now and timer.age <= newest do
    remove(self, timer)
    self._scheduler:call("a timer", timer.fn, timer.argument)
    fired = fired + 1
    timer = timers[1]
  end
  return fired
end

---How long the loop may block; -1 without limit.
local function idle_ms(self)
  local timer = self._timers[1]
  if not timer then
    return -1
  end
  local left = math.ceil(timer.deadline - self._loop:now())
  return math.max(0, math.min(left, MAX_WAIT_MS))
end

---Collects garbage if a task has failed and nobody has seen it: one that
---nobody holds reports its error now, not whenever memory runs short.
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

---Blocks until something is ready or due.
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

---One pass over everything. Blocks only if no task can run.
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

---Runs `fn(...)` as the main task until it and its children are done.
---@param fn function
---@return any ... its results, or nil, message, "cancelled"; what it raises is
---raised
function Standalone:run(fn, ...)
  if self._closed then
    error("the host is closed", 2)
  elseif self._turning or task.current() then
    error("a run inside a run", 2)
  end
  local main = task.spawn_in(self._scheduler, nil, fn, ...)
  self._main, self._turning = main, true
  local ok, problem = pcall(drive, self, main)
  self._main, self._turning = nil, false
  if not ok then
    task.abandon(self._scheduler)
  end
  if problem then
    error(problem, 0)
  end
  return task.conclusion(main)
end

local function turn_once(self)
  self._loop:step()
  dispatch(self)
  fire(self)
  self._scheduler:pass()
end

local function run_passes(self)
  local passes = 0
  repeat
    turn_once(self)
    passes = passes + 1
  until not self._scheduler:is_runnable() or passes == PASS_LIMIT
end

---For embedding: does all that can be done now, without blocking.
---@return boolean more whether it stopped with work left
function Standalone:turn()
  if self._closed then
    error("the host is closed", 2)
  elseif self._turning or task.current() then
    error("a turn inside a turn", 2)
  end
  self._turning = true
  local ok, problem = pcall(run_passes, self)
  self._turning = false
  if not ok then
    error(problem, 0)
  end
  return self._scheduler:is_runnable()
end

---For embedding: call `turn` when this becomes readable.
---@return integer
function Standalone:fd()
  return self._loop:fd()
end

---For embedding: call `turn` after this long at the latest.
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

---Cancels what still runs, drops what does not end by that, closes the loop.
---Idempotent.
function Standalone:close()
  if self._closed then
    return
  elseif self._turning or task.current() then
    error("a host cannot be closed from inside", 2)
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
