--- Light threads of nginx for tasks to run in: those of a request for what
--- `aw.run` is given there, those of a timer of the worker's own, the carrier,
--- for all others. Waiting is a semaphore's, so that a task may wait for
--- whatever nginx has as well.
---
--- nginx can take threads away at any moment: a request that ends, for whatever
--- reason, ends its threads without a word. Each request and each carrier
--- therefore has one more thread, its pulse, that does nothing but wait for a
--- semaphore. A semaphore that nobody waits for any more says who has died.
local clock_us = require("agentwire.core").monotonic_us
local compat = require("agentwire._compat")
local misuse = require("agentwire._misuse")
local schedulers = require("agentwire._scheduler")
local task = require("agentwire.task")
local wait = require("agentwire._wait")

local M = {}

-- The longest wait that is asked of nginx; after it the wait begins anew.
local FOREVER_S = 24 * 3600
M.FOREVER_S = FOREVER_S

-- Threads that are kept for later tasks: making one costs nginx memory that it
-- frees with the carrier alone, and so does each cosocket. A carrier that has had
-- its share of tasks therefore gives way to a new one, and ends with the last of
-- them; a few may wait for that at once.
local IDLE_MAX = 256
local RUNS_MAX, CARRIERS_MAX = 2048, 16

-- Where nginx lets threads wait.
local PHASES = {
  rewrite = true, server_rewrite = true, access = true, precontent = true,
  content = true, timer = true, ssl_cert = true, ssl_session_fetch = true,
  ssl_client_hello = true,
}

-- All guests are looked at this often at most, those that ran with each turn.
local LOOK_US = 250000

---@class agentwire.NginxThreads: agentwire.Threads
local Threads = {}
Threads.__index = Threads

---@param ngx table
---@param semaphore table ngx.semaphore
---@param on_loss fun(message: string, what: string) hears of a carrier that died
---@return agentwire.NginxThreads
function M.new(ngx, semaphore, on_loss)
  local self = setmetatable({
    resumed = false, -- somebody is to run
    _ngx = ngx,
    _semaphores = semaphore,
    _on_loss = on_loss,
    _seats = {}, -- by task: the thread it runs in
    _carriers = {}, -- set of those that live
    _carrier_count = 0,
    _carrier = nil, -- the one that gets tasks
    _entering = nil, -- the seat of the guest that is being made
    _guests = {}, -- set of guests' seats
    _count = 0, -- of them
    _empty = wait.signal("the end of all requests"),
    _looked_us = 0, -- when all were looked at
    _ran = {}, -- set of guests that have run since the last look
  }, Threads)
  for _, name in ipairs { "start", "suspend", "resume", "stop" } do
    self[name] = function(t, run)
      return Threads[name](self, t, run)
    end
  end
  return self
end

local function new_seat(self)
  return {
    semaphore = assert(self._semaphores.new()),
    carrier = nil,
    guest = nil, -- the pulse of its request
    guest_task = nil,
    run = nil,
    task = nil,
    stopped = false,
  }
end

--- Waits for a semaphore; raises where nginx does not let it, for a loop around
--- it would never end.
---@param semaphore table
---@param seconds number
---@return boolean posted false: the time is up
function M.wait(semaphore, seconds)
  local ok, why = semaphore:wait(seconds)
  if not ok and why ~= "timeout" then
    error("nothing can wait here: " .. tostring(why), 0)
  end
  return ok or false
end

-- Waits for what `resume` gives.
local function await(self, seat)
  repeat
    local resumed = M.wait(seat.semaphore, FOREVER_S)
  until resumed
  if seat.stopped then -- nothing may run of it, not even its end
    self._ngx.exit(self._ngx.ERROR)
  end
end

-- Runs a task in the thread that calls this.
local function perform(self, seat)
  await(self, seat)
  local run, t = seat.run, seat.task
  if not run then
    return
  end
  seat.run, seat.task = nil, nil
  run()
  schedulers.leave(t, compat.running())
  if self._seats[t] == seat then -- else it ends in another
    self._seats[t] = nil
  end
end

local function hold_pulse(pulse)
  while true do
    M.wait(pulse, FOREVER_S)
  end
end

-- Carriers

-- A seat without a task was dismissed.
local function labour(self, seat)
  local carrier = seat.carrier
  repeat
    perform(self, seat)
    carrier.runs = carrier.runs + 1
    local stays = not carrier.retired and #carrier.idle < IDLE_MAX
    if stays then
      table.insert(carrier.idle, seat)
    end
  until not stays
  table.insert(carrier.ended, seat)
  carrier.semaphore:post(1)
end

local function remove_carrier(self, carrier)
  self._carriers[carrier] = nil
  self._carrier_count = self._carrier_count - 1
  if self._carrier == carrier then
    self._carrier = nil
  end
end

local function make_and_take(self, carrier)
  local thread = self._ngx.thread
  for index, seat in ipairs(carrier.unborn) do
    carrier.unborn[index] = nil
    carrier.threads = carrier.threads + 1
    seat.thread = thread.spawn(labour, self, seat)
  end
  for index, seat in ipairs(carrier.ended) do
    carrier.ended[index] = nil
    carrier.threads = carrier.threads - 1
    thread.wait(seat.thread)
  end
end

-- Threads are made by the one that lives as long as the carrier: they end with
-- who has made them, and wait for it to take note of that.
local function carry(_, self, carrier)
  self._ngx.thread.spawn(hold_pulse, carrier.pulse)
  carrier.began = true
  while not carrier.over do
    make_and_take(self, carrier)
    if carrier.retired and carrier.threads == 0 then
      carrier.over = true
    else
      M.wait(carrier.semaphore, FOREVER_S)
    end
  end
  if self._carriers[carrier] then
    remove_carrier(self, carrier)
  end
  self._ngx.exit(self._ngx.OK) -- with all its threads
end

local function new_carrier(self)
  local carrier = {
    semaphore = assert(self._semaphores.new()),
    pulse = assert(self._semaphores.new()),
    began = false,
    retired = false, -- gets no more tasks, and ends with those it has
    over = false,
    runs = 0, -- tasks that it has had
    threads = 0,
    idle = {}, -- lists of seats
    unborn = {},
    ended = {},
  }
  assert(self._ngx.timer.at(0, carry, self, carrier))
  self._carriers[carrier] = true
  self._carrier_count = self._carrier_count + 1
  return carrier
end

local function retire(carrier)
  carrier.retired = true
  for _, seat in ipairs(carrier.idle) do
    seat.semaphore:post(1)
  end
  carrier.idle = {}
  carrier.semaphore:post(1)
end

local function carrier_of(self)
  local carrier = self._carrier
  if carrier and carrier.runs >= RUNS_MAX
    and self._carrier_count < CARRIERS_MAX then
    retire(carrier)
    carrier = nil
  end
  self._carrier = carrier or new_carrier(self)
  return self._carrier
end

local function hire(self)
  local carrier = carrier_of(self)
  local seat = table.remove(carrier.idle)
  if not seat then
    seat = new_seat(self)
    seat.carrier = carrier
    table.insert(carrier.unborn, seat)
    carrier.semaphore:post(1)
  end
  return seat
end

-- The port

function Threads:start(t, run)
  local seat = self._entering or hire(self)
  self._entering = nil
  seat.run, seat.task = run, t
  self._seats[t] = seat
end

function Threads:suspend(t)
  local seat = self._seats[t]
  if not seat then
    error("the host is closed", 0)
  end
  await(self, seat)
end

function Threads:resume(t)
  local seat = self._seats[t]
  self.resumed = true
  if seat.guest then
    self._ran[seat] = true
  end
  seat.semaphore:post(1)
end

function Threads:stop(t)
  local seat = self._seats[t]
  self._seats[t] = nil
  if seat and seat.guest then
    seat.stopped = true
    seat.semaphore:post(1)
  end
end

-- Guests

--- `make()` makes the task of a guest, which is to run in this thread.
---@param make fun(): agentwire.Task
---@return table seat for `host_guest`
---@return agentwire.Task
function Threads:invite(make)
  local seat = new_seat(self)
  seat.guest = assert(self._semaphores.new())
  self._entering = seat
  seat.guest_task = make()
  self._guests[seat] = true
  self._count = self._count + 1
  return seat, seat.guest_task
end

local function part_from(self, seat)
  if self._guests[seat] then
    self._guests[seat] = nil
    self._count = self._count - 1
    if self._count == 0 then
      self._empty:wake_all()
    end
  end
end

--- Waits until no request runs a task.
---@async
function Threads:await_guests()
  while self._count > 0 do
    self._empty:wait()
  end
end

--- Runs a guest's task in this thread until it is done.
---@async
---@param seat table
function Threads:host_guest(seat)
  local pulse = self._ngx.thread.spawn(hold_pulse, seat.guest)
  seat.began = true
  perform(self, seat)
  part_from(self, seat)
  self._ngx.thread.kill(pulse)
end

local function is_dead(seat)
  return seat.began and seat.guest:count() == 0
end

local function bury(self, seat)
  local t = seat.guest_task
  part_from(self, seat)
  if self._seats[t] == seat then
    self._seats[t] = nil
    task.bereave(t, "the request has ended")
  end
end

--- A request may be given the thread of one that has died.
---@param t agentwire.Task? whose thread this seems to be
function Threads:bury_former(t)
  local seat = t and self._seats[t]
  if seat and seat.guest and is_dead(seat) then
    bury(self, seat)
  end
end

---@param seats table<table, true>
local function bury_dead(self, seats)
  local dead = {}
  for seat in pairs(seats) do
    if is_dead(seat) then
      table.insert(dead, seat)
    end
  end
  for _, seat in ipairs(dead) do
    bury(self, seat)
  end
end

-- Most deaths are of those that have just run; others are found with whatever
-- turns the host next.
local function look_at_guests(self)
  local ran, now = self._ran, clock_us()
  if next(ran) then
    self._ran = {}
    bury_dead(self, ran)
  end
  if now - self._looked_us >= LOOK_US then
    self._looked_us = now
    bury_dead(self, self._guests)
  end
end

-- All its tasks with it: whoever calls ngx.exit in one of them does that.
local function bury_carrier(self, carrier)
  local lost = {}
  remove_carrier(self, carrier)
  for t, seat in pairs(self._seats) do
    if seat.carrier == carrier then
      table.insert(lost, t)
    end
  end
  for _, t in ipairs(lost) do
    self._seats[t] = nil
    task.bereave(t, "its thread was ended")
  end
  self._on_loss(("%d tasks were ended with their thread: a task that belongs "
    .. "to no request must not call ngx.exit"):format(#lost), "a task")
end

local function look_at_carriers(self)
  local dead = {}
  for carrier in pairs(self._carriers) do
    if carrier.began and carrier.pulse:count() == 0 then
      table.insert(dead, carrier)
    end
  end
  for _, carrier in ipairs(dead) do
    bury_carrier(self, carrier)
  end
end

--- A request has ended: the next look is at all that are left.
---@return boolean worth_it whether there is anybody to look at
function Threads:expect_death()
  self._looked_us = 0
  return self._count > 0
end

--- Finds those whose threads were taken from them.
function Threads:look()
  look_at_guests(self)
  look_at_carriers(self)
end

--- Raises where threads cannot wait.
---@param phase string of nginx
function M.check_phase(phase)
  if not PHASES[phase] then
    misuse.raise("run: nothing can wait in the phase %s of nginx: spawn a task, "
      .. "or call it in access_by_lua, content_by_lua or a timer", phase)
  end
end

--- Ends the carriers and every thread in them.
function Threads:close()
  for carrier in pairs(self._carriers) do
    carrier.over = true
    carrier.semaphore:post(1)
  end
end

return M
