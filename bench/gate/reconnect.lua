-- Connections that are cut in the middle of streams, by either end in turn:
--
--   lua5.4 reconnect.lua CUTS
--
-- Each cut comes after further events have arrived, and counts as a success
-- when the session is resumed within the deadline. The readers do not know.
local aw = require("agentwire")

local CUTS = tonumber(arg[1])
local STREAMS = 4
local EVENTS_BETWEEN_CUTS = 20
local DEADLINE_MS = 5000

local count = { events = 0, ordering_violations = 0, lost_streams = 0 }
local stopping = false
local far -- the server's end
local progress, reopened = aw.task.waiter("events"), aw.task.waiter("open")
local target

local function serve_stream(channel)
  assert(channel:receive())
  local number = 0
  while not stopping do
    number = number + 1
    if not channel:send("text_delta", { content_index = 0, delta = number })
    then
      return
    end
    if number % 16 == 0 then
      aw.task.yield()
    end
  end
  channel:send("result", { type = "result", last = number })
end

local function take(event, expected)
  local is_right = event.sequence == expected
    and (event.delta or event.last + 1) == expected
  if not is_right then
    count.ordering_violations = count.ordering_violations + 1
  end
  count.events = count.events + 1
  if count.events == target then
    progress:wake()
  end
end

local function read_stream(conn)
  local channel = assert(conn:open("provider"))
  assert(channel:send("stream_request", {}))
  local expected = 1
  while true do
    local event = channel:receive(DEADLINE_MS * 2)
    if not event then
      count.lost_streams = count.lost_streams + 1
      return
    end
    take(event, expected)
    if event.type == "result" then
      return
    end
    expected = event.sequence + 1
  end
end

local function await(waiter)
  return select(3, waiter:wait(DEADLINE_MS)) ~= "timeout"
end

local function cut_once(conn, index)
  target = count.events + EVENTS_BETWEEN_CUTS
  if not await(progress) then
    return false
  end
  reopened:reset();
  (index % 2 == 0 and conn or far):cut("by the gate")
  return await(reopened)
end

local function watch(conn)
  conn:on_state(function(event)
    if event.type == "open" then
      reopened:wake()
    end
  end)
end

aw.run(function()
  local server = assert(aw.listen({ url = "ws://127.0.0.1:0", access = false },
    function(conn)
      far = conn
      conn:serve("provider", serve_stream)
    end))
  local conn = assert(aw.connect(server.url, {
    reconnect = { min_ms = 1, max_ms = 10 },
  }))
  watch(conn)
  local readers = {}
  for i = 1, STREAMS do
    readers[i] = aw.spawn(read_stream, conn)
  end
  local successes = 0
  for i = 1, CUTS do
    if not cut_once(conn, i) then
      break -- the rest count as failed: nothing here is to be trusted now
    end
    successes = successes + 1
  end
  stopping = true
  aw.task.all(readers)
  count.reconnects, count.reconnect_successes = CUTS, successes
  print(aw.json.encode(count))
  conn:close()
  server:close()
end)
