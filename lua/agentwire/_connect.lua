--- Connecting: what `aw.connect` and `aw.pair` take, and one attempt of it.
local connection = require("agentwire.connection")
local core = require("agentwire.core")
local host = require("agentwire.host")
local limits = require("agentwire._limits")
local liveness = require("agentwire._liveness")
local misuse = require("agentwire._misuse")
local options = require("agentwire._options")
local protocols = require("agentwire.protocols")
local request = require("agentwire._request")
local task = require("agentwire.task")
local wait = require("agentwire._wait")

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

---@class agentwire.SpawnOptions: agentwire.PairOptions, agentwire.LivenessOptions
---@field argv string[] a command that speaks on its stdin and stdout
---@field cwd string?
---@field env table<string, string|true>? its whole environment: texts, and true
--- for what this process has under that name; default: all of this process's
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

-- By name: a text, or true for what this process has.
local ENV = options.kind("a table of names, each with its text or true",
  function(value)
    if type(value) ~= "table" then
      return false
    end
    for name, given in pairs(value) do
      if type(name) ~= "string" or name == "" or name:find("[=%z]")
        or not (given == true
          or type(given) == "string" and not given:find("%z")) then
        return false
      end
    end
    return true
  end)

local SPAWN = options.spec("connect { argv }", {
  argv = options.list_of(options.string),
  cwd = options.filled,
  env = ENV,
  base = options.boolean,
  kill_after_ms = limits.COUNT,
  -- A child's memory died with it: there is nothing to come back to.
  reconnect = options.constant(false),
}, OPENING, liveness.OPTIONS)

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

--- What starts each transport of a connection. `url` is the one that was used
--- last; `refreshes` says that something is asked for before each attempt.
---@class agentwire.Dialer
local Dialer = {}
Dialer.__index = Dialer

-- What may be a function, asked before each attempt.
local ASKED = { "url", "token", "headers" }

local function new_dialer(merged)
  local refreshes = false
  for _, name in ipairs(ASKED) do
    refreshes = refreshes or type(merged[name]) == "function"
  end
  return setmetatable({
    url = type(merged.url) == "string" and merged.url or nil,
    refreshes = refreshes,
    _options = merged,
  }, Dialer)
end

--- The value of an option, or what its function gives.
local function ask(value, name, refused)
  if type(value) ~= "function" then
    return value
  end
  local ok, given, why = pcall(value, { refused = refused })
  if not ok and task.is_cancelled(given) then
    error(given, 0)
  elseif not ok then
    return nil, ("option %s: its function failed: %s"):format(name,
      wait.error_text(given))
  elseif given == nil then
    return nil, ("option %s: its function gave nothing: %s"):format(name,
      wait.error_text(why or "no reason given"))
  end
  return given
end

-- What a function gave is judged as what is given outright, but nobody is there
-- to blame.
local function problem_of(asked)
  if type(asked.url) ~= "string" or asked.url:find("%z") then
    return "option url: its function has to give a URL"
  elseif asked.token ~= nil and type(asked.token) ~= "string" then
    return "option token: its function has to give a string"
  elseif asked.headers ~= nil and type(asked.headers) ~= "table" then
    return "option headers: its function has to give a table"
  elseif asked.tls and asked.url:match("^[Ww][Ss][:+]") then
    return "option tls: a ws:// URL is plain text"
  end
  return core.header_problem { token = asked.token, headers = asked.headers }
end

--- What an attempt needs, asked where it is a function.
---@async
---@param url string? instead of the one that was given
---@param refused boolean? the last attempt was refused for its credentials
---@return table? asked
---@return string? message
---@return string? code
function Dialer:ask(url, refused)
  local given = self._options
  if given.argv then
    return given
  end
  local asked = setmetatable({}, { __index = given })
  for _, name in ipairs(ASKED) do
    local value, problem = given[name], nil
    if name == "url" and url then
      value = url
    elseif value ~= nil then
      value, problem = ask(value, name, refused or false)
    end
    if problem then
      return nil, problem, "no_credentials"
    end
    asked[name] = value
  end
  local problem = problem_of(asked)
  if problem then
    return nil, problem, "invalid_argument"
  end
  return asked
end

-- As the core takes it: "NAME=text" for each.
local function list_environment(env)
  local list = {}
  for name, given in pairs(env) do
    local text = given == true and os.getenv(name) or given
    if text ~= true then -- what this process does not have either
      table.insert(list, name .. "=" .. text)
    end
  end
  table.sort(list)
  return list
end

--- Starts a transport. Does not wait.
---@param conn userdata
---@param asked table
---@return boolean|nil ok
---@return string? message
---@return string? code
function Dialer:dial(conn, asked)
  if asked.argv then
    asked.environment = asked.env and list_environment(asked.env)
    return conn:spawn(asked)
  end
  self.url = asked.url
  asked.proxy = request.proxy_for(asked.proxy, asked.url)
  return conn:connect(asked)
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
  local loop = M.loop()
  local conn, message, code = connection.dial(function()
    return loop:conn(merged)
  end, new_dialer(merged), merged)
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
