--- Opening a connection: `aw.connect` and `aw.pair`, what they take, and the
--- wait for the first opening. Whoever does not get a connection in the end
--- leaves none behind. What starts a transport is `_dialer`, what happens after
--- a loss `_reconnect`.
local child = require("agentwire._child")
local connection = require("agentwire.connection")
local dialers = require("agentwire._dialer")
local host = require("agentwire.host")
local limits = require("agentwire._limits")
local liveness = require("agentwire._liveness")
local misuse = require("agentwire._misuse")
local options = require("agentwire._options")
local protocols = require("agentwire.protocols")
local reconnect = require("agentwire._reconnect")
local request = require("agentwire._request")
local tables = require("agentwire._tables")
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

---@class agentwire.Attempt
---@field refused boolean whether the last one was refused for its credentials

---@class agentwire.ConnectOptions: agentwire.PairOptions
---@field url string|fun(about: agentwire.Attempt): string|nil
---@field token string|(fun(about: agentwire.Attempt): string?, string?)|nil sent
--- as `Authorization: Bearer …`
---@field headers table|(fun(about: agentwire.Attempt): table)|nil further
--- headers, by name or as a list of {name, value}
---@field tls agentwire.TlsOptions?
---@field host string? Host header in place of the URL's host
---@field proxy string? "http://user:password@host:port", or "environment"
---@field protocols string? subprotocols to offer
---@field timeout_ms number? for opening as a whole; default: none
---@field handshake_ms integer? for TCP, TLS and the handshake, 10 000
---@field ping_interval_ms integer? silence before a WebSocket ping, 15 000
---@field ping_deadline_ms integer? further silence before the end, 15 000
---@field reconnect agentwire.ReconnectPolicy|boolean|nil false: never
---@field follow boolean|"same_host"|string[]|nil whether a draining server may
--- send us to another URL: anywhere, on its host, to hosts of a list. Never to
--- less security

---@class agentwire.SpawnOptions: agentwire.Child, agentwire.PairOptions, agentwire.LivenessOptions
---@field base boolean? do not use `agentwire.v1`
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
  url = options.either(options.filled, options.func),
  token = options.either(options.filled, options.func),
  headers = options.any, -- _request says what is wrong with it
  tls = TLS,
  host = options.string,
  proxy = options.filled,
  protocols = options.filled,
  handshake_ms = limits.COUNT,
  ping_interval_ms = limits.COUNT,
  ping_deadline_ms = limits.COUNT,
  reconnect = options.either(options.boolean, RECONNECT),
  follow = options.either(options.boolean, options.constant("same_host"),
    options.list_of(options.filled)),
}, OPENING)

local SPAWN = options.spec("connect { argv }", {
  base = options.boolean,
  -- A child's memory died with it: there is nothing to come back to.
  reconnect = options.constant(false),
}, child.OPTIONS, OPENING, liveness.OPTIONS)

--- The host's loop, whose core knows the protocols' types.
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
  if type(target) == "table" then
    return tables.over(given, target)
  elseif given and given.url ~= nil then
    misuse.raise("connect: option url: expected none beside the URL before it, "
      .. "got %s", misuse.describe(given.url))
  end
  return tables.over(given, { url = target })
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

-- Waits for the first opening. A failure here is final: whoever calls knows best
-- whether to try again.
local function await_open(conn, policy, deadline)
  while conn:state() == "connecting" do
    local _, message, code =
      conn._changed:wait(deadline and deadline - conn._host:now())
    if code then
      return nil, message, code
    end
    if conn._is_down then
      break
    end
  end
  if conn:is_open() then
    conn._options.reconnect = policy
    return conn
  elseif conn:state() ~= "closed" then
    conn:_note_end() -- else the end has noted it, and another may follow
  end
  return nil, conn._why, conn._error == "ok" and "refused" or conn._error
end

-- Undoes what a connect has begun that nobody will get.
local function undo(conn, why)
  conn._core:abandon(why)
  conn:_finish()
end

-- What the first attempt needs, within the time that it has.
local function ask(dialer, timeout_ms)
  if timeout_ms and dialer.refreshes then
    return task.timeout(timeout_ms, dialer.ask, dialer)
  end
  return dialer:ask()
end

-- The core's connection, with the first attempt under way.
local function dial(loop, dialer, given)
  local asked, message, code = ask(dialer, given.timeout_ms)
  if not asked then
    return nil, message, code
  end
  local made, ok
  made, message, code = loop:conn(given)
  if not made then
    return nil, message, code
  end
  ok, message, code = dialer:dial(made, asked)
  if not ok then
    made:free()
    return nil, message, code
  end
  return made
end

local function open(loop, given)
  local began = host.current():now()
  local dialer = dialers.new(given)
  local made, message, code = dial(loop, dialer, given)
  if not made then
    return nil, message, code
  end
  local conn = connection.new(made, tables.over(given, {
    dialer = dialer, reconnect = false, -- until it is open
    peer = dialer.url and reconnect.shown(dialer.url),
  }))
  local returned, ok
  returned, ok, message, code = pcall(await_open, conn,
    reconnect.policy(given.reconnect),
    given.timeout_ms and began + given.timeout_ms)
  if not returned then
    undo(conn, "the caller was cancelled")
    error(ok, 0)
  elseif not ok then
    undo(conn, message)
  end
  return ok, message, code
end

--- Connects to `ws://` or `wss://`, or to a child process: `{argv = {...}}`.
--- `url`, `token` and `headers` may be functions, which may wait: they are
--- asked before each attempt.
---@async
---@param target string|function|agentwire.ConnectOptions|agentwire.SpawnOptions
---@param given agentwire.ConnectOptions|agentwire.SpawnOptions|nil
---@return agentwire.Connection? connection
---@return string? message
---@return string? code `refused`, `timeout`, `not_found`, `io_error`,
--- `ws_protocol`, `tls`, `no_credentials`, `invalid_argument`
function M.connect(target, given)
  local merged = read_options(target, given)
  task.checkpoint() -- before anything is begun
  if merged.argv then
    merged.reconnect = false
  end
  local conn, message, code = open(M.loop(), merged)
  if conn and merged.argv then
    liveness.keep(conn, merged)
  end
  return conn, message, code
end

--- Two ends in this process.
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
