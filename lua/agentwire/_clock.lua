--- The wall clock of timestamps and durations on the wire.
local core = require("agentwire.core")

local M = {}

--- Milliseconds since the epoch.
---@return integer
M.now_ms = core.wall_ms

return M
