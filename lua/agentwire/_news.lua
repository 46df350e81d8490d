--- What the core of a connection has to tell, handed to whom it concerns. The
--- host calls `take` once for a burst of news, and everything that waits in the
--- core is taken then. The core says that a queue is no longer empty, not that
--- it still is: what was left would wait until something else happens.
local events_of = require("agentwire._events")
local handlers = require("agentwire._handlers")
local identity = require("agentwire._identity")
local protocols = require("agentwire.protocols")
local reconnect = require("agentwire._reconnect")

local M = {}

local has = events_of.has
local UP, DOWN = events_of.conn.UP, events_of.conn.DOWN
local NEWS, CLOSED = events_of.conn.NEWS, events_of.conn.CLOSED

local function poll_channels(self)
  local core, channels = self._core, self._channels
  while true do
    local slot, events, fresh, kind, id = core:poll()
    if not slot then
      return
    elseif fresh then
      handlers.start(self, self:_adopt(fresh, slot, kind, id),
        self._handlers[kind])
    else
      local channel = channels[slot]
      if channel then -- else nobody holds it any more
        channel:_wake(events)
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
    local channel = self:_find(message.kind, message.id)
    if channel then
      channel:_refuse(message.reason or message.message or message.type,
        message.error_code or message.code or "refused")
    end
  end
  local current = self._host
  for object, handle in pairs(self._objects[message.kind] or {}) do
    current:call("a client", handle, object, message)
  end
  for _, fn in self._control_listeners[message.kind]:each() do
    current:call("a control listener", fn, message)
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
local function answer_later(self, channel, type, payload, message_id)
  if channel._answers >= MAX_ANSWERS then
    return
  end
  channel._answers = channel._answers + 1
  self._host:spawn_under(self._keeper, function()
    channel:send(type, payload, message_id)
    channel._answers = channel._answers - 1
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
  local channel = refusal.known and self:_find(refusal.kind, refusal.id)
  -- A scope that is over gives no more numbers; who opened it anew is told in
  -- the scope that it meant, which is not there.
  if channel and not channel:why_over() then
    local _, _, code = channel:try_send(type, payload, refusal.message_id)
    if code == "would_block" and refusal.consumed then
      answer_later(self, channel, type, payload, refusal.message_id)
    end
  else
    self._core:send_control(refusal.kind, refusal.id, type, payload,
      refusal.message_id)
  end
end

--- Calls `handle(self, each)` for each thing that a queue of the core holds.
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
    self._host:call("a trace hook", self._tracer, line)
  end
end

local function opened(self, resumed)
  self:_set_state("open", { resumed = resumed })
  self:_ask_again()
end

--- After a loss a connection is open again when its session is: the welcome
--- says whether that is the old one.
local function take_notice(self, notice)
  if self._was_lost then
    opened(self, notice == "resumed")
  end
end

--- A transport is open. A connection that had one before waits for the welcome,
--- if its peer speaks agentwire.v1.
local function take_up(self)
  local state = self._core:state()
  self.peer = state.peer or self.peer
  self.identity = identity.of(self._core, self.identity)
  if not (self._was_lost and state.extended) then
    opened(self, false)
  end
end

local function take_down(self)
  self:_note_end()
  self._was_lost = true
  self._is_down = true
  self._changed:wake_all() -- its keeper sees to what comes next
end

--- Takes all that has happened. In this order: a connection is open before its
--- scopes have news, and these have all that came before the transport went.
--- Scopes have no bit of their own here: each of the four may concern them.
---@param self agentwire.Connection
---@param events integer bits of `agentwire._events`.conn
function M.take(self, events)
  if has(events, UP) then
    take_up(self)
  end
  drain(self._core.notice, self, take_notice)
  poll_channels(self)
  if has(events, NEWS) then
    drain(self._core.control, self, take_control)
    drain(self._core.refusal, self, answer_refusal)
    if self._tracer then
      give_trace(self)
    end
  end
  if has(events, DOWN) then
    take_down(self)
  end
  if has(events, CLOSED) then
    self:_note_end()
    self:_finish()
  end
end

return M
