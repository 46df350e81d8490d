local cjson = require("cjson")
local cqueues = require("cqueues")
local websocket = require("http.websocket")
local job = require("job")

local CREDIT = cjson.encode { type = "credit", count = job.GRANT }

local url, streams, count = arg[1], tonumber(arg[2]), tonumber(arg[3])

local function accept(stream, event)
  assert(event.sequence == stream.expected, "out of order")
  stream.expected = stream.expected + 1
  if event.type == "text_delta" then
    stream.n = stream.n + 1
    stream.pieces[stream.n] = event.payload.delta
    return false
  end
  assert(stream.n == count, "lost events")
  assert(table.concat(stream.pieces) == job.DELTA:rep(count), "wrong text")
  return true
end

local function read_all(ws, reading)
  local left, received = streams, 0
  while left > 0 do
    local event = cjson.decode((assert(ws:receive())))
    received = received + 1
    if received % job.GRANT == 0 then
      assert(ws:send(CREDIT))
    end
    if accept(reading[event.stream_id], event) then
      left = left - 1
    end
  end
end

local ws = websocket.new_from_uri(url)
assert(ws:connect())
local cpu, started = job.cpu_us(), cqueues.monotime()
local reading = {}
for index = 1, streams do
  local id = job.new_id()
  reading[id] = { expected = 1, n = 0, pieces = {} }
  assert(ws:send(job.envelope("stream_request", id, 1,
    { index = index, count = count })))
end
read_all(ws, reading)
local elapsed = cqueues.monotime() - started
cpu = job.cpu_us() - cpu
assert(ws:send(cjson.encode { type = "usage" }))
local other = cjson.decode((assert(ws:receive())))
ws:close()
local total = streams * count
print(cjson.encode {
  envelopes = total,
  envelopes_per_s = math.floor(total / elapsed),
  client_cpu_us_per_envelope = cpu / total,
  server_cpu_us_per_envelope = other.cpu_us / total,
})
