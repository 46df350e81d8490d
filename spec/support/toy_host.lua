-- A loop that nobody else has, and a host in it, written from the table in
-- docs/concurrency.md alone. It has timers, calls, and threads of its own: plain
-- coroutines that run when it sees fit, and may wait for it as well.
local foreign = require("spec.support.foreign")

---@class spec.ToyLoop
local Toy = {}
Toy.__index = Toy

local function new_loop()
  return setmetatable({ _calls = {}, _waits = foreign.poller() }, Toy)
end

--- Calls `fn` from outside of everything.
function Toy:after(ms, fn)
  table.insert(self._calls, { at = self._waits.now() + ms, fn = fn })
end

local function take_due(self)
  local now, due = self._waits.now(), {}
  for index = #self._calls, 1, -1 do
    if self._calls[index].at <= now then
      table.insert(due, 1, table.remove(self._calls, index))
    end
  end
  table.sort(due, function(a, b)
    return a.at < b.at
  end)
  return due
end

local function idle_ms(self)
  local least = self._at or math.huge
  for _, call in ipairs(self._calls) do
    least = math.min(least, call.at)
  end
  return least == math.huge and -1
    or math.max(0, math.ceil(least - self._waits.now()))
end

--- One round: waits until something is to be done, and does it.
function Toy:once()
  local readable = self._waits.poll(self._fd, idle_ms(self))
  for _, call in ipairs(take_due(self)) do
    call.fn()
  end
  if self._turn and (readable or self._at and self._waits.now() >= self._at)
  then
    self._at = nil
    self._turn()
  end
end

--- Suspends the thread that calls this, as a cosocket would: nothing of agentwire
--- knows of it.
function Toy:pause(ms)
  local thread = coroutine.running()
  self:after(ms, function()
    assert(coroutine.resume(thread))
  end)
  coroutine.yield("of the toy")
end

local function threads_of(self)
  local threads, waiting, woken = {}, {}, {}

  function threads.start(t, run)
    waiting[t] = coroutine.create(run)
  end

  function threads.suspend(t)
    if not woken[t] then
      waiting[t] = coroutine.running()
      coroutine.yield("parked")
    end
    woken[t] = nil
  end

  function threads.resume(t)
    local thread = waiting[t]
    waiting[t] = nil
    if not thread then
      woken[t] = true -- it waits for the loop at this moment
      return
    end
    self:after(0, function()
      assert(coroutine.resume(thread))
    end)
  end

  function threads.stop(t)
    waiting[t], woken[t] = nil, nil
  end

  return threads
end

local function driver_of(self, with_threads)
  return {
    name = "the toy loop",
    arm = function(fd, timeout_ms, turn)
      self._fd, self._turn = fd, turn
      self._at = timeout_ms >= 0 and self._waits.now() + timeout_ms or nil
    end,
    disarm = function()
      self._fd, self._turn, self._at = nil, nil, nil
    end,
    block = function(is_done)
      while not is_done() do
        self:once()
      end
    end,
    threads = with_threads and threads_of(self) or nil,
  }
end

return { loop = new_loop, driver = driver_of }
