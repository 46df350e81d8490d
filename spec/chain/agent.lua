-- The chain's agent server.
--
--   lua agent.lua PROVIDER [EXECUTOR]     ports; without one, tool servers dial
local aw = require("agentwire")

aw.run(function()
  local provider = assert(aw.connect("ws://127.0.0.1:" .. arg[1]))
  local pool = not arg[2] and aw.tool.pool() or nil
  local executor = arg[2] and assert(aw.connect("ws://127.0.0.1:" .. arg[2]))
  local server = assert(aw.serve {
    listen = "ws://127.0.0.1:0",
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
