-- COUNT envelopes from one end to the other, both in this process, over a
-- WebSocket on loopback: what is counted by run.sh.
--
--   lua hop.lua COUNT
local aw = require("agentwire")

local count = tonumber(arg[1])
local DELTA = { content_index = 0, delta = "fifteen letters" }

local function serve(channel)
  assert(channel:receive())
  for _ = 1, count do
    assert(channel:send("text_delta", DELTA))
  end
  assert(channel:send("result", { type = "result" }))
end

aw.run(function()
  local server = assert(aw.listen({ url = "ws://127.0.0.1:0", access = false },
    function(conn)
      conn:serve("provider", serve)
    end))
  local conn = assert(aw.connect(server.url))
  local channel = assert(conn:open("provider"))
  assert(channel:send("stream_request", {}))
  local event, seen = assert(channel:receive()), 0
  while event.type ~= "result" do
    seen = seen + 1
    event = assert(channel:receive())
  end
  assert(seen == count)
  conn:close()
  server:close()
end)
