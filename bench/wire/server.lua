-- The standard job's server: a task for each stream sends its deltas.
local aw = require("agentwire")
local usage = require("wire.usage")
local DELTA = require("wire.job").DELTA

local marks = { cpu = 0, idle = 0 }
local active = 0

local function serve_stream(channel)
  local request = assert(channel:receive())
  if active == 0 then
    marks.start = marks.start or usage.cpu_us()
  end
  active = active + 1
  for _ = 1, request.count do
    assert(channel:send("text_delta", { content_index = 0, delta = DELTA }))
  end
  assert(channel:send("result", { type = "result" }))
  active = active - 1
  marks.finish = usage.cpu_us()
end

-- Asked at the end, by a second protocol on the same connection.
local function report(channel)
  assert(channel:receive())
  local idle = usage.cpu_us() -- the client is silent from here on
  assert(channel:receive())
  channel:send("agent_event", {
    cpu_us = marks.finish - marks.start,
    idle_us = usage.cpu_us() - idle,
    peak_rss_kib = usage.peak_rss_kib(),
  })
  channel:receive(5000)
end

aw.run(function()
  -- Nobody is asked in: that costs the wire nothing, and not every engine can.
  local server = assert(aw.listen({ url = arg[1], access = false }, function(conn)
    conn:serve("provider", serve_stream)
    conn:serve("agent", report)
    conn:on_state(function(event)
      if event.type == "closed" then
        marks.done:wake()
      end
    end)
  end))
  marks.done = aw.task.waiter("the client's end")
  io.stdout:write(server.url, "\n")
  io.stdout:flush()
  marks.done:wait()
  server:close()
end)
