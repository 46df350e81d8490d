--- agentwire: AI agents over the wire. Model streams, agent sessions and tool
--- executions over one connection, each in order, each cancellable, none lost
--- when a connection drops.
require("agentwire._compat") -- says at once where this cannot run
local await = require("agentwire._await")
local class = require("agentwire._class")
local combinators = require("agentwire._combinators")
local connect = require("agentwire._connect")
local core = require("agentwire.core")
local each = require("agentwire._each")
local host = require("agentwire.host")
local log = require("agentwire.log")
local misuse = require("agentwire._misuse")
local server = require("agentwire.server")
local signal = require("agentwire.signal")
local task = require("agentwire.task")

---@class agentwire.Error what a code of the core means (docs/errors.md)
---@field reach "call"|"message"|"scope"|"connection" what is over at most
---@field text string

---@class agentwire
---@field errors table<string, agentwire.Error> by code
---@field provider agentwire.provider loaded when it is asked for, as is all below
---@field agent agentwire.agent
---@field tool agentwire.tool
---@field providers agentwire.providers
---@field lines agentwire.lines
---@field http agentwire.http
local aw = {
  _VERSION = "0.1.0",
  log = log,
  json = core.json,
  null = core.json.null,
  errors = core.errors,
  task = task,
  run = host.run,
  connect = connect.connect,
  pair = connect.pair,
  spawn = host.spawn,
  await = await,
  each = each,
  sleep = task.sleep,
  timeout = combinators.timeout,
  signal = signal.wait,
}

-- What is only sometimes needed is loaded when it is asked for.
local LAZY = {
  provider = "agentwire.provider",
  agent = "agentwire.agent",
  tool = "agentwire.tool",
  providers = "agentwire.providers",
  stdin = "agentwire.stdin",
  lines = "agentwire.lines",
  http = "agentwire.http",
}

--- Listens; `on_connection(conn)` decides what each connection is given.
---@param options agentwire.ListenOptions|string URL, or options (docs/server.md)
---@param on_connection fun(conn: agentwire.Connection)
---@return agentwire.Server? server
---@return string? message
---@return string? code
function aw.listen(options, on_connection)
  if type(options) == "string" then
    options = { url = options }
  elseif type(options) ~= "table" then
    misuse.raise("listen expects a URL, or stdio = true")
  end
  server.check("listen", options)
  if type(on_connection) ~= "function" then
    misuse.raise("listen expects a function for each connection")
  end
  connect.loop()
  return server.listen(options, on_connection)
end

--- Serves what is given, each part optional: `provider` (an adapter, a router
--- or a provider client), `agent` (a service or its options), `tools` (a
--- registry). `listen` is a URL; `stdio = true` serves this process's stdin and
--- stdout.
---@param options agentwire.ServeOptions see docs/server.md
---@return agentwire.Server? server
---@return string? message
---@return string? code
function aw.serve(options)
  local served, listen = require("agentwire._serve").read(options)
  connect.loop()
  served:make()
  return server.listen(listen, function(conn)
    served:attach(conn)
  end)
end

return class.module(aw, "aw", LAZY)
