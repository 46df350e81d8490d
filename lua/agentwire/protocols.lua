--- The three protocols by kind, and what the core has to know of their message
--- types. A new type is declared in its protocol module; `define` tells each
--- loop's core about all of them, once.
local flags = require("agentwire.core").types

local M = {
  provider = require("agentwire.provider.protocol"),
  agent = require("agentwire.agent.protocol"),
  tool = require("agentwire.tool.protocol"),
}

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
    define_set(loop, kind, protocol.opens, flags.OPENS)
    define_set(loop, kind, protocol.ends, flags.ENDS)
    for _, name in ipairs(ERRORS) do
      loop:define(kind, name, flags.ZERO)
    end
    for _, name in ipairs(FLOATING) do
      -- A goodbye that ends a scope is one of its numbered messages.
      loop:define(kind, name, protocol.ends[name] and flags.ZERO or flags.FLOATS)
    end
    define_set(loop, kind, protocol.states, flags.STATE)
    define_set(loop, kind, protocol.urgent, flags.URGENT)
    loop:restartable(kind, protocol.restart == true)
  end
end

return M
