-- The agents behind nginx: a server at a Unix socket that nginx alone may open.
-- Who asks, nginx has found out and says in a header.
--
--   lua examples/openresty/agents.lua URL
--
-- Prints a line when it is ready. The model is the scripted one.
local aw = require("agentwire")

local model = aw.providers.scripted.new {
  word_delay_ms = 20,
  decide = function(request)
    local messages = request.context.messages
    return { text = "You asked: " .. messages[#messages].content }
  end,
}

--- Whom nginx names. It takes this header from nobody else.
local function authenticate(request)
  local user = request.headers["x-agent-user"]
  if not user then
    return false, { status = 403 }
  end
  return { id = user }
end

aw.run(function()
  local server = assert(aw.serve {
    listen = arg[1] or "ws+unix:/run/agentwire/agents.sock",
    socket_mode = "660", -- nginx's workers are in the group of the folder
    path = "*", -- it is nginx that serves one path
    trusted_proxies = { "unix" },
    origins = { "http://127.0.0.1:8080" }, -- of pages that may open /agent
    authenticate = authenticate,
    agent = { provider = model, model = "scripted/scripted" },
  })
  print("ready")
  io.stdout:flush()
  server:wait_closed()
end)
