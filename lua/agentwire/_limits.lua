--- The limits of a connection, the same at both ends. `connect`, `pair` and
--- `listen` take them all. Their list is the core's (aw_mux_limit_list.h);
--- docs/connection.md explains them. 0 is the default.
local core = require("agentwire.core")
local options = require("agentwire._options")

local M = {}

--- A number of things, or of milliseconds, as the core takes it.
M.COUNT = options.integer(0, 2 ^ 31 - 1)

--- A size in bytes, as the core takes it.
M.SIZE = options.integer(0, 2 ^ 40)

-- A line for each of the core's list, for whoever reads and for editors.
---@class agentwire.Limits
---@field depth_max integer? JSON nesting, 128
---@field values_max integer? JSON values and member names of a message, 262144
---@field scopes_max integer? open scopes, 10000
---@field tombs_max integer? ended scopes that are remembered, 1024
---@field window_messages integer? on their way in one scope, 64
---@field window_bytes integer? the same in bytes, 256 KiB
---@field inbound_bytes integer? for all scopes together, 4 MiB
---@field log_messages integer? kept by a scope until acknowledged, 4096
---@field log_bytes integer? the same in bytes, 1 MiB
---@field session_bytes integer? for all scopes together, 8 MiB
---@field control_bytes integer? unsequenced messages that wait, 64 KiB
---@field window_ms integer? a server's session without a connection, 120000
---@field message_max integer? bytes of a message that comes in, 16 MiB

local function kinds_of(limits)
  local kinds = {}
  for name, limit in pairs(limits) do
    kinds[name] = options.integer(0, limit.most)
  end
  return kinds
end

M.MUX = options.spec("limits", kinds_of(core.limits))

return M
