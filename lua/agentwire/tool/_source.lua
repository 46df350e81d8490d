--- What a tool source is, to whoever calls it: a registry, a client, a pool, or
--- anything with `execute` and `list`. It may be somebody else's code, so that
--- what it raises is a failure of the call and nothing more.
local json = require("agentwire.json")
local options = require("agentwire._options")
local problems = require("agentwire._problem")
local task = require("agentwire.task")

local M = {}

--- The kind of an option that takes one.
M.kind = options.having("a tool source", "execute")

local CALL = options.spec("a tool call", {
  name = options.filled,
  args = options.kind("a table", function(value)
    return type(value) == "table" or value == json.null
  end),
  args_json = options.string,
  tool_call_id = options.string,
  execution_id = options.string,
  timeout_ms = options.duration_ms,
  on_update = options.func,
  identity = options.any,
})

--- Raises at the caller's line for a call that is none: what each of our
--- sources does first.
---@param title string the entry point
---@param call agentwire.ToolCall
function M.check_call(title, call)
  options.argument(title, "call", options.table, call)
  CALL:check(call)
  options.argument(title, "name", options.filled, call.name)
end

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
