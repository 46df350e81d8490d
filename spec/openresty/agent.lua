-- The agent server of the specs with nginx, behind a Unix socket; tool servers
-- dial in.
--
--   lua agent.lua URL MODEL_URL
local aw = require("agentwire")

aw.run(function()
  local pool = aw.tool.pool()
  local server = assert(aw.serve {
    listen = arg[1], path = "*", trusted_proxies = { "unix" },
    ping_interval_ms = 600000, pool = pool,
    agent = aw.agent.service {
      provider = assert(aw.connect(arg[2])):provider(),
      model = "words/words", tools = pool, coalesce = false,
    },
  })
  print("ready")
  io.stdout:flush()
  server:wait_closed()
end)
