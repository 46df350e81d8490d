--- nginx's loop as a driver of a host (docs/concurrency.md). It can watch nothing
--- but sockets that it has connected itself, so a thread of the core watches the
--- loop's descriptor and writes a byte to such a socket (`loop:bridge`). A timer
--- of the worker's own turns the host: no request has to be there for that.
local threads_of = require("agentwire.host._nginx_threads")

local FOREVER_S = threads_of.FOREVER_S

local M = {}

-- The timer that tells of the worker's end; it also keeps the socket from being
-- idle for so long that nginx speaks of it.
local REMINDER_S = FOREVER_S / 2

---@class agentwire.NginxLoop
local Loop = {}
Loop.__index = Loop

---@param ngx table
---@param semaphore table ngx.semaphore
---@return agentwire.NginxLoop
function M.new(ngx, semaphore)
  return setmetatable({
    threads = nil, -- agentwire.NginxThreads
    on_exit = nil, -- called once when the worker is to end
    is_done = nil, -- asked after each turn, once the worker is to end
    over = false, -- nothing is turned any more
    _turns = false,
    _ngx = ngx,
    _semaphores = semaphore,
    _wake = assert(semaphore.new()), -- who turns waits for it
    _echo = assert(semaphore.new()),
    _woken = false,
    _turn = nil,
    _due_ms = -1,
    _bridge = nil,
    _socket = nil,
    _exiting = false,
  }, Loop)
end

--- Has the host turned soon.
function Loop:wake()
  if not self._woken then
    self._woken = true
    self._wake:post(1)
  end
end

---@param timeout_ms integer as of a driver's `arm`
---@param turn fun()
function Loop:arm(timeout_ms, turn)
  self._due_ms, self._turn = timeout_ms, turn
  if not self._turns then -- somebody has turned it by hand
    self:wake()
  end
end

-- The worker's end is told to timers, before their time has come. nginx does
-- that outside of its loop's turn and would wake nobody but for a socket.
local function remind(premature, self)
  if self.over then
    return
  elseif premature or self._ngx.worker.exiting() then
    self._exiting = true
  else
    self._ngx.timer.at(REMINDER_S, remind, self)
  end
  self._bridge:poke()
end

-- What comes over the bridge.
local function listen(self)
  while not self.over do
    local _, why = self._socket:receiveany(256)
    if why and why ~= "timeout" then
      self.over = true
    end
    self:wake()
  end
end

-- Answers when those have run that were to run before: nginx wakes who waits
-- for a semaphore in the order in which that was posted.
local function echo(self)
  while true do
    if threads_of.wait(self._echo, FOREVER_S) then
      self:wake()
    end
  end
end

local function connect(self, file)
  local socket = self._ngx.socket.tcp()
  socket:settimeouts(5000, 5000, FOREVER_S * 1000)
  assert(socket:connect("unix:" .. file))
  assert(self._bridge:begin())
  self._socket = socket
  self._ngx.thread.spawn(listen, self)
  self._ngx.thread.spawn(echo, self)
end

-- Waits until there is something to do.
local function rest(self, echoed)
  local threads, due_ms = self.threads, self._due_ms
  local answered = false
  if threads.resumed and not echoed then
    answered = true
    self._echo:post(1)
  elseif threads.resumed or due_ms == 0 then
    self._bridge:poke() -- and nginx's own have their turn before it comes
  else
    self._bridge:arm()
  end
  threads.resumed = false
  threads_of.wait(self._wake, due_ms > 0 and due_ms / 1000 or FOREVER_S)
  while self._wake:count() > 0 do
    self._wake:wait(0)
  end
  self._woken = false
  return answered
end

local function drive(self)
  local echoed = false
  while not self.over do
    if self._exiting and self.on_exit then
      local on_exit = self.on_exit
      self.on_exit = nil
      on_exit()
    end
    self.threads:look() -- those that the last turn has woken have run
    self._turns = true
    self._turn()
    self._turns = false
    self.over = self.over or self.is_done ~= nil and self.is_done()
    if not self.over then
      echoed = rest(self, echoed)
    end
  end
end

local function run(_, self, file, on_end)
  local ok, problem = pcall(function()
    connect(self, file)
    assert(self._ngx.timer.at(REMINDER_S, remind, self))
    self._exiting = self._ngx.worker.exiting()
    drive(self)
  end)
  self.over = true
  on_end(not ok and tostring(problem) or nil)
  self._ngx.exit(self._ngx.OK)
end

--- Starts turning, in a timer.
---@param bridge userdata of the core
---@param file string where it listens
---@param on_end fun(problem: string?) called in the end, when nobody turns
function Loop:start(bridge, file, on_end)
  self._bridge = bridge
  assert(self._ngx.timer.at(0, run, self, file, on_end))
end

return M
