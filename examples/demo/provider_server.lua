-- The demo's model provider: the embedded scripted model behind a socket.
--
--   lua examples/demo/provider_server.lua [PORT]      7451; 0 takes a free one
--
-- Prints its URL on one line when it is ready.
local aw = require("agentwire")
local scripted = require("agentwire.providers.scripted")

-- Slow enough that one sees the answer being written.
local WORD_DELAY_MS = 12

aw.run(function()
  local server = assert(aw.serve {
    listen = "ws://127.0.0.1:" .. (arg[1] or "7451"),
    provider = scripted.new { word_delay_ms = WORD_DELAY_MS },
  })
  print(server.url)
  io.stdout:flush()
  server:wait_closed()
end)
