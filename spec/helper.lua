--- What the specs of tasks and hosts share.
package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path

local standalone = require("agentwire.host.standalone")

local helper = {}

--- A loop with a fake clock. Nothing in it really waits: when the host would
--- block, time jumps to the next thing that is due. What the specs say about
--- milliseconds is therefore exact, and says nothing about a real loop's clock.
local FakeLoop = {}
FakeLoop.__index = FakeLoop

function helper.fake_loop()
  return setmetatable({
    time = 1000,
    waits = 0, -- how often it blocked
    steps = 0,
    closed = 0,
    rings = 0,
    turning = false,
    _ready = {}, -- { object, events }
    _due = {}, -- { at, object, events }: what will become ready by itself
  }, FakeLoop)
end

function FakeLoop:now()
  return self.time
end

--- Makes `object` ready now, or `after_ms` later.
function FakeLoop:raise(object, events, after_ms)
  if after_ms then
    table.insert(self._due, { self.time + after_ms, object, events })
    table.sort(self._due, function(a, b)
      return a[1] < b[1]
    end)
  else
    table.insert(self._ready, { object, events })
  end
end

local function collect_due(self)
  while self._due[1] and self._due[1][1] <= self.time do
    local due = table.remove(self._due, 1)
    table.insert(self._ready, { due[2], due[3] })
  end
end

function FakeLoop:wait(timeout_ms)
  assert(timeout_ms >= -1 and timeout_ms % 1 == 0)
  self.waits = self.waits + 1
  if #self._ready == 0 then
    local target = timeout_ms >= 0 and self.time + timeout_ms
    local due = self._due[1] and self._due[1][1]
    if due and (not target or due < target) then
      target = due
    end
    self.time = target or self.time
    collect_due(self)
  end
  return #self._ready > 0 or #self._due > 0
end

function FakeLoop:step()
  self.steps = self.steps + 1
  collect_due(self)
end

function FakeLoop:ready()
  local entry = table.remove(self._ready, 1)
  if entry then
    return entry[1], entry[2]
  end
  return nil
end

function FakeLoop:fd()
  return 7
end

function FakeLoop:timeout_ms()
  if #self._ready > 0 then
    return 0
  end
  return self._due[1] and math.max(0, self._due[1][1] - self.time) or -1
end

-- Between turns; `rings` counts what would make the descriptor readable.
function FakeLoop:enter()
  self.turning = true
end

function FakeLoop:leave()
  self.turning = false
end

function FakeLoop:ring()
  assert(not self.turning, "a bell was rung inside a turn")
  self.rings = self.rings + 1
end

function FakeLoop:close()
  self.closed = self.closed + 1
end

--- A standalone host on a fake loop; `host.reports` gathers what it reports.
---@return table host, table loop
function helper.fake_host()
  local loop = helper.fake_loop()
  local host = standalone.new({ loop = loop })
  host.reports = {}
  host.on_error = function(message, what)
    table.insert(host.reports, { message = message, what = what })
  end
  return host, loop
end

--- Fails if anything of what ran is left.
function helper.assert_clean(host)
  assert(host:live_tasks() == 0, "tasks are left: " .. host:live_tasks())
  assert(host._timers.count == 0, "timers are left: " .. host._timers.count)
  assert(#host._timers == 0, "a removed timer is still held")
  assert(not host._scheduler:is_runnable(), "something is still runnable")
end

--- Runs `fn` while the collector works as hard as it can.
function helper.under_gc_pressure(fn)
  if collectgarbage("count") and _VERSION == "Lua 5.4" then
    collectgarbage("incremental")
  end
  local pause = collectgarbage("setpause", 0)
  local multiplier = collectgarbage("setstepmul", 1000)
  local ok, problem = pcall(fn)
  collectgarbage("setpause", pause)
  collectgarbage("setstepmul", multiplier)
  if not ok then
    error(problem, 0)
  end
end

return helper
