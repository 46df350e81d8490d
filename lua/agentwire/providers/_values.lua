--- Looking into what an upstream sent, which may be anything: what is not what
--- it should be reads as absent.
local json = require("agentwire.json")

local M = {}

--- A text that is not empty.
---@param value any
---@return string|nil
function M.filled(value)
  return type(value) == "string" and value ~= "" and value or nil
end

--- An object, or an array.
---@param value any
---@return table|nil
function M.object(value)
  return type(value) == "table" and value ~= json.null and value or nil
end

--- Those elements of an array that are objects; of anything else none.
---@param value any
---@return table[]
function M.objects(value)
  local found = {}
  for _, each in ipairs(M.object(value) or {}) do
    found[#found + 1] = M.object(each)
  end
  return found
end

return M
