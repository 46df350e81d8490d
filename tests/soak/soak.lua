-- Everything at once, cancelled at random points over links that are cut at
-- random, and whether anything grows. A line of counters every so often, then
-- TAP.
--
--   lua soak.lua SECONDS [SEED]
local aw = require("agentwire")
local calls = require("spec.support.calls")
local counters = require("spec.support.counters")

local SECONDS = tonumber(arg[1] or 20)
local SEED = tonumber(arg[2] or os.time())
local WORKERS = 8
local SAMPLES = 10
local WINDOW_MS = 500 -- a farewell may be cut off as well

-- What may be kept beyond the first samples: caches and fragmentation.
local HEAP_SLACK_KB, RESIDENT_SLACK_KB = 4 * 1024, 16 * 1024

local names = {}
for name in pairs(calls.calls) do
  table.insert(names, name)
end
table.sort(names)

local totals = { calls = 0, cancelled = 0, cuts = 0 }

local function random(least, most)
  return math.random(least, most)
end

local function pause()
  if random(1, 2) == 1 then
    for _ = 1, random(0, 40) do
      aw.task.yield()
    end
  else
    aw.sleep(random(0, 15))
  end
end

-- One call, cancelled at a random point three times of four.
local function once(world)
  local runner = aw.spawn(calls.calls[names[random(1, #names)]], world)
  totals.calls = totals.calls + 1
  if random(1, 4) > 1 then
    pause()
  else
    runner:join(5000)
  end
  if not runner:is_done() then
    totals.cancelled = totals.cancelled + 1
    runner:cancel("soak")
  end
  runner:join()
end

local function work(world, until_ms)
  while aw.task.current()._scheduler.host:now() < until_ms do
    once(world)
  end
end

local function cut(world, until_ms)
  local host = aw.task.current()._scheduler.host
  while host:now() < until_ms do
    aw.sleep(random(20, 200))
    totals.cuts = totals.cuts + 1
    if random(1, 2) == 1 then
      world.conn:cut("soak")
    else
      for theirs in world.server:connections() do
        theirs:cut("soak")
        if random(1, 2) == 1 then
          break
        end
      end
    end
  end
end

local function round(world, ms)
  local until_ms = aw.task.current()._scheduler.host:now() + ms
  local workers = { aw.spawn(cut, world, until_ms) }
  for _ = 1, WORKERS do
    table.insert(workers, aw.spawn(work, world, until_ms))
  end
  for _, worker in ipairs(workers) do
    worker:join()
  end
end

local function sample(world, number)
  world.conn:ping(5000)
  collectgarbage()
  collectgarbage()
  local taken = counters.take(world.parts)
  taken.heap_kb = math.floor(collectgarbage("count"))
  taken.resident_kb = counters.resident_kb()
  print(("# %3d  calls %d (%d cancelled)  cuts %d  rss %d KB  heap %d KB  "
    .. "registry %d  fds %d  tasks %d  scopes %d  sessions %d"):format(number,
    totals.calls, totals.cancelled, totals.cuts, taken.resident_kb,
    taken.heap_kb, taken.registry, taken.descriptors, taken.tasks,
    taken["connection 1 scopes"], taken["server 1 connections"]))
  io.stdout:flush()
  return taken
end

local function verdict(number, ok, what)
  print(("%s %d - %s"):format(ok and "ok" or "not ok", number, what))
  return ok
end

-- The server's end of the connection is another one when a session was lost.
local function parts_of(world)
  return { conns = { world.conn, world.own }, servers = { world.server },
    pool = world.pool, services = world.parts.services }
end

local function judge(first, last, difference)
  print("1..3")
  local ok = verdict(1, difference == "", "counters are back where they were")
  ok = verdict(2, last.heap_kb <= first.heap_kb + HEAP_SLACK_KB,
    ("the Lua heap is bounded: %d KB, then %d KB"):format(first.heap_kb,
      last.heap_kb)) and ok
  return verdict(3, last.resident_kb <= first.resident_kb + RESIDENT_SLACK_KB,
    ("memory is bounded: %d KB, then %d KB"):format(first.resident_kb,
      last.resident_kb)) and ok
end

local passed
math.randomseed(SEED)
print(("# %d s, seed %d, %s"):format(SECONDS, SEED, _VERSION))
aw.log.set_level("error")
aw.run(function()
  local world = calls.world({
    reconnect = { min_ms = 1, max_ms = 20 },
  }, WINDOW_MS)
  world.parts = parts_of(world)
  for _, name in ipairs(names) do -- what is made once and kept
    aw.timeout(5000, calls.calls[name], world)
  end
  round(world, 500)
  counters.settled({}, world.parts, 2 * WINDOW_MS)
  local before, first, last = counters.take(world.parts), nil, nil
  for number = 1, SAMPLES do
    round(world, SECONDS * 1000 / SAMPLES)
    local difference = counters.settled(before, world.parts, 5000)
    last = sample(world, number)
    if difference ~= "" then
      print("# " .. difference:gsub("\n", "\n# "))
    end
    first = number <= 3 and last or first
    passed = difference
  end
  passed = judge(first, last, passed)
  world.close()
end)
os.exit(passed and 0 or 1)
