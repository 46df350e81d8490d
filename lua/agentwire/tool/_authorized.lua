--- A tool source as one peer may see and use it: without the tools that
--- `authorize` denies it, and with its identity in each call. What serves a
--- peer (`executor`, an agent's session) puts one before its source. Whatever
--- goes wrong in asking denies.

local host = require("agentwire.host")
local tables = require("agentwire._tables")
local task = require("agentwire.task")
local wait = require("agentwire._wait")

local M = {}

--- Asks a hook of the server's. One that raises denies.
---@async
---@param authorize (fun(connection: agentwire.Connection, tool: table): any, string?)|nil
---@param connection agentwire.Connection
---@param tool table `name` at least
---@return boolean allowed
---@return string? why
function M.ask(authorize, connection, tool)
  if not authorize then
    return true
  end
  local ok, allowed, why = pcall(authorize, connection, tool)
  if ok then
    return allowed and true or false, why
  elseif task.is_cancelled(allowed) then
    error(allowed, 0)
  end
  host.current():report(wait.error_text(allowed), "authorize")
  return false
end

---@class agentwire.GuardedSource
local Guard = {}
Guard.__index = Guard

---@param source table a tool source
---@param authorize function|nil
---@param connection agentwire.Connection the peer's
---@return agentwire.GuardedSource
function M.new(source, authorize, connection)
  return setmetatable({
    name = source.name, -- as sources are called in reports
    _source = source,
    _authorize = authorize,
    _connection = connection,
  }, Guard)
end

---@async
---@param prefix? string
---@return table[]|nil metadata
---@return string? message
---@return string? code
function Guard:list(prefix)
  local list, why, code = self._source:list(prefix)
  if not list or not self._authorize then
    return list, why, code
  end
  local allowed = {}
  for _, tool in ipairs(list) do
    if M.ask(self._authorize, self._connection, tool) then
      allowed[#allowed + 1] = tool
    end
  end
  return allowed
end

--- Denied before it is looked up, so that a denial tells nothing of what there
--- is.
---@async
---@param call agentwire.ToolCall
---@return agentwire.ToolResult|nil result
---@return string? message
---@return string? code permission_denied
function Guard:execute(call)
  local allowed, why = M.ask(self._authorize, self._connection, {
    name = call.name, args_json = call.args_json,
  })
  if not allowed then
    return nil, why or "this tool is not for you: " .. tostring(call.name),
      "permission_denied"
  end
  local own = tables.copy(call)
  own.identity = self._connection.identity -- nil in place of any other, too
  return self._source:execute(own)
end

return M
