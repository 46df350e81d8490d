-- The chain's agent server.
--
--   lua agent.lua PROVIDER [EXECUTOR [OWN]]
--
-- Ports; without an executor's, or with "-", tool servers dial. OWN is where it
-- listens, anywhere if it is not given.
local aw = require("agentwire")

aw.run(function()
  local provider = assert(aw.connect("ws://127.0.0.1:" .. arg[1]))
  local dials = not arg[2] or arg[2] == "-"
  local pool = dials and aw.tool.pool() or nil
  local executor = not dials and assert(aw.connect("ws://127.0.0.1:" .. arg[2]))
  local server = assert(aw.serve {
    listen = "ws://127.0.0.1:" .. (arg[3] or 0),
    agent = aw.agent.service {
      provider = provider:provider(), model = "scripted/scripted",
      tools = pool or executor:tool(), coalesce = false,
    },
    pool = pool,
  })
  print("port " .. server.port)
  io.stdout:flush()
  server:wait_closed()
end)
