--- A connection: scopes of three protocols over one transport at a time. It
--- survives the loss of its transport where the peer speaks agentwire.v1.
local class = require("agentwire._class")
local channel = require("agentwire.channel")
local events_of = require("agentwire._events")
local host = require("agentwire.host")
local identity = require("agentwire._identity")
local options = require("agentwire._options")
local protocols = require("agentwire.protocols")
local reconnect = require("agentwire._reconnect")
local task = require("agentwire.task")
local wait = require("agentwire._wait")

local M = {}

local has = events_of.has
local UP, DOWN = events_of.conn.UP, events_of.conn.DOWN
local NEWS, CLOSED = events_of.conn.NEWS, events_of.conn.CLOSED

local NIL_ID = "00000000-0000-0000-0000-000000000000"

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
    peer = nil,
    _core = core,
    _handle = core:handle(),
    _options = given,
    _host = host.current(),
    _state = given.is_server and "open" or "connecting",
    _why = nil, -- of the last loss or end
    _code = nil,
    _cores = {}, -- of the channels in use, by slot
    _channels = setmetatable({}, WEAK), -- who holds them keeps them open
    _by_id = setmetatable({}, WEAK), -- by kind and id
    _servers = {}, -- by kind
    _control = {}, -- by kind
    _clients = {}, -- by kind
    _objects = {}, -- by kind: who hears of unsequenced messages while it lives
    _pings = {}, -- latches by message id
    _questions = {}, -- asked outside the numbering, and not answered yet
    _listeners = { given.on_state and { fn = given.on_state } },
    _tracer = nil,
    _keeper = nil,
    _attempt = 0, -- since it was open
    _window = nil, -- the timer after which what was open is lost
    _changed = nil,
    _idle = nil,
    _closed = nil,
  }, Connection)
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

local function listen(list, fn)
  local entry = { fn = fn }
  table.insert(list, entry)
  return function()
    for index, each in ipairs(list) do
      if each == entry then
        table.remove(list, index)
        return
      end
    end
  end
end

-- A listener may stop listening: the list is walked as it was.
local function each_listener(list)
  local copy = {}
  for index, entry in ipairs(list or {}) do
    copy[index] = entry.fn
  end
  return ipairs(copy)
end

local function tell(self, event)
  for _, listener in each_listener(self._listeners) do
    self._host._scheduler:call("a state listener", listener, event, self)
  end
end

local function set_state(self, state, fields)
  if self._state == "closed" then
    return
  end
  local event = fields or {}
  event.type = state
  if state == "open" then
    reconnect.came_back(self, event.resumed)
  end
  self._state = state
  tell(self, event)
  self._changed:wake_all()
end

Connection._set_state = set_state

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
  return listen(self._listeners, fn)
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
  self._tracer = type(to) == "function" and to or nil
  self._core:trace(self._tracer and "keep" or to and "stderr" or "off")
end

local function key_of(kind, id)
  return kind .. id
end

local function adopt(self, core, slot, kind, id)
  local made = channel.new(self, protocols[kind], core, slot, id)
  self._channels[slot], self._cores[slot] = made, core
  self._by_id[key_of(kind, id)] = made
  return made
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
  return adopt(self, core, slot, kind, made_id)
end

--- Has `handler(channel)` run, in a task of its own, for each scope of this
--- kind that the peer opens.
---@param kind "provider"|"agent"|"tool"
---@param handler fun(channel: agentwire.Channel)
function Connection:serve(kind, handler)
  options.argument("serve", "kind", SCOPED, kind)
  options.argument("serve", "handler", options.func, handler)
  self._servers[kind] = handler
end

--- Has `fn(message)` called for each unsequenced message of this kind (pings
--- are answered already). It must not wait.
---@param kind "provider"|"agent"|"tool"|"link"
---@param fn fun(message: table)
---@return fun() off calls it no longer
function Connection:on_control(kind, fn)
  options.argument("on_control", "kind", SPOKEN, kind)
  options.argument("on_control", "fn", options.func, fn)
  self._control[kind] = self._control[kind] or {}
  return listen(self._control[kind], fn)
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

--- Ends a scope that its handler has left. One without an end gets a failure,
--- so that the peer does not wait for what nobody will send.
local function end_scope(made, why, send)
  if not made:is_ended() then
    send(made, protocols[made.kind].fail("internal_error", why))
  end
  made:close()
end

--- A handler that raised ends its scope, with the reason, and nothing else.
local function run_handler(self, made, handler)
  local ok, err = xpcall(handler, function(err)
    if task.is_cancelled(err) then
      return err
    end
    return debug.traceback(wait.error_text(err), 2)
  end, made)
  local why = "the handler returned before the end"
  if not ok and task.is_cancelled(err) then
    error(err, 0)
  elseif not ok then
    self._host._scheduler:report(err, "the handler of " .. tostring(made))
    why = "the handler failed"
  end
  end_scope(made, why, made.send)
end

--- The handler of a kind that is not served: each message is answered as one
--- that was refused, so that the peer's client finds what it asked for.
local function refuse_all(made)
  local event = made:receive()
  while event do
    local id = made:message_id()
    local type, payload = protocols[made.kind].refuse {
      code = "not_implemented", type = event.type, id = made.id,
      message = "no " .. made.kind .. " is served here", message_id = id,
      execution_id = event.execution_id, known = false,
    }
    if type and event.type ~= "refused" then -- else it has been answered
      made:send(type, payload, id)
    end
    event = made:receive()
  end
end

local function opened(self, made)
  local handler = self._servers[made.kind] or refuse_all
  local served = task.spawn_in(self._host._scheduler, self._keeper,
    run_handler, self, made, handler)
  -- However it ended: cancelled before it began, or by a yield of its own.
  served:defer(function()
    end_scope(made, served:failure() or "the handler ended", made.try_send)
  end)
end

local function poll_channels(self)
  local core, channels = self._core, self._channels
  while true do
    local slot, events, fresh, kind, id = core:poll()
    if not slot then
      return
    end
    if fresh then
      opened(self, adopt(self, fresh, slot, kind, id))
    else
      local made = channels[slot]
      if made then
        made:_wake(events)
      end
    end
  end
end

-- With sequence 0 these say that there is no such scope.
local UNSEQUENCED_ERRORS = {
  nack = true, stream_error = true, agent_error = true, tool_error = true,
}

local function answer_ping(self, message)
  self._core:send_control(message.kind, message.id, "pong",
    { ping_id = message.message_id }, message.message_id)
end

local function take_control(self, message)
  if message.type == "ping" then
    return answer_ping(self, message)
  elseif message.type == "pong" then
    local latch = self._pings[message.ping_id or message.in_reply_to]
    if latch then
      latch:set(true)
    end
  elseif message.kind == "link" and message.type == "goodbye" then
    reconnect.heed_goodbye(self, message)
  elseif UNSEQUENCED_ERRORS[message.type] then
    local made = self._by_id[key_of(message.kind, message.id)]
    if made then
      made:_refuse(message.reason or message.message or message.type,
        message.error_code or message.code or "refused")
    end
  end
  for object, handle in pairs(self._objects[message.kind] or {}) do
    self._host._scheduler:call("a client", handle, object, message)
  end
  for _, fn in each_listener(self._control[message.kind]) do
    self._host._scheduler:call("a control listener", fn, message)
  end
end

local function describe(refusal)
  local text = refusal.message
  if refusal.offset and refusal.code:find("^json_") then
    text = string.format("%s at byte %d", text, refusal.offset)
  elseif refusal.field then
    text = string.format("%s (%s)", text, refusal.field)
  end
  return text
end

-- Answers of one scope that wait for room in its window; further ones are not
-- given.
local MAX_ANSWERS = 64

--- Who sent what was consumed waits for the answer, so it may have to wait for
--- the window, in a task of its own.
local function answer_later(self, made, type, payload, message_id)
  if made._answers >= MAX_ANSWERS then
    return
  end
  made._answers = made._answers + 1
  task.spawn_in(self._host._scheduler, self._keeper, function()
    made:send(type, payload, message_id)
    made._answers = made._answers - 1
  end)
end

--- The answer to an envelope that the core refused: the protocol's own message
--- where the scope is known by name, else the connection's error frame.
local function answer_refusal(self, refusal)
  local protocol = refusal.id and protocols[refusal.kind]
  if not protocol then
    self._core:send_error("unknown_envelope", describe(refusal))
    return
  end
  local type, payload = protocol.refuse(refusal)
  if not type then
    return
  end
  local made = refusal.known
    and self._by_id[key_of(refusal.kind, refusal.id)]
  if made then
    local _, _, code = made:try_send(type, payload, refusal.message_id)
    if code == "would_block" and refusal.consumed then
      answer_later(self, made, type, payload, refusal.message_id)
    end
  else
    self._core:send_control(refusal.kind, refusal.id, type, payload,
      refusal.message_id)
  end
end

local function drain(next_one, self, handle)
  local core = self._core
  local each = next_one(core)
  while each do
    handle(self, each)
    each = next_one(core)
  end
end

local function give_trace(self)
  for line in (self._core:trace_lines() or ""):gmatch("[^\n]+") do
    self._host._scheduler:call("a trace hook", self._tracer, line)
  end
end

--- After a loss a connection is open again when its session is: the welcome
--- says whether that is the old one.
local function note_notice(self, notice)
  if self._lost then
    set_state(self, "open", { resumed = notice == "resumed" })
    self:_ask_again()
  end
end

local function note_loss(self)
  local error_code, code, reason = self._core:last_end()
  self._why = reason ~= "" and reason or error_code
  self._code, self._error = code, error_code
end

local function on_ready(self, events)
  local core = self._core
  if has(events, UP) then
    local state = core:state()
    self.peer = state.peer or self.peer
    self.identity = identity.of(core, self.identity)
    if not (self._lost and state.extended) then
      set_state(self, "open", { resumed = false })
      self:_ask_again()
    end
  end
  drain(core.notice, self, note_notice)
  poll_channels(self)
  if has(events, NEWS) then
    drain(core.control, self, take_control)
    drain(core.refusal, self, answer_refusal)
    if self._tracer then
      give_trace(self)
    end
  end
  if has(events, DOWN) then
    note_loss(self)
    self._lost = true
    self._down = true
    self._changed:wake_all()
  end
  if has(events, CLOSED) then
    note_loss(self)
    self:_finish()
  end
end

function Connection:_finish()
  if self._state == "closed" then
    return
  end
  set_state(self, "closed", { reason = self._why, code = self._code })
  reconnect.end_absence(self)
  for _, made in pairs(self._channels) do
    made:_wake(events_of.channel.ENDED)
  end
  self:_lose_questions(self._why, "closed")
  self._host:unwatch(self._handle)
  self._closed:set(true)
  if self._dialling then -- it may wait for a token
    self._keeper:cancel("the connection is closed")
  end
end

local function start(self)
  self._host:watch(self._handle, function(_, events)
    on_ready(self, events)
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
---@param given table?
---@return agentwire.Connection
function M.accepted(core, given)
  local merged = { is_server = true, reconnect = false }
  for key, value in pairs(given or {}) do
    merged[key] = value
  end
  local self = new(core, merged)
  self.peer = core:state().peer
  self.identity = identity.of(core)
  self._shares = merged.shares
  return start(self)
end

--- Waits for the first opening. A failure here is final: whoever calls knows
--- best whether to try again.
local function await_open(self, deadline)
  while self._state == "connecting" do
    local _, message, code =
      self._changed:wait(deadline and deadline - self._host:now())
    if code then
      return nil, message, code
    end
    if self._down then
      break
    end
  end
  if self._state == "open" then
    self._options.reconnect = self._wanted
    return self
  elseif self._state ~= "closed" then
    note_loss(self) -- else the end has noted it, and another may follow
  end
  return nil, self._why, self._error == "ok" and "refused" or self._error
end

--- Undoes what a connect has begun that nobody will get.
local function undo(self, why)
  self._core:abandon(why)
  self:_finish()
end

--- What the first attempt needs, within the time that it has.
local function ask(dialer, timeout_ms)
  if timeout_ms and dialer.refreshes then
    return task.timeout(timeout_ms, dialer.ask, dialer)
  end
  return dialer:ask()
end

--- Connects. The dialer asks for what each attempt needs, and starts it
--- (agentwire._connect).
---@async
---@param make fun(): userdata?, string?, string? makes the core's connection
---@param dialer agentwire.Dialer
---@param given table
---@return agentwire.Connection? connection
---@return string? message
---@return string? code
function M.dial(make, dialer, given)
  local now = host.current():now()
  local asked, message, code = ask(dialer, given.timeout_ms)
  if not asked then
    return nil, message, code
  end
  local core, ok
  core, message, code = make()
  if not core then
    return nil, message, code
  end
  ok, message, code = dialer:dial(core, asked)
  if not ok then
    core:free()
    return nil, message, code
  end
  local self = new(core, {
    dialer = dialer, reconnect = false, trace = given.trace,
    follow = given.follow, on_state = given.on_state,
    window_ms = given.window_ms,
  })
  self._wanted = reconnect.policy(given.reconnect)
  self.peer = dialer.url and reconnect.shown(dialer.url)
  start(self)
  local returned
  returned, ok, message, code = pcall(await_open, self,
    given.timeout_ms and now + given.timeout_ms)
  if not returned then
    undo(self, "the caller was cancelled")
    error(ok, 0)
  elseif not ok then
    undo(self, message)
  end
  return ok, message, code
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
  if self._leaving then
    return
  end
  self._leaving = true
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

--- A ping and its pong on this connection, or on the next one if it is cut.
---@async
---@param timeout_ms number?
---@return boolean|nil ok
---@return string? message
---@return string? code "timeout", "lost" or "closed"
function Connection:ping(timeout_ms)
  options.timeout("ping", timeout_ms)
  local latch, asked = wait.latch("a pong"), nil
  local function forget()
    if asked then
      self._pings[asked] = nil
    end
  end
  local ok, answer, message, code = pcall(self._ask, self, {
    latch = latch,
    ask = function()
      local sent, id, problem = self._core:send_ping(NIL_ID)
      if sent then
        forget()
        asked = id
        self._pings[id] = latch
      end
      return sent, id, problem
    end,
  }, timeout_ms)
  forget()
  if not ok then
    error(answer, 0)
  end
  return answer, message, code
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
