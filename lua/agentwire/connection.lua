--- A connection: scopes of three protocols over one transport at a time. It
--- survives the loss of its transport where the peer speaks agentwire.v1. Made
--- by `_connect` (client, pair) and `server`; what the core reports comes by
--- `_news`, coming back after a loss is `_reconnect`'s, which runs in
--- `_keeper`. The state changes by `_set_state` alone and never leaves
--- "closed", and whoever waits for anything of a connection is woken when it
--- gets there.
local channel = require("agentwire.channel")
local class = require("agentwire._class")
local events_of = require("agentwire._events")
local host = require("agentwire.host")
local identity = require("agentwire._identity")
local listeners = require("agentwire._listeners")
local news = require("agentwire._news")
local options = require("agentwire._options")
local protocols = require("agentwire.protocols")
local reconnect = require("agentwire._reconnect")
local tables = require("agentwire._tables")
local wait = require("agentwire._wait")

local M = {}

local NIL_ID = "00000000-0000-0000-0000-000000000000"

local ENDED = events_of.channel.ENDED

local WEAK = { __mode = "v" }

---@class agentwire.Connection
---@field peer string? address or command of the other end
---@field identity agentwire.Identity? who it is; nil: nobody in particular
local Connection = {}
Connection.__index = Connection

function Connection:__tostring()
  return "connection to " .. (self.peer or "its peer")
end

local function new(core, given)
  local self = setmetatable({
    peer = given.peer,
    _core = core,
    _handle = core:handle(),
    _options = given,
    _host = host.current(),
    _state = given.is_server and "open" or "connecting",
    _why = nil, -- of the last loss or end: a sentence,
    _code = nil, -- the WebSocket's close code,
    _error = nil, -- and the core's name of it
    -- Channels are held weakly: one that its users drop is given up (its guard
    -- calls `_abandon`). A slot is the core's number of a channel, never used
    -- again.
    _cores = {}, -- of the channels in use, by slot
    _channels = setmetatable({}, WEAK), -- by slot
    _by_id = setmetatable({}, WEAK), -- by kind and id: the latest of that id
    _handlers = {}, -- by kind: what serves scopes that the peer opens
    _clients = {}, -- by kind
    _objects = {}, -- by kind: who hears of unsequenced messages while it lives
    _control_listeners = {}, -- by kind
    _state_listeners = listeners.new(),
    _pings = {}, -- latches by message id
    _questions = {}, -- asked outside the numbering, and not answered yet
    _tracer = false, -- false, as it is asked for with every news
    _shares = given.shares, -- of the server that accepted it
    _keeper = nil, -- the task of its life; handlers and answers are its children
    _was_lost = false, -- has had a transport: the next opens with the welcome
    _is_down = false, -- a loss that its keeper has not seen to yet
    _is_leaving = false, -- `close` was called: it does not come back
    _is_dialling = false, -- an attempt is under way, and may wait for a token
    _attempt = 0, -- since it was open
    _after_ms = nil, -- what a goodbye asked for before the next attempt
    _moved_to = nil, -- a URL that a goodbye named and that is followed,
    _moved_failures = 0, -- and how often it failed
    _has_refreshed = false, -- credentials were asked for again after a 401
    _absence_timer = nil, -- the timer after which what was open is lost
    _changed = nil, -- signal: its state, or `_is_down`
    _idle = nil, -- signal: a scope has ended or rests
    _closed = nil, -- latch
  }, Connection)
  for _, kind in ipairs { "provider", "agent", "tool", "link" } do
    self._control_listeners[kind] = listeners.new()
  end
  if given.on_state then
    self._state_listeners:add(given.on_state)
  end
  self._changed = wait.signal("a change of", self)
  self._idle = wait.signal("the last scope of", self)
  self._closed = wait.latch("the end of a connection")
  if given.trace then
    self:trace(given.trace)
  elseif os.getenv("AGENTWIRE_TRACE") == "1" then
    core:trace("stderr")
  end
  return self
end

local TRACE = options.either(options.boolean, options.func)
local SCOPED = options.one_of { "provider", "agent", "tool" }
local CLOSE_CODE = options.integer(1000, 4999)
local SPOKEN = options.one_of { "provider", "agent", "tool", "link" }

--- The one way in which the state changes; listeners are told before those who
--- wait run.
---@param state "open"|"resuming"|"closed"
---@param fields table? of the event
function Connection:_set_state(state, fields)
  if self._state == "closed" then
    return
  end
  local event = fields or {}
  event.type = state
  if state == "open" then
    reconnect.came_back(self, event.resumed)
  end
  self._state = state
  for _, listener in self._state_listeners:each() do
    self._host:call("a state listener", listener, event, self)
  end
  self._changed:wake_all()
end

--- "connecting", "open", "resuming" or "closed".
---@return string
function Connection:state()
  return self._state
end

--- Calls `fn(event, connection)` at each change of state: `{type = "resuming",
--- reason=, code=, attempt=, delay_ms=}`. It must not wait.
---@param fn fun(event: table, connection: agentwire.Connection)
---@return fun() off calls it no longer
function Connection:on_state(fn)
  options.argument("on_state", "fn", options.func, fn)
  return self._state_listeners:add(fn)
end

---@return boolean
function Connection:is_open()
  return self._state == "open"
end

---@return string? reason nil while it is not closed
---@return integer? code WebSocket close code, 1006 for a lost link
function Connection:why_closed()
  if self._state == "closed" then
    return self._why, self._code
  end
  return nil
end

--- Counters of this connection (docs/connection.md).
---@return table
function Connection:stats()
  return self._core:stats()
end

--- What its logs and inboxes hold: a number of bytes, cheaper than `stats`.
---@return integer
function Connection:_held_bytes()
  return self._core:held_bytes()
end

--- What was agreed with the peer: `extended`, `protocol`, `transport`, `peer`.
---@return table
function Connection:info()
  return self._core:state()
end

--- One short line an envelope, payloads cut, credentials never: true prints
--- them to stderr, a function is called with each (it must not wait), false
--- stops.
---@param to boolean|fun(line: string)
function Connection:trace(to)
  options.argument("trace", "to", TRACE, to)
  self._tracer = type(to) == "function" and to
  self._core:trace(self._tracer and "keep" or to and "stderr" or "off")
end

local function key_of(kind, id)
  return kind .. id
end

--- Makes the channel of a scope that is open in the core.
---@return agentwire.Channel
function Connection:_adopt(core, slot, kind, id)
  local made = channel.new(self, protocols[kind], core, slot, id)
  self._channels[slot], self._cores[slot] = made, core
  self._by_id[key_of(kind, id)] = made
  return made
end

---@return agentwire.Channel?
function Connection:_find(kind, id)
  return self._by_id[key_of(kind, id)]
end

--- A scope has ended, or has nothing under way any more.
function Connection:_rested()
  self._idle:wake_all()
end

function Connection:_forget(slot, kind, id)
  self._channels[slot], self._cores[slot] = nil, nil
  self:_rested()
  local key = key_of(kind, id)
  local made = self._by_id[key]
  if made and made._slot == slot then
    self._by_id[key] = nil
  end
end

--- Nobody holds the channel any more. The peer is told what its protocol says
--- to somebody whose work is no longer wanted.
function Connection:_abandon(core, slot, kind, id)
  local _, _, _, sent = core:state()
  if sent and sent > 0 then
    local type, payload = protocols[kind].abandon(id)
    core:send(type, payload)
  end
  self:_forget(slot, kind, id)
  core:close()
end

--- Opens a scope; its first message is the caller's to send.
---@param kind "provider"|"agent"|"tool"
---@param id string? UUID; made when nil
---@return agentwire.Channel? channel
---@return string? message
---@return string? code "exists", "limit" or "closed"
function Connection:open(kind, id)
  options.argument("open", "kind", SCOPED, kind)
  options.optional("open", "id", options.uuid, id)
  local core, slot, made_id = self._core:open(kind, id)
  if not core then
    return nil, slot, made_id
  end
  return self:_adopt(core, slot, kind, made_id)
end

--- Has `handler(channel)` run, in a task of its own, for each scope of this
--- kind that the peer opens.
---@param kind "provider"|"agent"|"tool"
---@param handler fun(channel: agentwire.Channel)
function Connection:serve(kind, handler)
  options.argument("serve", "kind", SCOPED, kind)
  options.argument("serve", "handler", options.func, handler)
  self._handlers[kind] = handler
end

--- Has `fn(message)` called for each unsequenced message of this kind (pings
--- are answered already). It must not wait.
---@param kind "provider"|"agent"|"tool"|"link"
---@param fn fun(message: table)
---@return fun() off calls it no longer
function Connection:on_control(kind, fn)
  options.argument("on_control", "kind", SPOKEN, kind)
  options.argument("on_control", "fn", options.func, fn)
  return self._control_listeners[kind]:add(fn)
end

--- Has `handle(object, message)` called for each unsequenced message of this
--- kind, for as long as somebody else holds the object.
---@param kind string
---@param object table
---@param handle fun(object: table, message: table)
function Connection:_listen(kind, object, handle)
  local objects = self._objects[kind] or setmetatable({}, { __mode = "k" })
  self._objects[kind] = objects
  objects[object] = handle
end

--- Sends a message with sequence 0.
---@param kind string
---@param id string
---@param type string
---@param payload table?
---@param in_reply_to string?
---@return boolean|nil ok
---@return string? message
---@return string? code "closed" or "would_block" (64 KiB wait already)
function Connection:send_control(kind, id, type, payload, in_reply_to)
  options.argument("send_control", "kind", SPOKEN, kind)
  if kind ~= "link" then
    options.argument("send_control", "id", options.uuid, id)
  end
  options.argument("send_control", "type", options.filled, type)
  options.optional("send_control", "in_reply_to", options.uuid, in_reply_to)
  return self._core:send_control(kind, id, type, payload, in_reply_to)
end

--- Notes what the core says of the last end of a transport.
function Connection:_note_end()
  local error_code, code, reason = self._core:last_end()
  self._why = reason ~= "" and reason or error_code
  self._code, self._error = code, error_code
end

--- It is over: everybody who waits is told. Idempotent.
function Connection:_finish()
  if self._state == "closed" then
    return
  end
  self:_set_state("closed", { reason = self._why, code = self._code })
  reconnect.end_absence(self)
  for _, made in pairs(self._channels) do
    made:_wake(ENDED)
  end
  self:_lose_questions(self._why, "closed")
  self._host:unwatch(self._handle)
  self._closed:set(true)
  if self._is_dialling then -- it may wait for a token
    self._keeper:cancel("the connection is closed")
  end
end

--- A connection over a core connection that has a transport, or will have one.
---@param core userdata
---@param given table `is_server`, or `dialer`, `reconnect` and the like
---@return agentwire.Connection
function M.new(core, given)
  local self = new(core, given)
  self._host:watch(self._handle, function(_, events)
    news.take(self, events)
  end)
  self._keeper = self._host:spawn(reconnect.keep, self)
  self._keeper:defer(function()
    reconnect.farewell(self)
  end)
  self._keeper.name = tostring(self)
  return self
end

--- A connection over a core connection that a server accepted, or that is one
--- end of a pair.
---@param core userdata
---@param given table? `trace`, `on_state`, `shares`
---@return agentwire.Connection
function M.accepted(core, given)
  local self = M.new(core, tables.over(given, {
    is_server = true, reconnect = false, peer = core:state().peer,
  }))
  self.identity = identity.of(core)
  return self
end

--- Waits until the connection is over.
---@async
---@param timeout_ms number?
---@return boolean|nil ok
---@return string? message
---@return string? code
function Connection:wait_closed(timeout_ms)
  options.timeout("wait_closed", timeout_ms)
  return self._closed:wait(timeout_ms)
end

-- Who waits looks again, at the first scope that is at work.
local function is_idle(self)
  for slot in pairs(self._cores) do
    local made = self._channels[slot]
    if not (made and made:is_resting()) then
      return false
    end
  end
  return true
end

--- Waits until nothing is under way here: no scope is open but those that rest,
--- as sessions do between their runs, and tools between calls.
---@async
---@param timeout_ms number?
---@return boolean|nil ok
---@return string? message
---@return string? code "timeout"
function Connection:wait_idle(timeout_ms)
  options.timeout("wait_idle", timeout_ms)
  while not is_idle(self) do
    local _, message, code = self._idle:wait(timeout_ms)
    if code then
      return nil, message, code
    end
  end
  return true
end

--- Ends the connection in order: what waits is sent first. Idempotent; every
--- scope and every waiter ends with the reason.
---@param reason string?
---@param code integer? WebSocket close code, default 1000
function Connection:close(reason, code)
  options.optional("close", "reason", options.string, reason)
  options.optional("close", "code", CLOSE_CODE, code)
  if self._is_leaving then
    return
  end
  self._is_leaving = true
  self._core:close(code or 1000, reason or "")
end

--- Drops the transport as a broken network would. For tests, and for whoever
--- knows that a network is gone.
---@param reason string?
function Connection:cut(reason)
  options.optional("cut", "reason", options.string, reason)
  self._core:cut(reason)
end

for name, method in pairs(require("agentwire._questions")) do
  Connection[name] = method
end

local Ping = {}
Ping.__index = Ping

function Ping:over(conn)
  if self.id then
    conn._pings[self.id] = nil
  end
end

function Ping:ask(conn)
  local sent, id, problem = conn._core:send_ping(NIL_ID)
  if sent then
    self:over(conn)
    self.id = id
    conn._pings[id] = self.latch
  end
  return sent, id, problem
end

--- A ping and its pong on this connection, or on the next one if it is cut.
---@async
---@param timeout_ms number?
---@return boolean|nil ok
---@return string? message
---@return string? code "timeout", "lost" or "closed"
function Connection:ping(timeout_ms)
  options.timeout("ping", timeout_ms)
  return self:_ask(setmetatable({ latch = wait.latch("a pong"), id = nil }, Ping),
    timeout_ms)
end

local function client(self, kind, module)
  local made = self._clients[kind]
  if not made then
    made = require(module).new(self)
    self._clients[kind] = made
  end
  return made
end

--- Model streams of the provider at the other end.
---@return agentwire.ProviderClient
function Connection:provider()
  return client(self, "provider", "agentwire.provider.client")
end

--- Agent sessions at the other end.
---@return agentwire.AgentClient
function Connection:agent()
  return client(self, "agent", "agentwire.agent.client")
end

--- Tools at the other end.
---@return agentwire.ToolClient
function Connection:tool()
  return client(self, "tool", "agentwire.tool.client")
end

class.seal(Connection, "conn")

return M
