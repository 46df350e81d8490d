--- A host in somebody else's loop, which a driver has turned: two functions that
--- know that loop (docs/concurrency.md, "The port a host fills").
local engine = require("agentwire.host._engine")
local misuse = require("agentwire._misuse")
local options = require("agentwire._options")
local task = require("agentwire.task")

local embedded = {}

--- What knows the loop that a host is embedded in.
---@class agentwire.HostDriver
---@field name string of the loop, for messages
---@field arm fun(fd: integer, timeout_ms: integer, turn: fun()) has `turn` called
--- by the loop, not from in here, as soon as `fd` is readable or `timeout_ms` have
--- passed (0: at once, -1: only the descriptor counts); replaces what the call
--- before it asked for
---@field disarm fun() takes it all back, the host is closed; `fd` is open until
--- this returns
---@field block (fun(is_done: fun(): boolean))? runs the loop until `is_done()`,
--- which makes `run` possible; without it `run` raises
---@field threads agentwire.Threads? what tasks run in; nil: coroutines
---@field wake (fun())? has `turn` called soon, for work that tasks have made; nil:
--- the descriptor says so
---@field run (fun(host: agentwire.EmbeddedHost, fn: function, ...): ...)? is `run`
--- itself, where many may run at once; in place of `block`

local DRIVER = options.spec("host.embed", {
  name = options.filled,
  arm = options.func,
  disarm = options.func,
  block = options.func,
  threads = options.table,
  wake = options.func,
  run = options.func,
})

local function check(driver)
  options.argument("host.embed", "driver", options.table, driver)
  DRIVER:check(driver)
  options.argument("host.embed", "driver.name", options.filled, driver.name)
  options.argument("host.embed", "driver.arm", options.func, driver.arm)
  options.argument("host.embed", "driver.disarm", options.func, driver.disarm)
end

---@class agentwire.EmbeddedHost: agentwire.Host
local Embedded = engine.class()

local function arm(self)
  self._driver.arm(self._loop:fd(), self:timeout_ms(), self._on_turn)
end

-- A loop that is run from inside of a turn has to wait: what is due then is
-- looked at when that turn ends.
local function on_turn(self)
  if self._closed or self._turning or task.current() then
    return
  end
  local ok, problem = pcall(self.turn, self)
  if not ok then
    self:report(tostring(problem), "a turn")
  end
end

--- As every host's. However it ends, and whoever called it, the loop has to know
--- when the next one is due.
---@param budget_ms number?
---@return boolean more
function Embedded:turn(budget_ms)
  local ok, more = pcall(engine.Host.turn, self, budget_ms)
  if not (self._closed or self._turning) then
    arm(self)
  end
  if not ok then
    error(more, 0)
  end
  return more
end

--- As every host's; a loop that has a shorter way than the descriptor goes it.
function Embedded:wakeup()
  local wake = self._driver.wake
  if not wake then
    engine.Host.wakeup(self)
  elseif not (self._turning or self._closed) then
    wake()
  end
end

--- A host that `driver` has turned, from now on until it is closed.
---@param driver agentwire.HostDriver
---@param given agentwire.HostOptions?
---@return agentwire.EmbeddedHost
function embedded.new(driver, given)
  check(driver)
  local self = engine.new(Embedded, given, driver.threads)
  self._driver = driver
  self._on_turn = function()
    on_turn(self)
  end
  arm(self)
  return self
end

--- Runs `fn(...)` as the main task, and the loop until it is done.
---@param fn function
---@return any ... its results, or nil, message, "cancelled"; what it raises is
--- raised
function Embedded:run(fn, ...)
  options.argument("run", "fn", options.func, fn)
  if self._driver.run then
    return self._driver.run(self, fn, ...)
  end
  engine.check_idle(self, "run")
  local block = self._driver.block
  if not block then
    misuse.raise("run: it would stop %s until it returns: spawn a task instead",
      self._driver.name)
  end
  local main = task.spawn_in(self._scheduler, nil, fn, ...)
  self._main = main
  local ok, problem = pcall(block, function()
    return main:is_done()
  end)
  self._main = nil
  if ok and main:is_done() then
    return task.conclusion(main)
  end
  main:cancel("the loop has ended")
  on_turn(self)
  return error(not ok and problem
    or ("run: %s ended before the main task did"):format(self._driver.name), 0)
end

function Embedded:_disarm()
  self._driver.disarm()
end

return embedded
