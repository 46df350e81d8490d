-- What agentwire costs in the workers of nginx, and what it does under load. The
-- figures are printed.
local process = require("spec.support.process")
local worlds = require("spec.openresty.world")

local ROUNDS = 10
local RELOADS = tonumber(os.getenv("AW_RELOADS")) or 10

-- Six clients, each with one request after the other; a line for each.
local LOAD = [[
for client in 1 2 3 4 5 6; do
  while [ ! -e %s/enough ]; do
    echo $(curl -s -m 30 -w '%%{http_code}' '%s/stream?n=100&delay=2')
  done >>%s/load.$client &
done
wait
echo over
]]

local WORDS = ""
for i = 1, 100 do
  WORDS = WORDS .. i .. " "
end

local function say(name, format, ...)
  io.stdout:write("# ", name, ": ", format:format(...), "\n")
end

local function percentile(list, share)
  table.sort(list)
  return list[math.max(1, math.ceil(#list * share))]
end

--- Times of answers in ms, by the worker, taken for as long as `busy` runs.
local function ping_beside(world, busy)
  local times = {}
  repeat
    for _ = 1, 4 do -- each over a connection of its own, to either worker
      local text = process.shell(("curl -s -w ' %%{time_total}\\n' "
        .. "'%s/pid?[1-5]'"):format(world.nginx.url))
      for pid, seconds in text:gmatch("(%d+) ([%d.]+)") do
        times[pid] = times[pid] or {}
        table.insert(times[pid], 1000 * tonumber(seconds))
      end
    end
  until not process.shell("ls /proc"):find("\n" .. busy.pid .. "\n", 1, true)
  return times
end

--- How often the threads of a process have been switched to.
local function switches(pid)
  local sum = 0
  local text = process.shell(("cat /proc/%d/task/*/status"):format(pid))
  for count in text:gmatch("ctxt_switches:%s*(%d+)") do
    sum = sum + tonumber(count)
  end
  return sum
end

describe("in a worker of nginx, under load", function()
  local world

  setup(function()
    world = worlds.new()
    for _ = 1, 20 do
      world.nginx:get("/stream?n=1")
    end
  end)

  teardown(function()
    world:close()
  end)

  it("idle costs nothing", function()
    process.shell("sleep 1")
    local before = {}
    for _, pid in ipairs(world.nginx:workers()) do
      before[pid] = switches(pid)
    end
    process.shell("sleep 2")
    for pid, count in pairs(before) do
      local more = switches(pid) - count
      say("idle", "worker %d: %d context switches in 2 s", pid, more)
      assert.equal(0, more)
    end
  end)

  it("a round trip takes little longer than in a script", function()
    local text = world.nginx:get("/rtt?n=2000")
    local p50, p99 = text:match("^(%d+) (%d+)$")
    local script = process.start { "luajit", "-e", ([[
      package.cpath = package.cpath:gsub("5%%.4", "5.1")
      local aw = require("agentwire")
      local clock = require("agentwire.core").monotonic_us
      aw.run(function()
        local conn, times = assert(aw.connect("%s")), {}
        for i = 1, 2000 do
          local began = clock()
          assert(conn:ping(5000))
          times[i] = clock() - began
        end
        table.sort(times)
        print(times[1000], times[1980])
        conn:close()
      end)]]):format(world:socket("model")) }
    local plain, plain99 = script:expect("^(%d+)%s+(%d+)$")
    script:wait()
    say("round trip", "p50 %d us, p99 %d us; in a script %d us, %d us; "
      .. "%d us more", p50, p99, plain, plain99, p50 - plain)
    assert.is_true(p50 - plain < 500)
  end)

  it("others are answered while many events come", function()
    local busy = process.start { "curl", "-s", "-m", "60",
      world.nginx.url .. "/flood?n=50000" }
    local answers = ping_beside(world, busy)
    local pid, count, ms = busy:expect("^(%d+) (%d+) (%d+)$")
    local times = answers[pid] or { 0 }
    busy:wait()
    say("flood", "%d events in %d ms; the worker's answers to %d others: "
      .. "p50 %.2f ms, p99 %.2f ms, most %.2f ms", count, ms, #times, percentile(times, 0.5),
      percentile(times, 0.99), times[#times])
    assert.is_true(tonumber(count) >= 50000)
    assert.is_true(percentile(times, 0.99) < 250)
  end)

  it("memory is flat, whatever way requests end", function()
    local function round()
      for _, path in ipairs { "/stream?n=10&i=[1-200]", "/exit?i=[1-300]",
        "/exit?how=sleep&i=[1-100]",
        "/tool?i=[1-100]&prompt=call%20fact%20%7B%22name%22:%22water%22%7D" } do
        local codes = process.shell(("curl -s -m 60 -o /dev/null -Z "
          .. "--parallel-max 8 -w '%%{http_code}\\n' '%s%s'")
          :format(world.nginx.url, path))
        local ended = 0
        for line in codes:gmatch("[^\r\n]+") do
          ended = ended + (line:find("^[24]0[03]$") and 1 or 0)
        end
        assert.equal(tonumber(path:match("%-(%d+)")), ended, codes)
      end
    end
    for _ = 1, ROUNDS do
      round()
    end
    world.nginx:get("/stream?n=1")
    local before = world:states()
    for _ = 1, ROUNDS do
      round()
    end
    world:settled(before)
    local after = world:states()
    for pid, state in pairs(before) do
      say("memory", "worker %d: %d kB, after %d more requests to both %d "
        .. "kB; %d tasks, %d before", pid, state.rss_kb, 700 * ROUNDS,
        after[pid].rss_kb, after[pid].tasks, state.tasks)
      assert.is_true(after[pid].rss_kb - state.rss_kb < 3000)
    end
    assert.equal(0, world.nginx:logged("failed:"), world.nginx:errors())
  end)

  it("no request fails while nginx is reloaded", function()
    local began = os.time()
    local load = process.start({ "sh", "-c", LOAD:format(world.folder,
      world.nginx.url, world.folder) }, { life_s = 1200 })
    for _ = 1, RELOADS do
      process.shell("sleep 1")
      world.nginx:reload()
    end
    process.shell("touch " .. world.folder .. "/enough")
    load:expect("^over$")
    local all, whole, bad = 0, 0, ""
    for line in process.shell("cat " .. world.folder .. "/load.*")
      :gmatch("[^\n]+") do
      all = all + 1
      if line == WORDS .. "end 200" then
        whole = whole + 1
      else
        bad = line
      end
    end
    say("reload", "%d requests in %d s with %d reloads, %d of them whole",
      all, os.time() - began, RELOADS, whole)
    assert.is_true(all > RELOADS)
    assert.equal(all, whole, bad .. "\n" .. world.nginx:errors())
    world.nginx:eventually("the old workers have ended", function()
      return #world.nginx:workers() == 2
    end)
    assert.equal(0, world.nginx:logged("\\[alert\\]|\\[crit\\]|signal 11"))
  end)
end)
