--- A call whose caller is cancelled has no result that anybody could close:
--- what it has made by then is undone.
local M = {}

local function conclude(undo, returned, ...)
  if not returned then
    undo()
    error((...), 0)
  end
  return ...
end

--- Runs `fn(...)`. When that raises, `undo()` is called, and it is raised
--- again.
---@async
---@param undo fun() must not wait
---@param fn function
---@return any ... what `fn` returns
function M.unless_returned(undo, fn, ...)
  return conclude(undo, pcall(fn, ...))
end

local function conclude_always(undo, returned, ...)
  undo()
  if not returned then
    error((...), 0)
  end
  return ...
end

--- Runs `fn(...)`, then `undo()`, whether it returned or raised.
---@async
---@param undo fun() must not wait
---@param fn function
---@return any ... what `fn` returns; what it raises is raised
function M.always(undo, fn, ...)
  return conclude_always(undo, pcall(fn, ...))
end

return M
