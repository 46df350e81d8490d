--- The host of this Lua state: who owns the clock and the sockets.
local misuse = require("agentwire._misuse")
local options = require("agentwire._options")

local host = {}

-- The one piece of state there is: who runs at this moment, else who was put
-- in charge, else who was made because somebody asked.
local state = { driven = nil, used = nil, chosen = nil }

-- Each says whether it fits where this runs; the first that does is chosen.
-- Those that need a loop of somebody else's come before the one that does not;
-- they are loaded only where the global is that they cannot do without.
local HOSTS = {
  { name = "agentwire.host.nvim", needs = "vim" },
  { name = "agentwire.host.openresty", needs = "ngx" },
  { name = "agentwire.host.standalone" },
}

local function is_open(candidate)
  return candidate and not candidate:is_closed()
end

local function fitting()
  for _, each in ipairs(HOSTS) do
    local may_fit = not each.needs or rawget(_G, each.needs) ~= nil
    local module = may_fit and require(each.name)
    if module and module.fits() then
      return module
    end
  end
end

local function choose()
  if not is_open(state.chosen) then
    state.chosen = fitting().new()
  end
  return state.chosen
end

-- A task of a host with threads of its own runs outside of any turn.
local function host_of_task()
  local current = require("agentwire._scheduler").current()
  return current and current._scheduler.host
end

--- The current host: the one that runs this, the one in use, or one that is
--- made when first asked for.
---@return agentwire.Host
function host.current()
  if state.driven then
    return state.driven
  end
  local own = host_of_task()
  if own then
    return own
  elseif is_open(state.used) then
    return state.used
  end
  return choose()
end

--- A host in a loop of somebody else's (docs/concurrency.md).
---@param driver agentwire.HostDriver
---@param given agentwire.HostOptions?
---@return agentwire.EmbeddedHost
function host.embed(driver, given)
  return require("agentwire.host.embedded").new(driver, given)
end

--- Makes `new` the current host, for whoever drives one in a loop of their own.
--- The old one is not closed.
---@param new agentwire.Host? nil: back to the one that agentwire makes
---@return agentwire.Host? old what was in use
function host.use(new)
  if new ~= nil then
    options.argument("host.use", "new", options.having("a host", "is_closed"), new)
  end
  local old = state.used
  state.used = new
  return old
end

--- For hosts: what is made from now on belongs to `running`, whoever is in use.
---@param running agentwire.Host? nil: nobody runs
---@return agentwire.Host? outer to be given back when its turn is over
function host.drive(running)
  local outer = state.driven
  state.driven = running
  return outer
end

--- Makes a task: a child of the current one; from a callback of the loop, or of
--- the foreign loop that drives the host in use, one that belongs to the host.
---@param fn function
---@param ... any its arguments
---@return agentwire.Task
function host.spawn(fn, ...)
  local task = require("agentwire.task")
  if task.current() then
    return task.spawn(fn, ...)
  elseif state.driven or is_open(state.used) or fitting().is_embedded then
    options.argument("spawn", "fn", options.func, fn)
    return host.current():spawn(fn, ...)
  end
  return misuse.raise("spawn: nothing runs here: call it inside "
    .. "agentwire.run(function() … end), or drive a host and put it in use "
    .. "(agentwire.host, docs/concurrency.md)")
end

---@class agentwire.RunOptions
---@field signals false|nil false: INT and TERM are not ours

local RUN = options.spec("run", { signals = options.constant(false) })

-- A process that somebody else owns has a use of its own for its signals.
local function owns_process()
  return not fitting().is_embedded
end

local function run(given, fn, ...)
  options.argument("run", "fn", options.func, fn)
  local module = fitting()
  if module.check_run then -- it knows where a run must not block
    module.check_run()
  end
  local current = host.current()
  if given.signals == false or not current.run_process
    or not owns_process() then
    return current:run(fn, ...)
  end
  return current:run_process(fn, ...)
end

--- Runs `fn(...)` as the main task of the current host. In a script the first
--- INT or TERM cancels it, and ends the process when it and what it deferred
--- are done (exit code 130, 143); the second ends the process at once.
---@param given agentwire.RunOptions|function options, or `fn` itself
---@param ... any `fn` after options, and its arguments
---@return any ... its results; what it raises is raised
function host.run(given, ...)
  if type(given) == "table" then
    return run(RUN:check(given), ...)
  end
  return run({}, given, ...)
end

return host
