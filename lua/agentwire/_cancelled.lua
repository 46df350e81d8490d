--- What is raised in a task that is cancelled: an error value, to be told from
--- all others.
local M = {}

---@class agentwire.Cancelled
---@field reason string?
local Cancelled = {}
Cancelled.__index = Cancelled

function Cancelled:__tostring()
  if self.reason == nil then
    return "cancelled"
  end
  return "cancelled: " .. tostring(self.reason)
end

---@param reason string?
---@return agentwire.Cancelled
function M.new(reason)
  return setmetatable({ reason = reason }, Cancelled)
end

--- Whether an error value is a cancellation.
---@param err any
---@return boolean
function M.is_cancelled(err)
  return type(err) == "table" and getmetatable(err) == Cancelled
end

return M
