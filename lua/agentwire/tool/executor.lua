--- Serves tools to a peer: in the scopes that the peer opens (`attach`), or in
--- one that this side opens to offer what it has (`register`). Both put a
--- source behind scopes (`_scope`) that share one account of executions
--- (`_runs`), and whatever a scope began ends with it.
local authorized = require("agentwire.tool._authorized")
local class = require("agentwire._class")
local host = require("agentwire.host")
local misuse = require("agentwire._misuse")
local options_of = require("agentwire._options")
local pool = require("agentwire.tool.pool")
local runs = require("agentwire.tool._runs")
local scopes = require("agentwire.tool._scope")
local sources = require("agentwire.tool._source")
local task = require("agentwire.task")
local undo = require("agentwire._undo")
local wait = require("agentwire._wait")

local M = {}

--- A registry, a client, a pool, or whatever has `list` and `execute`.
M.SOURCE = sources.kind

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
  source = authorized.new(source, options.authorize, connection)
  local running = runs.new(source, options)
  connection:serve("tool", function(channel)
    local scope = scopes.new(channel, source, running, options)
    task.defer(function()
      scope:leave("the scope has ended", "closed")
    end)
    scope:serve()
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
  local scope = scopes.new(channel, source, running, {})
  local ended = wait.latch("the end of a registration")
  local server = host.current():spawn(scope.serve, scope)
  server:defer(function()
    scope:leave("the registration has ended", "closed")
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
