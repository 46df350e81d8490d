-- The standard job's client: reads every stream to its end, checks order and
-- text, then measures a ping-pong on the same connection.
local aw = require("agentwire")
local usage = require("wire.usage")

local next_event = require("agentwire.core").channel.next

local url, streams, events = arg[1], tonumber(arg[2]), tonumber(arg[3])
local DELTA = require("wire.job").DELTA

local function read_stream(conn, index)
  local channel = assert(conn:open("provider"))
  assert(channel:send("stream_request", { index = index, count = events }))
  local expected, pieces, n = 1, {}, 0
  while true do
    local event = next_event(channel)
    if event == nil then
      local message, code
      event, message, code = channel:receive()
      assert(event, code and message)
    end
    assert(event.sequence == expected, "out of order")
    expected = expected + 1
    if event.type == "text_delta" then
      n = n + 1
      pieces[n] = event.delta
    elseif event.type == "result" then
      break
    end
  end
  assert(n == events, "lost events")
  assert(table.concat(pieces) == DELTA:rep(events), "wrong text")
  channel:close()
end

local function quantile(sorted, q)
  return sorted[math.max(1, math.ceil(q * #sorted))]
end

local function ping_pong(conn, rounds)
  local times = {}
  for i = 1, rounds do
    local before = usage.now_us()
    assert(conn:ping(5000))
    times[i] = usage.now_us() - before
  end
  table.sort(times)
  return quantile(times, 0.5), quantile(times, 0.99)
end

aw.run(function()
  local conn = assert(aw.connect(url))
  assert(conn:ping(5000))
  local cpu, started = usage.cpu_us(), usage.now_us()
  local tasks = {}
  for i = 1, streams do
    tasks[i] = aw.spawn(read_stream, conn, i)
  end
  assert(aw.task.all(tasks))
  local elapsed = usage.now_us() - started
  cpu = usage.cpu_us() - cpu
  local p50, p99 = ping_pong(conn, tonumber(arg[4] or 2000))
  local server = assert(conn:open("agent"))
  assert(server:send("agent_start", {}))
  aw.sleep(100) -- the last acknowledgement is delayed by 50 ms
  local idle = usage.cpu_us()
  aw.sleep(tonumber(arg[5] or 5000))
  idle = usage.cpu_us() - idle
  assert(server:send("agent_message", {}))
  local other = assert(server:receive(5000))
  local total = streams * events
  print(aw.json.encode {
    envelopes = total,
    envelopes_per_s = math.floor(total / elapsed * 1e6),
    client_cpu_us_per_envelope = cpu / total,
    server_cpu_us_per_envelope = other.cpu_us / total,
    ping_p50_us = p50,
    ping_p99_us = p99,
    idle_cpu_ms = (idle + other.idle_us) / 1000,
    client_idle_cpu_ms = idle / 1000,
    server_idle_cpu_ms = other.idle_us / 1000,
    client_peak_rss_kib = usage.peak_rss_kib(),
    server_peak_rss_kib = other.peak_rss_kib,
    lua = rawget(_G, "jit") and "luajit" or _VERSION,
  })
  conn:close()
end)
