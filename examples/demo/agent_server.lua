-- The demo's agent: asks the provider server, runs the tools that tool servers
-- register with it, and serves sessions to clients.
--
--   lua examples/demo/agent_server.lua [PORT] [PROVIDER]
--
-- PORT is 7450 by default, 0 takes a free one; PROVIDER is a port or a URL,
-- 7451 by default. Prints its URL on one line when it is ready.
local aw = require("agentwire")

local function url_of(place)
  return place:find("^%d+$") and "ws://127.0.0.1:" .. place or place
end

aw.run(function()
  local provider = assert(aw.connect(url_of(arg[2] or "7451")))
  -- Tool servers dial in and offer what they have: the pool is all of it.
  local pool = aw.tool.pool()
  local server = assert(aw.serve {
    listen = "ws://127.0.0.1:" .. (arg[1] or "7450"),
    agent = aw.agent.service {
      provider = provider:provider(),
      model = "scripted/scripted",
      system_prompt = "Answer questions about the files that you can see.",
      tools = pool,
      tool_timeout_ms = 30000,
    },
    pool = pool,
  })
  print(server.url)
  io.stdout:flush()
  server:wait_closed()
end)
