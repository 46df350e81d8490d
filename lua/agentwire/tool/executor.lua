--- Serves tools to a peer: in the scopes that the peer opens (`attach`), or in
--- one that this side opens to offer what it has (`register`).

local class = require("agentwire._class")
local calls = require("agentwire.tool._calls")
local guard = require("agentwire.tool._guard")
local host = require("agentwire.host")
local json = require("agentwire.json")
local misuse = require("agentwire._misuse")
local options_of = require("agentwire._options")
local pool = require("agentwire.tool.pool")
local protocol = require("agentwire.tool.protocol")
local runs = require("agentwire.tool._runs")
local task = require("agentwire.task")
local undo = require("agentwire._undo")
local wait = require("agentwire._wait")

local M = {}

--- A registry, a client, a pool, or whatever has `list` and `execute`.
M.SOURCE = options_of.having("a tool source", "execute")

M.POOL = options_of.having("a pool made by tool.pool", "remove_all")

local RUNS = options_of.spec("tool.attach", {
  max_executions = options_of.count,
  max_finished = options_of.count,
  max_finished_bytes = options_of.bytes,
})

local REGISTER = options_of.spec("tool.register", {
  name = options_of.filled,
  timeout_ms = options_of.duration_ms, -- of the registration, not of the runs
}, RUNS)

--- What `aw.serve` takes as `tool_options`.
M.OPTIONS = options_of.spec("tool_options", {
  authorize = options_of.func,
  max_open = options_of.count,
  max_updates = options_of.count,
  grace_ms = options_of.duration_ms,
  timeout_ms = options_of.duration_ms,
}, RUNS)

local ATTACH = options_of.spec("tool.attach", { pool = M.POOL }, M.OPTIONS)

-- How long a registration waits for its answer.
local TIMEOUT_MS = 30000

---@class agentwire.ToolScope one channel, in both roles: it executes and calls
local Scope = {}
Scope.__index = Scope

local function new_scope(channel, source, running, options)
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

local function leave(scope, message, code)
  scope.calls:close(message, code)
  if scope._pool then
    scope._pool:remove_all(scope.calls)
  end
end

local function serve_scope(scope)
  while true do
    local event, message, code = scope.channel:receive()
    if not event then
      return leave(scope, message, code)
    end
    dispatch(scope, event)
  end
end

---@class agentwire.ExecutorOptions
---@field pool agentwire.ToolPool? takes the tools that the peer registers (attach)
---@field authorize (fun(connection: agentwire.Connection, tool: table): any, string?)|nil
--- whether the peer may see and call a tool: `tool` has its `name`, in a list
--- also its metadata, in a call its `args_json`; may wait (attach)
---@field max_open integer? calls of the peer's tools at once, 1024 (attach)
---@field max_updates integer? updates kept for each of them, 256 (attach)
---@field grace_ms integer? for their time-outs to be reported, 5000 (attach)
---@field max_executions integer? running at once, 64
---@field max_finished integer? ended ones that a repeated id finds, 256
---@field max_finished_bytes integer? what their results hold, 4 MiB
---@field timeout_ms integer? for executions that bring none

--- Serves the tool scopes that the peer opens on this connection.
---@param connection table
---@param source table|nil a tool source; nil when only `options.pool` is wanted
---@param options? agentwire.ExecutorOptions
---@return agentwire.ToolRuns runs for its counters
function M.attach(connection, source, options)
  options_of.argument("tool.attach", "connection", options_of.connection,
    connection)
  options = ATTACH:check(options)
  source = source or options.pool
  if not source then
    misuse.raise("tool.attach: a tool source or a pool is expected")
  end
  options_of.argument("tool.attach", "source", M.SOURCE, source)
  source = guard.new(source, options.authorize, connection)
  local running = runs.new(source, options)
  connection:serve("tool", function(channel)
    local scope = new_scope(channel, source, running, options)
    task.defer(function()
      leave(scope, "the scope has ended", "closed")
    end)
    serve_scope(scope)
  end)
  return running
end

---@class agentwire.RegisterOptions
---@field name string? of this tool server: started again, it ends the calls that
--- it owed before, also if its old link still looks alive
---@field max_executions integer? running at once, 64
---@field max_finished integer? ended ones that a repeated id finds, 256
---@field max_finished_bytes integer? what their results hold, 4 MiB
---@field timeout_ms number? what each registration may take, 30000

---@class agentwire.ToolRegistration
local Registration = {}
Registration.__index = Registration

-- The life of a tool server is that of its connection: one that was started
-- again has another. Told by the id of the first scope it registered in.
local instances = setmetatable({}, { __mode = "k" })

local function instance_of(channel)
  local connection = channel.connection
  instances[connection] = instances[connection] or channel.id
  return instances[connection]
end

local function register_all(self, source)
  local list, why, code = source:list()
  if not list then
    return nil, why, code
  end
  for _, tool in ipairs(list) do
    local answer
    answer, why, code = self._scope.calls:request("tool_register", {
      tool = tool, server_name = self._name,
      instance = instance_of(self._scope.channel),
    }, self._timeout_ms)
    if not answer then
      return nil, tool.name .. ": " .. why, code
    end
    self.tool_ids[tool.name] = answer.tool_id
  end
  return self
end

--- Offers tools to the peer and executes what it asks for, in one scope that
--- this side opens: for a tool server that cannot be dialled. Returns when
--- every tool is registered; serving goes on until the connection or the
--- registration is closed.
---@async
---@param connection table
---@param source table a tool source
---@param options? agentwire.RegisterOptions
---@return agentwire.ToolRegistration|nil registration
---@return string? message
---@return string? code
function M.register(connection, source, options)
  options_of.argument("tool.register", "connection", options_of.connection,
    connection)
  options = REGISTER:check(options)
  options_of.argument("tool.register", "source", M.SOURCE, source)
  local channel, why, code = connection:open("tool")
  if not channel then
    return nil, why, code
  end
  local running = runs.new(source, RUNS:pick(options))
  local scope = new_scope(channel, source, running, {})
  local ended = wait.latch("the end of a registration")
  local server = host.current():spawn(serve_scope, scope)
  server:defer(function()
    leave(scope, "the registration has ended", "closed")
    channel:close()
    ended:set(true)
  end)
  local self = setmetatable({
    tool_ids = {},
    _scope = scope,
    _ended = ended,
    _name = options.name,
    _timeout_ms = options.timeout_ms or TIMEOUT_MS,
  }, Registration)
  local registered
  registered, why, code = undo.unless_returned(function()
    self:close("the caller was cancelled")
  end, register_all, self, source)
  if not registered then
    self:close(why)
    return nil, why, code
  end
  return self
end

--- Takes one tool back.
---@async
---@param name string
---@return true|nil ok
---@return string? message
---@return string? code
function Registration:unregister(name)
  local tool_id = self.tool_ids[name]
  if not tool_id then
    return nil, "not registered: " .. tostring(name), "tool_not_found"
  end
  local answer, why, code = self._scope.calls:request("tool_unregister",
    { tool_id = tool_id }, self._timeout_ms)
  if not answer then
    return nil, why, code
  end
  self.tool_ids[name] = nil
  return true
end

--- Waits until the peer no longer has these tools: the connection is over, the
--- peer has lost them (it was restarted), or `close` was called.
---@async
---@param timeout_ms? integer
---@return true|nil ok
---@return string? message
---@return string? code timeout
function Registration:wait_ended(timeout_ms)
  return self._ended:wait(timeout_ms)
end

--- Takes everything back and ends the scope. Idempotent.
---@param reason? string
function Registration:close(reason)
  local channel = self._scope.channel
  channel:try_send("goodbye", { reason = reason })
  channel:close()
end

--- A tool source made of what peers register; give it to `attach` as
--- `options.pool`.
M.pool = pool.new

class.seal(Registration, "registration")

return M
