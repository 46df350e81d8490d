--- The three protocols by kind, and what the core has to know of their types.
local M = {
  provider = require("agentwire.provider.protocol"),
  agent = require("agentwire.agent.protocol"),
  tool = require("agentwire.tool.protocol"),
}

-- Flags of csrc/core/mux/aw_types.h.
local OPENS, ENDS, ZERO, FLOATS, STATE = 1, 2, 4, 8, 16

-- Unsequenced whatever number they carry (docs/wire.md section 3).
local FLOATING = { "ping", "pong", "goodbye", "sync", "sync_request" }

-- Errors about a scope that does not exist carry sequence 0.
local ERRORS = { "nack", "stream_error", "agent_error", "tool_error" }

local defined = setmetatable({}, { __mode = "k" })

local function define_set(loop, kind, names, flag)
  for name in pairs(names or {}) do
    loop:define(kind, name, flag)
  end
end

--- Tells a loop's core about the message types, once.
---@param loop userdata
function M.define(loop)
  if defined[loop] then
    return
  end
  defined[loop] = true
  for _, kind in ipairs { "provider", "agent", "tool" } do
    local protocol = M[kind]
    define_set(loop, kind, protocol.opens, OPENS)
    define_set(loop, kind, protocol.ends, ENDS)
    for _, name in ipairs(ERRORS) do
      loop:define(kind, name, ZERO)
    end
    for _, name in ipairs(FLOATING) do
      -- A goodbye that ends a scope is one of its numbered messages.
      loop:define(kind, name, protocol.ends[name] and ZERO or FLOATS)
    end
    define_set(loop, kind, protocol.states, STATE)
    loop:restartable(kind, protocol.restart == true)
  end
end

return M
