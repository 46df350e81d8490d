---A call whose caller is cancelled has no result that anybody could close: what
---it has made by then is undone.
local M = {}

local function conclude(undo, returned, ...)
  if not returned then
    undo()
    error((...), 0)
  end
  return ...
end

---Runs `fn(...)`. When that raises, `undo()` is called, and it is raised again.
---@async
---@param undo fun() must not wait
---@param fn function
---@return any ... what `fn` returns
function M.unless_returned(undo, fn, ...)
  return conclude(undo, pcall(fn, ...))
end

return M
