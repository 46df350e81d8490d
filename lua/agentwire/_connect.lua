---Connecting: what `aw.connect` and `aw.pair` take, and one attempt of it.
local connection = require("agentwire.connection")
local host = require("agentwire.host")
local limits = require("agentwire._limits")
local misuse = require("agentwire._misuse")
local options = require("agentwire._options")
local protocols = require("agentwire.protocols")
local request = require("agentwire._request")
local task = require("agentwire.task")

local M = {}

---@class agentwire.TlsOptions
---@field ca_file string? PEM; default: the system's store
---@field cert_file string? PEM
---@field key_file string? PEM
---@field name string? to check and send instead of the host's
---@field insecure boolean? do not check the server; for tests

---@class agentwire.ReconnectPolicy
---@field attempts number? without limit
---@field min_ms number? 100
---@field max_ms number? 10 000

---@class agentwire.PairOptions: agentwire.Limits
---@field trace boolean|fun(line: string)|nil
---@field on_state fun(event: table, connection: agentwire.Connection)|nil

---@class agentwire.ConnectOptions: agentwire.PairOptions
---@field url string?
---@field token string? sent as `Authorization: Bearer …`
---@field headers table<string, string>|string[][]|nil further headers, by name
---or as a list of {name, value}
---@field tls agentwire.TlsOptions?
---@field protocols string? subprotocols to offer
---@field timeout_ms number? for opening as a whole; default: none
---@field handshake_ms integer? for TCP, TLS and the handshake, 10 000
---@field ping_interval_ms integer? silence before a WebSocket ping, 15 000
---@field ping_deadline_ms integer? further silence before the end, 15 000
---@field reconnect agentwire.ReconnectPolicy|boolean|nil false: never
---@field follow boolean? a draining server may send us to another URL

---@class agentwire.SpawnOptions: agentwire.PairOptions
---@field argv string[] a command that speaks on its stdin and stdout
---@field cwd string?
---@field base boolean? do not use `agentwire.v1`
---@field kill_after_ms integer? after its stdin was closed, 2000
---@field timeout_ms number? for opening as a whole; default: none

local TLS = options.spec("option tls", {
  ca_file = options.filled,
  cert_file = options.filled,
  key_file = options.filled,
  name = options.filled,
  insecure = options.boolean,
})

local RECONNECT = options.spec("option reconnect", {
  attempts = options.kind("a number of 0 or more",
    options.duration_ms.accepts),
  min_ms = options.duration_ms,
  max_ms = options.duration_ms,
})

local PAIR = options.spec("pair", {
  on_state = options.func,
  trace = options.either(options.boolean, options.func),
}, limits.MUX)

-- The two ways to open a connection take these.
local OPENING = options.spec("connect", {
  timeout_ms = options.duration_ms,
}, PAIR)

local CONNECT = options.spec("connect", {
  url = options.filled,
  token = options.filled,
  headers = options.any, -- _request says what is wrong with it
  tls = TLS,
  protocols = options.filled,
  handshake_ms = limits.COUNT,
  ping_interval_ms = limits.COUNT,
  ping_deadline_ms = limits.COUNT,
  reconnect = options.either(options.boolean, RECONNECT),
  follow = options.boolean,
}, OPENING)

local SPAWN = options.spec("connect { argv }", {
  argv = options.list_of(options.string),
  cwd = options.filled,
  base = options.boolean,
  kill_after_ms = limits.COUNT,
  -- A child's memory died with it: there is nothing to come back to.
  reconnect = options.constant(false),
}, OPENING)

---The host's loop, whose core knows the protocols' types.
---@return userdata loop
function M.loop()
  local loop = host.current():loop()
  protocols.define(loop)
  return loop
end

local function merge(target, given)
  if given ~= nil and type(given) ~= "table" then
    misuse.raise("connect: options: expected a table, got %s",
      misuse.describe(given))
  end
  local merged = {}
  for key, value in pairs(given or {}) do
    merged[key] = value
  end
  if type(target) == "table" then
    for key, value in pairs(target) do
      merged[key] = value
    end
  else
    merged.url = target
  end
  return merged
end

local function read_options(target, given)
  local merged = merge(target, given)
  if merged.argv ~= nil and merged.url == nil then
    return SPAWN:check(merged)
  elseif merged.url == nil or type(target) == "boolean" then
    misuse.raise("connect expects a URL or {argv = {...}}, got %s",
      misuse.describe(target))
  elseif merged.argv ~= nil then
    misuse.raise("connect: url and argv: a server or a child, not both")
  end
  request.check("connect", CONNECT:check(merged))
  return merged
end

local function dialer(merged)
  if merged.argv then
    return function(core)
      return core:spawn(merged)
    end
  end
  return function(core, moved_to)
    merged.url = moved_to or merged.url
    return core:connect(merged)
  end
end

---Connects to `ws://` or `wss://`, or to a child process: `{argv = {...}}`.
---@async
---@param target string|agentwire.ConnectOptions|agentwire.SpawnOptions
---@param given agentwire.ConnectOptions|agentwire.SpawnOptions|nil
---@return agentwire.Connection? connection
---@return string? message
---@return string? code `refused`, `timeout`, `not_found`, `io_error`,
---`ws_protocol`, `tls`, `invalid_argument`
function M.connect(target, given)
  local merged = read_options(target, given)
  task.checkpoint() -- before anything is begun
  local core, message, code = M.loop():conn(merged)
  if not core then
    return nil, message, code
  end
  if merged.argv then
    merged.reconnect = false
  end
  return connection.dial(core, dialer(merged), merged)
end

---Two ends in this process.
---@param given agentwire.PairOptions?
---@return agentwire.Connection client
---@return agentwire.Connection server
function M.pair(given)
  local checked = PAIR:check(given)
  local near, far = M.loop():pair(checked)
  assert(near, far)
  return connection.accepted(near, checked), connection.accepted(far, checked)
end

return M
