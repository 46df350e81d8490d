--- Copies of flat tables: options, messages, lists. Members are shared with what
--- was copied, marks (a metatable) are not.
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

return M
