-- A server over a real WebSocket on loopback, and a client of it, in one
-- process and one loop.
local aw = require("agentwire")
local link = require("spec.support.link")

local M = {}

--- How far a spec goes: `AW_SMALL=1` asks for a tenth (valgrind).
function M.scaled(count)
  return os.getenv("AW_SMALL") == "1" and math.ceil(count / 10) or count
end

--- Runs `body(client, server_connection, server)` with both ends connected.
--- `attach(conn)` is called for each connection that the server accepts.
function M.run(options, attach, body)
  link.run(function()
    local accepted
    local listen = { url = options.listen or "ws://127.0.0.1:0" }
    for key, value in pairs(options.server or {}) do
      listen[key] = value
    end
    local server = assert(aw.listen(listen, function(conn)
      accepted = conn
      attach(conn)
    end))
    local client = assert(aw.connect(server.url, options.client))
    link.eventually(function()
      return accepted
    end)
    body(client, accepted, server)
    client:close()
    client:wait_closed(2000)
    server:close()
  end)
end

return M
