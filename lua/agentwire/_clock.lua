--- The wall clock, for timestamps and durations on the wire alone: it jumps.
--- What waits goes by the host's clock.
local core = require("agentwire.core")

local M = {}

--- Milliseconds since the epoch.
---@return integer
M.now_ms = core.wall_ms

return M
