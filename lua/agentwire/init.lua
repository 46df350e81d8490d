---agentwire: AI agents over the wire. Model streams, agent sessions and tool
---executions over one connection, each in order, each cancellable, none lost
---when a connection drops.
local connection = require("agentwire.connection")
local core = require("agentwire.core")
local host = require("agentwire.host")
local log = require("agentwire.log")
local misuse = require("agentwire._misuse")
local protocols = require("agentwire.protocols")
local server = require("agentwire.server")
local task = require("agentwire.task")

local aw = {
  _VERSION = "0.1.0",
  log = log,
  json = core.json,
  null = core.json.null,
  task = task,
  run = host.run,
  spawn = task.spawn,
  sleep = task.sleep,
  timeout = task.timeout,
}

-- What is only sometimes needed is loaded when it is asked for.
local LAZY = {
  provider = "agentwire.provider",
  agent = "agentwire.agent",
  tool = "agentwire.tool",
  providers = "agentwire.providers",
}

setmetatable(aw, {
  __index = function(self, name)
    local module = LAZY[name]
    if module then
      local value = require(module)
      rawset(self, name, value)
      return value
    end
  end,
})

---The host's loop, whose core knows the protocols' types.
local function current_loop()
  local loop = host.current():loop()
  protocols.define(loop)
  return loop
end

local function check_options(options, level)
  if options ~= nil and type(options) ~= "table" then
    error("options: expected a table", level + 1)
  end
end

local function with_url(target, options)
  check_options(options, 3)
  local merged = {}
  for key, value in pairs(options or {}) do
    merged[key] = value
  end
  if type(target) == "table" then
    for key, value in pairs(target) do
      merged[key] = value
    end
  else
    merged.url = target
  end
  if merged.token then
    if type(merged.token) ~= "string" then
      error("option token: expected a string", 3)
    end
    merged.headers = (merged.headers or "")
      .. "Authorization: Bearer " .. merged.token .. "\r\n"
  end
  return merged
end

---Connects to `ws://` or `wss://`, or to a child process: `{argv = {...}}`.
---Options: `token` or `headers`, `tls` {ca_file, cert_file, key_file, name},
---`reconnect` (false, or {attempts, min_ms, max_ms}), `follow` (a draining server
---may send us to another one), `on_state`, `timeout_ms`, limits as in docs/connection.md.
---@async
---@param target string|table
---@param options table?
---@return agentwire.Connection? connection
---@return string? message
---@return string? code
function aw.connect(target, options)
  local merged = with_url(target, options)
  if type(merged.url) ~= "string" and type(merged.argv) ~= "table" then
    error("connect expects a URL or {argv = {...}}", 2)
  end
  task.checkpoint() -- before anything is begun
  local conn, message, code = current_loop():conn(merged)
  if not conn then
    return nil, message, code
  end
  local function dial(each, moved_to)
    if merged.argv then
      return each:spawn(merged)
    end
    merged.url = moved_to or merged.url
    return each:connect(merged)
  end
  if merged.argv then
    merged.reconnect = false -- a child's memory died with it
  end
  return connection.dial(conn, dial, merged)
end

---Two ends in this process.
---@param options table?
---@return agentwire.Connection client
---@return agentwire.Connection server
function aw.pair(options)
  check_options(options, 2)
  local near, far = current_loop():pair(options)
  assert(near, far)
  return connection.accepted(near, options), connection.accepted(far, options)
end

---Listens; `on_connection(conn)` decides what each connection is given.
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
  current_loop()
  return server.listen(options, on_connection)
end

---Serves what is given, each part optional: `provider` (an adapter, a router or
---a provider client), `agent` (a service or its options), `tools` (a registry).
---`listen` is a URL; `stdio = true` serves this process's stdin and stdout.
---@param options agentwire.ServeOptions see docs/server.md
---@return agentwire.Server? server
---@return string? message
---@return string? code
function aw.serve(options)
  local parts, listen = require("agentwire._parts").read(options)
  current_loop()
  parts:make()
  return server.listen(listen, function(conn)
    parts:attach(conn)
  end)
end

return aw
