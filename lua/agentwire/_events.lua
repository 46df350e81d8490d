--- What has happened, as the core tells it: a set of bits for each object that
--- has news, named here as in the core's headers. `host` hands on the sets of a
--- connection, a hub, an exchange, lines or a fetch, a connection those of its
--- channels. Nobody writes a bit as a number.
local events = require("agentwire.core").events

local M = {
  ---@type { UP: integer, DOWN: integer, NEWS: integer, CLOSED: integer }
  conn = events.conn,
  ---@type { READABLE: integer, WRITABLE: integer, ENDED: integer, OPENED: integer }
  channel = events.channel,
  ---@type table<"ACCEPTED"|"REQUESTED"|"FAILED"|"WITHDRAWN"|"EXCHANGE", integer>
  hub = events.hub,
  ---@type { READABLE: integer, WRITABLE: integer, OVER: integer }
  exchange = events.exchange,
  ---@type { READABLE: integer, WRITABLE: integer, SKIPPED: integer, OVER: integer }
  lines = events.lines,
  ---@type { HEAD: integer, BODY: integer, DONE: integer }
  fetch = events.fetch,
}

--- Whether a set has a bit. LuaJIT has no bit operators, and its bit library is
--- not in Lua 5.4.
---@param set integer
---@param bit integer
---@return boolean
function M.has(set, bit)
  return set % (2 * bit) >= bit
end

return M
