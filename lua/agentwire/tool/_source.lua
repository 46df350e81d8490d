--- What a tool source is, to whoever calls it: a registry, a client, a pool, or
--- anything with `execute` and `list`. It may be somebody else's code, so that what
--- it raises is a failure of the call and nothing more.
local options = require("agentwire._options")
local problems = require("agentwire._problem")
local task = require("agentwire.task")

local M = {}

--- The kind of an option that takes one.
M.kind = options.having("a tool source", "execute")

--- Runs a tool of a source. A cancellation is passed on.
---@async
---@param source table
---@param call agentwire.ToolCall
---@return agentwire.ToolResult|nil result
---@return string? message
---@return string? code "internal_error": it raised
---@return any raised
function M.execute(source, call)
  local returned, result, message, code = pcall(source.execute, source, call)
  if returned then
    return result, message, code
  elseif task.is_cancelled(result) then
    error(result, 0)
  end
  return nil, problems.brief(result), "internal_error", result
end

return M
