--- The limits of a connection, the same at both ends: names that csrc/lua reads
--- (aw_lua_mux_options) and docs/connection.md explains. `connect`, `pair` and
--- `listen` take them all. 0 is the default.
local options = require("agentwire._options")

local M = {}

--- A number of things, or of milliseconds, as the core takes it.
M.COUNT = options.integer(0, 2 ^ 31 - 1)

--- A size in bytes, as the core takes it.
M.SIZE = options.integer(0, 2 ^ 40)

--- Bytes of one message: the core's records count in 32 bits.
M.MESSAGE = options.integer(0, 256 * 1024 * 1024)

--- Values of one message.
M.VALUES = options.integer(0, 2 ^ 24)

local COUNT, SIZE = M.COUNT, M.SIZE

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

M.MUX = options.spec("limits", {
  depth_max = COUNT,
  values_max = M.VALUES,
  scopes_max = SIZE,
  tombs_max = SIZE,
  window_messages = COUNT,
  window_bytes = SIZE,
  inbound_bytes = SIZE,
  log_messages = COUNT,
  log_bytes = SIZE,
  session_bytes = SIZE,
  control_bytes = SIZE,
  window_ms = COUNT,
  message_max = M.MESSAGE,
})

return M
