--- Small things that are done to tables in many places: copies of flat ones
--- (members are shared with what was copied, marks such as a metatable are
--- not), and taking a value out of a list.
local M = {}

--- A new table: the members of `base`, and over them those of `over`.
---@param base table?
---@param over table?
---@return table
function M.over(base, over)
  local made = {}
  for name, value in pairs(base or {}) do
    made[name] = value
  end
  for name, value in pairs(over or {}) do
    made[name] = value
  end
  return made
end

---@param from table?
---@return table
function M.copy(from)
  return M.over(from, nil)
end

--- Takes a value out of a list, once.
---@param list any[]
---@param value any
---@return boolean removed
function M.remove(list, value)
  for index, each in ipairs(list) do
    if each == value then
      table.remove(list, index)
      return true
    end
  end
  return false
end

return M
