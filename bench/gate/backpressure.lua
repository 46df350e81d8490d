-- A reader that does not read, then reads everything:
--
--   lua5.4 backpressure.lua
--
-- agentwire.v1 stops the sender by credit, a base peer by pausing its socket;
-- the second is the engine's own work. Names each promise that was broken.
local aw = require("agentwire")
local usage = require("wire.usage")

local TOTAL, BLOCK = 48 * 1024, ("x"):rep(1024) -- KiB
-- Everything that may hold a message: the log and the output (1 MiB each), the
-- kernel's two buffers (up to 10 MiB on loopback), the inbox (4 MiB).
local HELD_MOST_KIB = 24 * 1024
local GROWTH_MOST_KIB = 32 * 1024
local QUIET_MS, DEADLINE_MS = 300, 20000

local failures = {}

local function check(name, what, ok)
  if not ok then
    table.insert(failures, name .. ": " .. what)
  end
end

local function serve_stream(state)
  return function(channel)
    assert(channel:receive())
    while state.sent < TOTAL do
      if not channel:send("text_delta", { content_index = 0, delta = BLOCK })
      then
        return
      end
      state.sent = state.sent + 1
    end
    channel:send("result", { type = "result" })
  end
end

-- No event says that a sender is stuck, so its counter has to stand still.
local function await_stall(state)
  local ok = aw.timeout(DEADLINE_MS, function()
    local before
    repeat
      before = state.sent
      aw.sleep(QUIET_MS)
    until state.sent == before and before > 0
    return true
  end)
  return ok == true
end

local function read_all(channel)
  local got, in_order = 0, true
  repeat
    local event = channel:receive(DEADLINE_MS)
    if not event then
      return got, in_order
    end
    got = got + 1
    in_order = in_order and event.sequence == got
  until event.type == "result"
  return got - 1, in_order
end

local function run(protocol)
  local state = { sent = 0 }
  local server = assert(aw.listen({ url = "ws://127.0.0.1:0", access = false },
    function(conn)
      conn:serve("provider", serve_stream(state))
    end))
  local conn = assert(aw.connect(server.url, { protocols = protocol }))
  local channel = assert(conn:open("provider"))
  local before = usage.peak_rss_kib()
  assert(channel:send("stream_request", {}))
  check(protocol, "the sender never stops", await_stall(state))
  local held = state.sent
  check(protocol, "more is held than all buffers have", held <= HELD_MOST_KIB)
  local got, in_order = read_all(channel)
  check(protocol, "messages are missing", got == TOTAL)
  check(protocol, "messages are out of order", in_order)
  local growth = usage.peak_rss_kib() - before
  -- A sanitizer keeps freed memory; AW_GATE_SANITIZED leaves this check out.
  check(protocol, "memory has grown beyond its bound",
    os.getenv("AW_GATE_SANITIZED") or growth <= GROWTH_MOST_KIB)
  conn:close()
  server:close()
  return { held_kib = held, growth_kib = growth }
end

aw.run(function()
  local extended, base = run("agentwire.v1"), run("makai.v1")
  print(aw.json.encode {
    backpressure_failures = #failures,
    backpressure_broken = table.concat(failures, "; "),
    extended_held_kib = extended.held_kib,
    extended_growth_kib = extended.growth_kib,
    base_held_kib = base.held_kib,
    base_growth_kib = base.growth_kib,
  })
end)
