--- What every tool source takes for a call.
local json = require("agentwire.json")
local options = require("agentwire._options")

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

--- Raises for a call that is none.
---@param title string the entry point
---@param call agentwire.ToolCall
return function(title, call)
  options.argument(title, "call", options.table, call)
  CALL:check(call)
  options.argument(title, "name", options.filled, call.name)
end
