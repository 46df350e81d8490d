--- A server: listens, decides who may come in (`_admission`), and hands each
--- connection to whoever attaches what is served (`_serve`, or a function given
--- to `aw.listen`). It closes itself when the host's main task ends, and every
--- connection that it has with it.
local access = require("agentwire.access")
local admission = require("agentwire._admission")
local class = require("agentwire._class")
local connection = require("agentwire.connection")
local events_of = require("agentwire._events")
local is_loopback = require("agentwire.core").is_loopback
local host = require("agentwire.host")
local limits = require("agentwire._limits")
local liveness = require("agentwire._liveness")
local misuse = require("agentwire._misuse")
local options_of = require("agentwire._options")
local places = require("agentwire._place")
local shares = require("agentwire._shares")
local signal = require("agentwire.signal")
local task = require("agentwire.task")
local wait = require("agentwire._wait")

local M = {}

local COUNT = limits.COUNT

-- How long the end of the process waits for what is under way, after a TERM.
local DRAIN_MS = 5000

local TLS = options_of.spec("tls", {
  ca_file = options_of.filled,
  cert_file = options_of.filled,
  key_file = options_of.filled,
  verify_peer = options_of.boolean,
})

---@class agentwire.DrainOptions
---@field timeout_ms number? until what is open is cut short, 5000
---@field after_ms number? when peers may come back
---@field url string? where to

local DRAIN = options_of.spec("server:drain", {
  timeout_ms = options_of.duration_ms,
  after_ms = options_of.duration_ms,
  url = options_of.filled,
})

-- Of a server with a socket alone, and of one on stdio alone.
local SOCKET = options_of.spec("listen", {
  protocols = options_of.filled,
  connections_max = COUNT,
  per_address_max = COUNT,
  head_max = limits.SIZE,
}, places.OPTIONS)

local STDIO = options_of.spec("listen", {
  in_fd = COUNT,
  out_fd = COUNT,
  base = options_of.boolean,
})

M.OPTIONS = options_of.spec("listen", {
  stdio = options_of.boolean,
  tls = TLS,
  handshake_ms = COUNT,
  ping_interval_ms = COUNT,
  ping_deadline_ms = COUNT,
  drain_ms = COUNT,
  sessions_max = COUNT,
  sessions_per_peer_max = COUNT,
  process_bytes = limits.SIZE,
  inbound_process_bytes = limits.SIZE,
  shares = shares.OPTIONS,
  trace = options_of.either(options_of.boolean, options_of.func),
}, SOCKET, STDIO, access.OPTIONS, limits.MUX)

---@class agentwire.ListenOptions: agentwire.AccessOptions, agentwire.PlaceOptions, agentwire.Limits
---@field protocols string? subprotocols, picked in this order
---@field tls agentwire.ServerTls? for wss://
---@field handshake_ms integer? until a connection is open, 10000
---@field ping_interval_ms integer? silence before a ping, 15000
---@field ping_deadline_ms integer? further silence before the end, 15000
---@field connections_max integer? 10000
---@field per_address_max integer? none
---@field sessions_max integer? 10000
---@field sessions_per_peer_max integer? of an identity or address; no limit
---@field head_max integer? bytes of a request's head, 8 KiB
---@field process_bytes integer? logs of all sessions together, 256 MiB
---@field inbound_process_bytes integer? what came in for all, 256 MiB
---@field drain_ms integer? what is under way may take so long after a TERM, 5000
---@field shares agentwire.ShareOptions? what one peer may have at once
---@field trace boolean|fun(line: string)|nil as `conn:trace`
---@field stdio boolean? serve this process's stdin and stdout instead
---@field in_fd integer? 0
---@field out_fd integer? 1
---@field base boolean? on stdio: do not offer agentwire.v1

---@class agentwire.ServerTls
---@field ca_file string? PEM; vouches for client certificates
---@field cert_file string PEM chain
---@field key_file string PEM
---@field verify_peer boolean? demand a client certificate

---@class agentwire.Server
---@field port integer? bound port
---@field url string? with the bound port
local Server = {}
Server.__index = Server

function Server:__tostring()
  return "server " .. (self.url or "on stdio")
end

-- Told to whoever has as many connections as it may: come back later.
local TOO_MANY = 1013

local function accept(self, core)
  local conn = connection.accepted(core, {
    trace = self._options.trace, shares = self._shares,
  })
  if self._options.stdio then
    liveness.keep(conn, self._options)
  end
  local release, why = self._shares:take(conn, "connections")
  if not release then
    return conn:close(why, TOO_MANY)
  end
  self._connections[conn] = true
  conn:on_state(function(event)
    if event.type == "closed" then
      self._connections[conn] = nil
      release()
      if self._options.stdio then -- there will be no other
        self:close()
      end
    end
  end)
  self._host:call("on_connection", self._on_connection, conn)
end

local function accept_all(self)
  local core = self._hub:accept()
  while core do
    accept(self, core)
    core = self._hub:accept()
  end
end

local function on_ready(self, events)
  local has, hub = events_of.has, events_of.hub
  if has(events, hub.ACCEPTED) then
    accept_all(self)
  end
  if has(events, hub.WITHDRAWN) then
    self._admission:withdraw()
  end
  if has(events, hub.REQUESTED) then
    self._admission:take(self._keeper)
  end
end

local function listen(hub, options, admit)
  if options.stdio then
    return hub:stdio(options)
  end
  local given = places.to_core(options)
  given.authenticate = admit ~= nil
  return hub:listen(given)
end

--- Closes itself when the host's main task has ended.
local function keep(self)
  self._keeper = self._host:spawn(self._closed.wait, self._closed)
  local drain_ms = self._options.drain_ms or DRAIN_MS
  local forget = signal.before_term(self._host, function()
    self:drain { timeout_ms = drain_ms }
  end)
  self._keeper:defer(function()
    forget()
    self:close()
  end)
  self._keeper.name = tostring(self)
end

-- Options of a socket mean nothing on stdio, and the other way round.
local function check_kind(title, options)
  local others = options.stdio and SOCKET or STDIO
  for _, name in ipairs(others:names()) do
    if options[name] ~= nil then
      misuse.raise("%s: option %s: %s", title, name,
        options.stdio and "not with stdio" or "only with stdio = true")
    end
  end
end

--- Raises what is wrong with options of `listen`.
---@param title string the entry point
---@param options table
function M.check(title, options)
  local problem = M.OPTIONS:problem(options)
  if problem then
    misuse.raise("%s: %s", title, problem)
  elseif not options.stdio and options.url == nil then
    misuse.raise("%s expects a URL, or stdio = true", title)
  elseif options.stdio and options.url ~= nil then
    misuse.raise("%s: a URL and stdio contradict each other: there is one peer "
      .. "on stdio; call %s twice", title, title)
  end
  check_kind(title, options)
  if options.url then
    places.check(title, options)
  end
  access.check(title, options)
end

--- Listens. `on_connection(conn)` attaches what is served; it must not wait.
---@param options agentwire.ListenOptions checked
---@param on_connection fun(conn: agentwire.Connection)
---@return agentwire.Server? server
---@return string? message
---@return string? code
function M.listen(options, on_connection)
  local current = host.current()
  local place = { is_local = true } -- of which Origins are asked
  local admit = access.new(options, place)
  local hub = current:loop():hub(options)
  local ok, message, code = listen(hub, options, admit)
  if not ok then
    hub:close()
    return nil, message, code
  elseif not options.stdio then
    place.is_local = is_loopback(message) -- the address that was bound
    -- Who may open a socket's file, its mode decides.
    access.warn(options, place.is_local or places.is_unix(options.url))
  end
  local self = setmetatable({
    port = not options.stdio and ok > 0 and ok or nil,
    url = not options.stdio and places.with_port(options.url, ok) or nil,
    _host = current,
    _hub = hub,
    _handle = hub:handle(),
    _options = options,
    _admission = admission.new(hub, current, admit, options),
    _on_connection = on_connection,
    _connections = {},
    _shares = shares.new(options.shares),
    _closed = wait.latch("the end of a server"),
    _keeper = nil,
  }, Server)
  current:watch(self._handle, function(_, events)
    on_ready(self, events)
  end)
  keep(self)
  return self
end

--- How many connections are there.
---@return integer
function Server:count()
  local count = 0
  for _ in pairs(self._connections) do
    count = count + 1
  end
  return count
end

---@return fun(): agentwire.Connection?
function Server:connections()
  return pairs(self._connections)
end

--- New certificates for connections accepted from now on.
---@param tls table
---@return boolean|nil ok
---@return string? message
---@return string? code
function Server:reload_tls(tls)
  TLS:check(tls)
  return self._hub:reload_tls(tls)
end

function Server:_end()
  self._host:unwatch(self._handle)
  self._hub:stop()
  for conn in pairs(self._connections) do
    conn:close("the server is closing", 1001)
  end
  self._hub:close()
end

local function leave(conn, options)
  if conn:info().extended then
    conn:send_control("link", nil, "goodbye", {
      resume = true, after_ms = options.after_ms, url = options.url,
      reason = "the server is going away",
    })
  end
  conn:wait_idle()
  conn:close("the server is going away", 1001)
  conn:wait_closed()
end

--- Stops accepting, tells every peer that it should come back later (to `url`,
--- if that is given), and lets the scopes that are open end. What has not ended
--- within `timeout_ms` (5000) is cut short. The server is closed then.
---@async
---@param options agentwire.DrainOptions?
---@return boolean in_time whether everything ended by itself
function Server:drain(options)
  options = DRAIN:check(options)
  self._hub:stop()
  local _, _, code = task.timeout(options.timeout_ms or 5000, function()
    local leaving = {}
    for conn in pairs(self._connections) do
      table.insert(leaving, task.spawn(leave, conn, options))
    end
    return task.all(leaving)
  end)
  self:close()
  return code ~= "timeout"
end

--- Stops accepting and closes every connection. Idempotent.
function Server:close()
  if not self._closed:is_set() then
    self._closed:set(true)
    self:_end()
  end
end

--- Waits until the server is closed.
---@async
---@param timeout_ms number?
function Server:wait_closed(timeout_ms)
  options_of.timeout("wait_closed", timeout_ms)
  return self._closed:wait(timeout_ms)
end

class.seal(Server, "server")

return M
