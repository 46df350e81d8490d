--- Tools that run at the peer, over one tool scope of a connection, which is
--- opened by the first use and again after it ended. A tool source: executions
--- interleave, and each of them ends exactly once (`_calls`).

local calls = require("agentwire.tool._calls")
local class = require("agentwire._class")
local host = require("agentwire.host")
local options = require("agentwire._options")
local sources = require("agentwire.tool._source")

local M = {}

-- How long a list or status request waits for its answer.
local TIMEOUT_MS = 30000

---@class agentwire.ToolClientOptions
---@field timeout_ms number? of list and status, 30 000
---@field max_open integer? executions at once, 1024
---@field max_updates integer? of an execution, kept for its reader, 256
---@field grace_ms number? beyond a call's timeout, for its answer, 5000

local OPTIONS = options.spec("tool.client", {
  timeout_ms = options.duration_ms,
  max_open = options.count,
  max_updates = options.count,
  grace_ms = options.duration_ms,
})

---@class agentwire.ToolClient
local Client = {}
Client.__index = Client

function Client:__tostring()
  return "tool client of " .. tostring(self._connection)
end

---@param connection agentwire.Connection
---@param given? agentwire.ToolClientOptions
---@return agentwire.ToolClient
function M.new(connection, given)
  options.argument("tool.client", "connection", options.connection, connection)
  given = OPTIONS:check(given)
  return setmetatable({
    _connection = connection,
    _options = given,
    _timeout_ms = given.timeout_ms or TIMEOUT_MS,
    _calls = nil,
    _channel = nil,
  }, Client)
end

--- Reads the scope until it ends. A refused message is answered to the request
--- or execution that it belongs to; what belongs to none is dropped.
local function read(channel, open)
  while true do
    local event, message, code = channel:receive()
    if not event then
      return open:close(message, code)
    end
    open:receive(event, channel:reply_to())
  end
end

--- The scope, opened by the first use and again after the last one ended.
local function ready(self)
  if self._channel and not self._channel:is_ended() then
    return self._calls
  end
  local channel, message, code = self._connection:open("tool")
  if not channel then
    return nil, message, code
  end
  local open = calls.new(channel, self._options)
  self._channel, self._calls = channel, open
  host.current():spawn(read, channel, open):defer(function()
    open:close("the tool scope has ended", "closed")
    channel:close()
  end)
  return open
end

--- Starts an execution.
---@async
---@param call agentwire.ToolCall
---@return agentwire.ToolExecution|nil execution
---@return string? message
---@return string? code
function Client:start(call)
  sources.check_call("tool:start", call)
  local open, message, code = ready(self)
  if not open then
    return nil, message, code
  end
  return open:start(call)
end

--- Runs a tool and waits for its result: the interface of every tool source.
---@async
---@param call agentwire.ToolCall
---@return agentwire.ToolResult|nil result
---@return string? message
---@return string? code the tool protocol's; cancelled; closed
function Client:execute(call)
  sources.check_call("tool:execute", call)
  local open, message, code = ready(self)
  if not open then
    return nil, message, code
  end
  return open:execute(call)
end

--- The peer's tools.
---@async
---@param prefix? string
---@return table[]|nil metadata
---@return string? message
---@return string? code
function Client:list(prefix)
  options.optional("tool:list", "prefix", options.string, prefix)
  local open, message, code = ready(self)
  if not open then
    return nil, message, code
  end
  local event
  event, message, code =
    open:request("tool_list", { prefix = prefix }, self._timeout_ms)
  if not event then
    return nil, message, code
  end
  return event.tools
end

--- How an execution of this client is doing.
---@async
---@param execution_id string
---@return table|nil status {tool_name, status, started_at, completed_at?}
---@return string? message
---@return string? code
function Client:status(execution_id)
  options.argument("tool:status", "execution_id", options.filled, execution_id)
  local open, message, code = ready(self)
  if not open then
    return nil, message, code
  end
  return open:request("tool_status", { execution_id = execution_id },
    self._timeout_ms)
end

--- Ends the scope; open executions end with "closed". Idempotent.
---@param reason? string
function Client:close(reason)
  options.optional("tool:close", "reason", options.string, reason)
  local channel = self._channel
  if not channel then
    return
  end
  self._channel = nil
  self._calls:close(reason or "the tool client was closed", "closed")
  channel:try_send("goodbye", { reason = reason })
  channel:close()
end

class.seal(Client, "tools")

return M
