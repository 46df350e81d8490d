--- One tool scope in both roles: what the peer asks for is executed from a
--- source and answered here, what we ask of the peer is `_calls`. Used by both
--- doors of `executor`. Each message of the peer gets one answer, or is one;
--- executions, cancellations and answers never wait for a source's list.
local calls = require("agentwire.tool._calls")
local compat = require("agentwire._compat")
local json = require("agentwire.json")
local protocol = require("agentwire.tool.protocol")
local task = require("agentwire.task")

local M = {}

---@class agentwire.ToolScope
local Scope = {}
Scope.__index = Scope

---@param channel agentwire.Channel
---@param source table a tool source
---@param running agentwire.ToolRuns of the connection
---@param options agentwire.ExecutorOptions
---@return agentwire.ToolScope
function M.new(channel, source, running, options)
  channel:rest()
  return setmetatable({
    channel = channel,
    calls = calls.new(channel, options),
    _source = source,
    _runs = running,
    _pool = options.pool,
  }, Scope)
end

function Scope:_refuse(event, reply_to, code, message)
  local id = type(event.execution_id) == "string" and event.execution_id
  self.channel:send("tool_error", {
    execution_id = id or reply_to or protocol.NIL_ID,
    code = protocol.wire_code(code),
    message = message,
  }, reply_to)
end

local SERVE = {}

local function send_list(scope, event, reply_to)
  local list, why, code = scope._source:list(event.prefix)
  if type(list) ~= "table" then
    return scope:_refuse(event, reply_to, code, why or "there is no list")
  end
  local tools = {}
  for _, tool in ipairs(list) do
    if not event.supports_streaming or tool.supports_streaming then
      tools[#tools + 1] = tool
    end
  end
  scope.channel:send("tool_list_response", { tools = json.array(tools) },
    reply_to)
end

--- In a task of its own: the source may be remote, and executions and their
--- cancellations do not wait for it.
function SERVE.tool_list(scope, event, reply_to)
  local release, why = scope._runs:ask()
  if not release then
    return scope:_refuse(event, reply_to, "rate_limited", why)
  end
  local lister = task.spawn(send_list, scope, event, reply_to)
  lister:defer(function()
    release()
    local code
    why, code = lister:failure()
    if code == "task_error" then
      scope:_refuse(event, reply_to, "internal_error", why)
    end
  end)
end

function SERVE.tool_execute(scope, event, reply_to)
  scope._runs:execute(scope.channel, event, reply_to)
end

function SERVE.tool_cancel(scope, event, reply_to)
  scope._runs:cancel(scope.channel, event, reply_to)
end

function SERVE.tool_status(scope, event, reply_to)
  scope._runs:status(scope.channel, event, reply_to)
end

--- Not in a task of its own: a tool is registered before it can be taken back.
local function register(scope, event)
  return scope._pool:add(event.tool, scope.calls, {
    server_name = event.server_name, instance = event.instance,
  })
end

function SERVE.tool_register(scope, event, reply_to)
  if not scope._pool then
    return scope:_refuse(event, reply_to, "permission_denied",
      "tools cannot be registered here")
  end
  local release, busy = scope._runs:ask()
  if not release then
    return scope:_refuse(event, reply_to, "rate_limited", busy)
  end
  local ok, registered, why, code = pcall(register, scope, event)
  release()
  if not ok then
    error(registered, 0)
  elseif not registered then
    return scope:_refuse(event, reply_to, code, why)
  end
  scope.channel:send("tool_registered", registered, reply_to)
end

function SERVE.tool_unregister(scope, event, reply_to)
  if not scope._pool or not scope._pool:remove(event.tool_id, scope.calls) then
    return scope:_refuse(event, reply_to, "tool_not_found",
      "not registered here: " .. event.tool_id)
  end
  scope.channel:send("tool_unregistered", { tool_id = event.tool_id },
    reply_to)
end

function SERVE.ping(scope, _, reply_to)
  scope.channel:send("pong", { ping_id = reply_to }, reply_to)
end

local function dispatch(scope, event)
  local channel = scope.channel
  local reply_to = channel:message_id()
  if scope.calls:receive(event, channel:reply_to()) or event.type == "refused"
  then
    return -- what could not be taken was answered when it came
  end
  local ok, why, code = protocol.check(event)
  local serve = SERVE[event.type]
  if ok and serve then
    return serve(scope, event, reply_to)
  end
  scope:_refuse(event, reply_to, code or "invalid_request", why)
end

--- Ends what was asked of the peer, and takes out what it registered.
--- Idempotent.
---@param message string
---@param code string
function Scope:leave(message, code)
  self.calls:close(message, code)
  if self._pool then
    self._pool:remove_all(self.calls)
  end
end

--- Serves until the channel is over.
---@async
function Scope:serve()
  while true do
    local event, message, code = self.channel:receive()
    if not event then
      return self:leave(message, code)
    end
    dispatch(self, event)
    compat.clear_stack() -- of executions
  end
end

return M
