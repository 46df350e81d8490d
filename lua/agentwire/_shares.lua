--- What one peer may have at once of what a server has for all: counted by
--- connection, and by identity over all of its connections. Peers that are
--- nobody in particular only have what their connection may have. Sessions,
--- streams, executions and tools take a place when they begin, and each is
--- given back once.
local options = require("agentwire._options")
local tables = require("agentwire._tables")

local M = {}

local CONNECTION = options.spec("per_connection", {
  sessions = options.count,
  streams = options.count,
  executions = options.count,
  tools = options.count,
  bytes = options.bytes,
})

local IDENTITY = options.spec("per_identity", {
  connections = options.count,
}, CONNECTION)

---@class agentwire.ShareLimits
---@field connections integer? of an identity
---@field sessions integer? agent sessions
---@field streams integer? model streams and completions
---@field executions integer? of tools
---@field tools integer? in pools
---@field bytes integer? that its logs, inboxes and conversations hold when more
--- is begun

---@class agentwire.ShareOptions
---@field per_connection agentwire.ShareLimits?
---@field per_identity agentwire.ShareLimits? an identity's own `shares` go first

M.OPTIONS = options.spec("shares", {
  per_connection = CONNECTION,
  per_identity = IDENTITY,
})

--- What an identity may say of its own shares.
M.IDENTITY = IDENTITY

-- Streams and executions of a connection have limits where they are served.
local PER_CONNECTION = { sessions = 64, tools = 128, bytes = 2 ^ 25 }

local PER_IDENTITY = {
  connections = 256, sessions = 128, streams = 4000, executions = 256,
  tools = 256, bytes = 2 ^ 27,
}

---@class agentwire.Shares of one server
local Shares = {}
Shares.__index = Shares

---@param given agentwire.ShareOptions? checked
---@return agentwire.Shares
function M.new(given)
  given = given or {}
  return setmetatable({
    _per_connection = tables.over(PER_CONNECTION, given.per_connection),
    _per_identity = tables.over(PER_IDENTITY, given.per_identity),
    _by_connection = setmetatable({}, { __mode = "k" }),
    _by_identity = {},
  }, Shares)
end

local function refusal(count, what, whose, option)
  return nil, ("%d %s of %s are open, all that shares.%s.%s allows")
    :format(count, what, whose, option, what), "rate_limited"
end

local function holds_too_much(held, limit, whose, option)
  return nil, ("%.0f bytes of %s wait to be sent or read; more is begun below "
    .. "shares.%s.bytes (%.0f)"):format(held, whose, option, limit),
    "rate_limited"
end

local function new_account()
  return { counts = {}, total = 0, connections = {}, held = 0 }
end

local function account(accounts, key)
  local found = accounts[key]
  if not found then
    found = new_account()
    accounts[key] = found
  end
  return found
end

local function held_bytes(connections)
  local held = 0
  for connection in pairs(connections) do
    held = held + connection:_held_bytes()
  end
  return held
end

--- One place in an account, if there is one; `what` nil: only its bytes.
local function check(of, limits, what, whose, option, connections)
  local limit, count = limits[what or false], of.counts[what or false] or 0
  if limit and count >= limit then
    return refusal(count, what, whose, option)
  end
  local held = what ~= "connections" and limits.bytes
    and of.held + held_bytes(connections) or 0
  if limits.bytes and held >= limits.bytes then
    return holds_too_much(held, limits.bytes, whose, option)
  end
  return true
end

local function add(of, what, count)
  of.counts[what] = (of.counts[what] or 0) + count
  of.total = of.total + count
end

---@return table? account nil for nobody in particular
---@return table? limits
local function identity_account(self, connection)
  local who = connection.identity
  if not who then
    return nil
  end
  local of = self._by_identity[who.id] or new_account()
  return of, who.shares and tables.over(self._per_identity, who.shares)
    or self._per_identity
end

local function check_identity(self, connection, what)
  local of, limits = identity_account(self, connection)
  if not of then
    return true
  end
  local connections = next(of.connections) and of.connections
    or { [connection] = true }
  return check(of, limits, what, connection.identity.name, "per_identity",
    connections)
end

local function releaser(self, mine, theirs, id, what, connection)
  return function()
    add(mine, what, -1)
    if theirs then
      add(theirs, what, -1)
      if what == "connections" then
        theirs.connections[connection] = nil
      end
      if theirs.total == 0 and self._by_identity[id] == theirs then
        self._by_identity[id] = nil
      end
    end
  end
end

--- Whether a connection and its identity have a place left, and hold few enough
--- bytes for more to be begun.
function Shares:_check(connection, what)
  local mine = account(self._by_connection, connection)
  local ok, why, code = check(mine, self._per_connection, what,
    "this connection", "per_connection", { [connection] = true })
  if not ok then
    return nil, why, code
  end
  return check_identity(self, connection, what)
end

--- Notes that what Lua holds for a connection has grown or shrunk.
---@param connection agentwire.Connection
---@param bytes integer
function Shares:hold(connection, bytes)
  local mine = account(self._by_connection, connection)
  mine.held = mine.held + bytes
  local id = connection.identity and connection.identity.id
  if id then
    local theirs = account(self._by_identity, id)
    theirs.held = theirs.held + bytes
  end
end

--- Takes a place of a connection and of its identity.
---@param connection agentwire.Connection
---@param what "connections"|"sessions"|"streams"|"executions"|"tools"
---@return (fun())|nil release to be called once
---@return string? message
---@return string? code rate_limited
function Shares:take(connection, what)
  local ok, why, code = self:_check(connection, what)
  if not ok then
    return nil, why, code
  end
  local mine = account(self._by_connection, connection)
  local id = connection.identity and connection.identity.id
  local theirs = id and account(self._by_identity, id)
  add(mine, what, 1)
  if theirs then
    add(theirs, what, 1)
    if what == "connections" then
      theirs.connections[connection] = true
    end
  end
  return releaser(self, mine, theirs, id, what, connection)
end

--- What is taken, for reports and tests.
---@return table<string, table<string, integer>> counts by identity
function Shares:stats()
  local stats = {}
  for id, of in pairs(self._by_identity) do
    stats[id] = tables.copy(of.counts)
  end
  return stats
end

local function nothing() end

--- Takes a place at the server of a connection; connections that are no
--- server's (a pair, a child) have all they want.
---@param connection agentwire.Connection
---@param what string
---@return (fun())|nil release
---@return string? message
---@return string? code rate_limited
function M.take(connection, what)
  local shares = connection._shares
  if not shares then
    return nothing
  end
  return shares:take(connection, what)
end

--- Whether a connection holds few enough bytes to go on with what it has begun.
---@param connection agentwire.Connection
---@return true|nil ok
---@return string? message
---@return string? code rate_limited
function M.check_bytes(connection)
  local shares = connection._shares
  if not shares then
    return true
  end
  return shares:_check(connection, nil)
end

--- Notes that what Lua holds for a connection has grown or shrunk.
---@param connection agentwire.Connection
---@param bytes integer
function M.hold(connection, bytes)
  if connection._shares and bytes ~= 0 then
    connection._shares:hold(connection, bytes)
  end
end

return M
