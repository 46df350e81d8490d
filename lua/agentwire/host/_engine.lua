--- What every host is: a loop of the core's, the tasks, the timers and the
--- handlers that hang on it, and a turn that does what can be done now. Who calls
--- the turn is what hosts differ in: the standalone host blocks in a `run` of its
--- own, an embedded one is called by somebody else's loop.
local core = require("agentwire.core")
local host = require("agentwire.host")
local misuse = require("agentwire._misuse")
local options = require("agentwire._options")
local task = require("agentwire.task")
local timers = require("agentwire.host._timers")

local clock_us = core.monotonic_us

local M = {}

-- A pass takes this many ready objects at most, so that a source which is
-- ready again at once cannot keep the tasks from running.
local DISPATCH_LIMIT = 1024
-- `turn` begins nothing new after this long, so that the embedding loop runs.
local BUDGET_MS = 4
-- What runs for this long without a wait is told to the log.
local SLOW_TURN_MS = 250
-- The loop takes its timeout as a C int.
local MAX_WAIT_MS = 2147483647

---@class agentwire.Host
---@field on_error fun(message: string, what: string)? default: to stderr
local Host = {}
M.Host = Host

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

--- A class of hosts: the methods of all, to which its own are added.
---@return table
function M.class()
  local class = {}
  for name, method in pairs(Host) do
    class[name] = method
  end
  class.__index = class
  return class
end

---@param class table of M.class
---@param given agentwire.HostOptions?
---@param threads agentwire.Threads? what tasks run in; nil: coroutines
---@return agentwire.Host
function M.new(class, given, threads)
  given = HOST_OPTIONS:check(given)
  local loop = given.loop
  if not loop then
    local made, problem = core.loop()
    if not made then -- out of memory or of descriptors
      error("a host cannot be made: " .. problem, 0)
    end
    loop = made
  end
  local self = setmetatable({
    on_error = given.on_error,
    _budget_ms = given.budget_ms or BUDGET_MS,
    _loop = loop,
    _scheduler = nil,
    _main = nil, -- the task of `run`
    _turning = nil, -- "run" or "turn" during one
    _closed = false,
    _handlers = {}, -- by object; holds it while it is watched
    _timers = timers.new(),
  }, class)
  self._scheduler = task.scheduler(self, threads)
  self._scheduler.slow_us = (given.slow_turn_ms or SLOW_TURN_MS) * 1000
  self._scheduler:sleep()
  return self
end

--- Milliseconds, monotonic, as of the start of the turn.
---@return integer
function Host:now()
  return self._loop:now()
end

---@return table loop
function Host:loop()
  return self._loop
end

--- How many tasks are not done.
---@return integer
function Host:live_tasks()
  return self._scheduler._live
end

--- Calls `fn(argument)` once, outside of any task.
---@param ms number
---@param fn fun(argument: any)
---@param argument any
---@return agentwire.HostTimer
function Host:timer(ms, fn, argument)
  if type(ms) ~= "number" or ms ~= ms or type(fn) ~= "function" then
    -- Looked at here since every wait with a limit comes by.
    options.argument("host:timer", "ms", options.number, ms)
    options.argument("host:timer", "fn", options.func, fn)
  end
  local timer = self._timers:add(self._loop:now() + ms, fn, argument)
  if timer.index == 1 then -- whoever drives the loop knows of a later one
    self:wakeup()
  end
  return timer
end

--- Idempotent, and harmless after the timer has fired.
---@param timer agentwire.HostTimer
function Host:cancel_timer(timer)
  self._timers:remove(timer)
end

--- Makes the descriptor readable, so that whoever drives this host turns it. In
--- a turn there is nothing to do: it looks before it blocks.
function Host:wakeup()
  if not (self._turning or self._closed) then
    self._loop:ring()
  end
end

--- Calls `fn(argument)` in the next pass, outside of any task.
---@param fn fun(argument: any)
---@param argument any
function Host:schedule(fn, argument)
  self._scheduler:schedule(fn, argument)
end

--- Makes a task from anywhere: a child of the main task during `run`, else one
--- that belongs to the host.
---@param fn function
---@return agentwire.Task
function Host:spawn(fn, ...)
  local main = self._main
  if main and main:is_done() then
    main = nil
  end
  return task.spawn_in(self._scheduler, main, fn, ...)
end

--- The same, as a child of a given task: it ends with that.
---@param parent agentwire.Task? nil: it belongs to the host
---@param fn function
---@return agentwire.Task
function Host:spawn_under(parent, fn, ...)
  return task.spawn_in(self._scheduler, parent, fn, ...)
end

--- Calls `fn(first, second)` of the host's side, which must not wait. What it
--- raises is reported.
---@param what string what it is called in reports
---@param fn function
function Host:call(what, fn, first, second)
  self._scheduler:call(what, fn, first, second)
end

--- Tells `on_error`, by default stderr, of what nobody else will hear of.
---@param message string
---@param what string what failed
function Host:report(message, what)
  self._scheduler:report(message, what)
end

--- Whether nothing can be made on it any more.
---@return boolean
function Host:is_closed()
  return self._closed
end

--- Calls `handler(object, events)` whenever the loop names `object` ready.
---@param object any
---@param handler fun(object: any, events: integer)
function Host:watch(object, handler)
  self._handlers[object] = handler
end

---@param object any
function Host:unwatch(object)
  self._handlers[object] = nil
end

local function is_over(deadline_us)
  return deadline_us and clock_us() >= deadline_us
end

--- Hands out what the loop has ready.
---@param self agentwire.Host
---@param deadline_us number? nothing is begun after it
---@return integer count
function M.dispatch(self, deadline_us)
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

--- Fires the timers that are due.
---@param self agentwire.Host
---@param deadline_us number? as above
---@return integer count
function M.fire(self, deadline_us)
  local due, now = self._timers, self._loop:now()
  local newest, fired = due.newest, 0
  local timer = due[1]
  while timer and timer.deadline <= now and timer.age <= newest do
    due:remove(timer)
    self._scheduler:call("a timer", timer.fn, timer.argument)
    fired = fired + 1
    timer = not is_over(deadline_us) and due[1]
  end
  return fired
end

--- How long the loop may block for the timers' sake; -1 without limit.
---@param self agentwire.Host
---@return integer ms
function M.idle_ms(self)
  local timer = self._timers[1]
  if not timer then
    return -1
  end
  local left = math.ceil(timer.deadline - self._loop:now())
  return math.max(0, math.min(left, MAX_WAIT_MS))
end

--- What `run` and `turn` have in common: nobody has to be woken meanwhile, and
--- this is the host that everything made meanwhile belongs to.
---@param self agentwire.Host
---@param what "run"|"turn"
---@param fn function
---@return boolean ok, any problem as of pcall
function M.protected(self, what, fn, ...)
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

--- Raises if the host cannot be driven now.
---@param self agentwire.Host
---@param what string what is asked for
function M.check_idle(self, what)
  if self._closed then
    misuse.raise("%s: the host is closed", what)
  elseif self._turning or task.current() then
    misuse.raise("a %s inside a %s: what runs there already can be called, or "
      .. "spawned", what, self._turning or "run")
  end
end

local function run_passes(self, deadline_us)
  repeat
    self._loop:step()
    M.dispatch(self, deadline_us)
    M.fire(self, deadline_us)
    self._scheduler:pass(deadline_us)
  until not self._scheduler:is_runnable() or is_over(deadline_us)
end

--- Does what can be done now, without blocking.
---@param budget_ms number? begins nothing after this long; the host's default
---@return boolean more whether it stopped with work left
function Host:turn(budget_ms)
  if budget_ms ~= nil then
    options.argument("turn", "budget_ms", options.duration_ms, budget_ms)
  end
  M.check_idle(self, "turn")
  local deadline_us = clock_us() + (budget_ms or self._budget_ms) * 1000
  local ok, problem = M.protected(self, "turn", run_passes, deadline_us)
  if not ok then
    error(problem, 0)
  end
  return self:timeout_ms() == 0
end

--- `turn` is to be called when this becomes readable.
---@return integer
function Host:fd()
  return self._loop:fd()
end

--- `turn` is to be called after this long at the latest.
---@return integer ms -1 for never
function Host:timeout_ms()
  if self._scheduler:is_runnable() then
    return 0
  end
  local own, loops = M.idle_ms(self), self._loop:timeout_ms()
  if own < 0 or loops < 0 then
    return math.max(own, loops)
  end
  return math.min(own, loops)
end

--- For kinds of hosts: the descriptor is about to be closed.
function Host:_disarm() end

--- Cancels what still runs, drops what does not end by that, closes the loop.
--- Idempotent.
function Host:close()
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
  self:_disarm()
  self._loop:close()
end

return M
