--- The host of a worker of nginx, with lua-nginx-module: OpenResty, or nginx
--- with that module (docs/openresty.md). Tasks are light threads, so what they
--- do may wait for cosockets as well; `aw.run` in a request's handler runs its
--- function for that request.
local compat = require("agentwire._compat")
local embedded = require("agentwire.host.embedded")
local loop_of = require("agentwire.host._nginx_loop")
local misuse = require("agentwire._misuse")
local options = require("agentwire._options")
local signal = require("agentwire.signal")
local task = require("agentwire.task")
local tables = require("agentwire._tables")
local threads_of = require("agentwire.host._nginx_threads")

local M = { is_embedded = true }

-- How long requests and servers may go on when their worker is to end, and how
-- long what is cancelled then has for its cleanup.
local DRAIN_MS, CLEANUP_MS = 60000, 1000

---@class agentwire.OpenrestyOptions: agentwire.HostOptions
---@field directory string? of the socket that nginx waits at, 80 characters at
--- most; $TMPDIR, or /tmp
---@field drain_ms number? how long what runs may go on when the worker is to
--- end, 60 000

local OPTIONS = options.spec("openresty.new", {
  directory = options.filled,
  drain_ms = options.duration_ms,
  on_error = options.func,
  budget_ms = options.duration_ms,
  slow_turn_ms = options.duration_ms,
})

-- The hosts of this Lua state.
local hosts = setmetatable({}, { __mode = "k" })

--- Whether this is nginx.
---@return boolean
function M.fits()
  local ngx = rawget(_G, "ngx")
  return type(ngx) == "table" and ngx.timer ~= nil and ngx.get_phase ~= nil
end

-- A name that no other process has or will have: when it began counts too, for
-- containers may share a folder, and have processes of the same number.
local function file_in(directory, ngx)
  local began = "0"
  local file = io.open("/proc/self/stat")
  if file then
    began = file:read("*a"):match("%) " .. ("%S+ "):rep(19) .. "(%d+)") or began
    file:close()
  end
  return ("%s/agentwire-%d-%s"):format(directory, ngx.worker.pid(), began)
end

local function open_bridge(self, directory, ngx)
  local file = file_in(directory, ngx)
  local bridge, message = self:loop():bridge(file)
  if bridge then
    return bridge, file
  end
  self:close()
  if message:find("in use", 1, true) then
    misuse.raise("this worker has a host in another Lua state already: agentwire "
      .. "needs lua_code_cache on")
  end
  return error(("the host cannot listen at %s: %s"):format(file, message), 0)
end

-- Where nginx watches for that, a client that goes away cancels.
local function cancel_with_client(ngx, t)
  local running = ngx.ctx.agentwire
  if not running then
    running = {}
    ngx.ctx.agentwire = running
    pcall(ngx.on_abort, function()
      for each in pairs(running) do
        each:cancel("the client has gone")
      end
    end)
  end
  running[t] = true
  t:defer(function()
    running[t] = nil
  end)
end

-- Runs in a thread of the request's. That may end without a word at any time,
-- which the host finds out for itself.
local function run(self, threads, fn, ...)
  local ngx = rawget(_G, "ngx")
  threads_of.check_phase(ngx.get_phase())
  threads:bury_former(task.current())
  if self:is_closed() or task.current() then
    misuse.raise(self:is_closed() and "run: the host is closed"
      or "a run inside a run: what runs there already can be called, or spawned")
  end
  local given = compat.pack(...)
  local seat, t = threads:invite(function()
    return task.spawn_in(self._scheduler, nil, fn,
      compat.unpack(given, 1, given.n))
  end)
  cancel_with_client(ngx, t)
  threads:host_guest(seat)
  return task.conclusion(t)
end

-- What is to be done before the worker ends: servers say goodbye, and requests
-- go on to their end, for as long as there is time.
local function leave(self, loop, threads, drain_ms)
  task.timeout(drain_ms, function()
    signal.say_farewell(self)
    threads:await_guests()
  end)
  local at_last = self:now() + CLEANUP_MS
  loop.is_done = function()
    return self:live_tasks() == 0 or self:now() >= at_last
  end
  self:timer(CLEANUP_MS, function() end)
  task.cancel_all(self._scheduler, "the worker of nginx ends")
end

local function driver_of(loop, threads)
  return {
    name = "nginx's loop",
    arm = function(_, timeout_ms, turn)
      loop:arm(timeout_ms, turn)
    end,
    disarm = function()
      loop.over = true
      loop:wake()
    end,
    wake = function()
      loop:wake()
    end,
    run = function(self, fn, ...)
      return run(self, threads, fn, ...)
    end,
    threads = threads,
  }
end

local function begin(self, loop, threads, directory, drain_ms)
  local ngx = rawget(_G, "ngx")
  local bridge, file = open_bridge(self, directory, ngx)
  function loop.on_exit()
    self:spawn(leave, self, loop, threads, drain_ms)
  end
  loop:start(bridge, file, function(problem)
    if problem then
      self:report(problem, "the host")
    end
    self:close()
    threads:close()
  end)
end

--- For `log_by_lua`: a request has ended. What it has left is ended at once then;
--- without this, with whatever turns the host next.
function M.request_ended()
  for each in pairs(hosts) do
    if not each:is_closed() then
      each._on_request_ended()
    end
  end
end

local function host_in(ngx, given)
  local semaphore = require("ngx.semaphore")
  local loop, self = loop_of.new(ngx, semaphore), nil
  local threads = threads_of.new(ngx, semaphore, function(message, what)
    self:report(message, what)
  end)
  loop.threads = threads
  self = embedded.new(driver_of(loop, threads), given)
  hosts[self] = true
  function self._on_request_ended()
    if threads:expect_death() then
      loop:wake()
    end
  end
  return self, loop, threads
end

--- The host of this worker, which begins to turn by itself. Put it in use with
--- `agentwire.host.use` in init_worker_by_lua where other options than these
--- are wanted; otherwise it is made when it is first needed.
---@param given agentwire.OpenrestyOptions?
---@return agentwire.EmbeddedHost
function M.new(given)
  given = tables.copy(OPTIONS:check(given))
  local ngx = rawget(_G, "ngx")
  if ngx.get_phase() == "init" then
    misuse.raise("nothing of agentwire can run in init_by_lua: what is made in "
      .. "nginx's master is gone in its workers; use init_worker_by_lua")
  end
  local directory = given.directory or os.getenv("TMPDIR") or "/tmp"
  local drain_ms = given.drain_ms or DRAIN_MS
  given.directory, given.drain_ms = nil, nil
  given.on_error = given.on_error or function(message, what)
    ngx.log(ngx.ERR, "agentwire: ", what, " failed: ", message)
  end
  local self, loop, threads = host_in(ngx, given)
  begin(self, loop, threads, directory, drain_ms)
  return self
end

return M
