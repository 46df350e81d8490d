--- What nobody holds any more is given up: a guard lives as long as the object
--- that keeps it, and says so when both are collected. Channels, sessions, a
--- run's events and executions have one. What it calls must not refer to its
--- object, or nothing is ever collected.
local compat = require("agentwire._compat")
local host = require("agentwire.host")

local M = {}

---@class agentwire.Guard
local Guard = {}
Guard.__index = Guard

local function run(guard)
  local release = guard.release
  if release then
    guard.release = nil
    release()
  end
end

--- Has `release()` called, outside of any task, once the guard is collected. It
--- must not hold the object that keeps the guard.
---@param release fun()
---@return table guard keep it in the object
---@return agentwire.Guard state `dismiss` it when the object ends by itself
function M.new(release)
  local state, current = setmetatable({ release = release }, Guard),
    host.current()
  local anchor = compat.on_collect(function()
    if state.release and not current._closed then
      -- Not from here: a finalizer may run in the middle of anything.
      current:schedule(run, state)
    end
  end)
  return anchor, state
end

function Guard:dismiss()
  self.release = nil
end

return M
