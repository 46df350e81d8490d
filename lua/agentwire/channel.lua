--- One scope of a connection, as a script sees it: send, receive, close. The
--- numbering, the queues and the credit are C (`agentwire.core`).
local class = require("agentwire._class")
local events_of = require("agentwire._events")
local guard = require("agentwire._guard")
local misuse = require("agentwire._misuse")
local options = require("agentwire._options")
local wait = require("agentwire._wait")

local READABLE = events_of.channel.READABLE
local WRITABLE = events_of.channel.WRITABLE

local M = {}

-- By channel: in place of a field, because a receiver that is no channel, as in
-- channel.receive(5000), has none, whatever it is.
local cores = setmetatable({}, { __mode = "k" })

---@class agentwire.Channel
---@field id string UUID of the scope
---@field kind "provider"|"agent"|"tool"
---@field connection agentwire.Connection
local Channel = {}
Channel.__index = Channel

function Channel:__tostring()
  return string.format("%s scope %s", self.kind, self.id)
end

-- By protocol: the types it knows, each with whether it is urgent.
local urgencies = setmetatable({}, { __mode = "k" })

local function urgency_of(protocol)
  local known = urgencies[protocol]
  if not known then
    known = {}
    for name in pairs(protocol.messages) do
      known[name] = false
    end
    for name in pairs(protocol.urgent) do
      known[name] = true
    end
    urgencies[protocol] = known
  end
  return known
end

-- Ends that are no word of the peer's, and what they say.
local OWN_ENDS = {
  lost = "the peer no longer has this scope",
  limit = "a message that waited is longer than the peer takes now",
  undeliverable = "a message of the scope ended each connection that carried it",
}

--- Made by a connection alone.
---@param connection agentwire.Connection
---@param protocol table the kind's protocol module
---@param core userdata
---@param slot integer
---@param id string
---@return agentwire.Channel
function M.new(connection, protocol, core, slot, id)
  local self = setmetatable({
    id = id,
    kind = protocol.kind,
    connection = connection,
    _core = core,
    _slot = slot,
    _urgency = urgency_of(protocol),
    _overflow = nil, -- what to do about a full log
    _readers = nil,
    _writers = nil,
    _closed = false,
    _work = nil, -- pieces under way; nil: the scope itself is one
    _answers = 0, -- to refused messages, that wait for room
    _refusal = nil, -- the peer's word that it has no such scope
  }, Channel)
  self._anchor, self._guard = guard.new(function()
    connection:_abandon(core, slot, protocol.kind, id)
  end)
  cores[self] = core
  self._readers = wait.signal("a message of", self)
  self._writers = wait.signal("room to send on", self)
  return self
end

--- What becomes of the scope when its log is full while the peer is away. By
--- default the sender waits for its return ("pause"). With "fail" the scope
--- ends with code "lost" at both ends. A function folds the log: it is called
--- with the type of the message that has no room, and gives the type and
--- payload of one that stands for all that was sent (docs/wire.md section 7),
--- and true if that covers the message as well. Folding is a server's; a
--- client's sender waits.
---@param how "pause"|"fail"|fun(type: string): string, table, boolean?
function Channel:on_overflow(how)
  if how ~= "pause" and how ~= "fail" and type(how) ~= "function" then
    misuse.raise("on_overflow takes \"pause\", \"fail\" or a function, got %s",
      misuse.describe(how))
  end
  self._overflow = how ~= "pause" and how or nil
end

-- Tries to make room in a full log; true when there is some, and whether the
-- message of this type has gone with it.
local function make_room(self, kind)
  local core, how = self._core, self._overflow
  if not how or not core:may_fold() then
    return false
  elseif how == "fail" then
    core:give_up()
    return true
  end
  local state, payload, covers = how(kind)
  return core:fold(state, payload) == true, covers
end

-- Asked for what is not plainly right: this is the hot path of all sending.
local function check_message(title, type_name, in_reply_to)
  if type(type_name) ~= "string" then
    misuse.raise("%s: type: expected a string, got %s", title,
      misuse.describe(type_name))
  elseif in_reply_to ~= nil then
    options.argument(title, "in_reply_to", options.uuid, in_reply_to)
  end
end

--- Sends the next message of the scope; waits while its window is full.
---@async
---@param type string
---@param payload table? wire field names; nil members are absent
---@param in_reply_to string? message id
---@return boolean|nil ok
---@return string? message
---@return string? code "closed", "ended", "lost", "undeliverable", "json_*", and
--- "limit": the message is more than the peer takes, and nothing was sent
function Channel:send(type, payload, in_reply_to)
  local core = cores[self]
  if not core then
    class.raise_dot("channel", "send")
  end
  local urgent = self._urgency[type]
  if urgent == nil or in_reply_to ~= nil then
    check_message("send", type, in_reply_to)
  end
  while true do
    local ok, message, code =
      core:send(type, payload, in_reply_to, urgent)
    if code ~= "would_block" then
      return ok, message, code
    end
    local made, covered = make_room(self, type)
    if covered and made then
      return true
    elseif not made then
      self._writers:wait()
    end
  end
end

--- As send, but never waits.
---@param type string
---@param payload table?
---@param in_reply_to string?
---@return boolean|nil ok
---@return string? message
---@return string? code as send, and "would_block"
function Channel:try_send(type, payload, in_reply_to)
  local core = cores[self]
  if not core then
    class.raise_dot("channel", "try_send")
  end
  local urgent = self._urgency[type]
  if urgent == nil or in_reply_to ~= nil then
    check_message("try_send", type, in_reply_to)
  end
  return core:send(type, payload, in_reply_to, urgent)
end

--- The next message, or nil when none waits: `type`, `sequence` and the
--- payload's members in one table. One that could not be taken (its `code` is
--- "limit", "json_*" or "invalid_request") comes as `{type = "refused",
--- refused_type, sequence, code, message}`; the peer has been told.
---@return table? event
function Channel:next()
  local core = cores[self]
  if not core then
    class.raise_dot("channel", "next")
  end
  return core:next()
end

--- Why nothing more will come, or nil while something may.
---@return string? message
---@return string? code "ended", "lost", "closed", "undeliverable", "limit", or a
--- peer's error code
function Channel:why_over()
  if self._closed then
    return "the scope was closed here", "closed"
  elseif self._refusal then
    return self._refusal.message, self._refusal.code
  end
  local state, code = self._core:state()
  if state ~= "over" then
    return nil
  elseif code == nil then
    return "the scope has ended", "ended"
  elseif OWN_ENDS[code] then
    return OWN_ENDS[code], code
  end
  return (self.connection:why_closed()) or "the peer let go of the scope",
    "closed"
end

--- Waits for the next message.
---@async
---@param timeout_ms number?
---@return table? event
---@return string? message
---@return string? code "ended", "lost", "closed" or "timeout"
function Channel:receive(timeout_ms)
  local core = cores[self]
  if not core then
    class.raise_dot("channel", "receive")
  elseif timeout_ms ~= nil then
    options.timeout("receive", timeout_ms)
  end
  while true do
    local event = core:next()
    if event then
      return event
    end
    local message, code = self:why_over()
    if code then
      return nil, message, code
    end
    local _
    _, message, code = self._readers:wait(timeout_ms)
    if code then
      return nil, message, code
    end
  end
end

--- From now on a received message counts as consumed only when `confirm` is
--- called: until then the peer keeps it in its log, and sends no more than the
--- credit beyond what was confirmed (64 messages or 256 KiB of them).
function Channel:confirm_manually()
  self._core:confirm_manually()
end

--- Confirms every message that was received so far.
function Channel:confirm()
  self._core:confirm()
end

--- Message id of the message received last.
---@return string?
function Channel:message_id()
  return (self._core:header())
end

--- Message id that the message received last answers.
---@return string?
function Channel:reply_to()
  local id, reply = self._core:header()
  return id and reply
end

--- Message id of the message sent last.
---@return string?
function Channel:sent_id()
  return self._core:sent_id()
end

---@return boolean
function Channel:is_ended()
  return self:why_over() ~= nil
end

--- Says that the scope is kept open between pieces of work: nothing is under
--- way in it but what `begin_work` has announced, and a drain waits for that
--- alone. Without this an open scope is work.
function Channel:rest()
  self._work = self._work or 0
  self.connection:_rested()
end

--- A piece of work has begun in a scope that rests.
function Channel:begin_work()
  if self._work then
    self._work = self._work + 1
  end
end

--- A piece of work has ended; once for each `begin_work`.
function Channel:end_work()
  if self._work then
    self._work = self._work - 1
    self.connection:_rested()
  end
end

---@return boolean
function Channel:is_resting()
  return self._work == 0
end

--- Lets go of the scope: what comes for it from now on is dropped and counted.
--- Idempotent; wakes every waiter.
function Channel:close()
  if self._closed then
    return
  end
  self._closed = true
  self._guard:dismiss()
  self.connection:_forget(self._slot, self.kind, self.id)
  self._core:close()
  self._readers:wake_all()
  self._writers:wake_all()
end

--- The peer said, outside the numbering, that there is no such scope.
---@param message string
---@param code string
function Channel:_refuse(message, code)
  self._refusal = { message = message, code = code }
  self._readers:wake_all()
  self._writers:wake_all()
end

--- What the core says has happened to this scope. An end concerns readers and
--- writers: each finds out why it is over.
---@param events integer
function Channel:_wake(events)
  if events ~= WRITABLE then
    self._readers:wake_all()
  end
  if events ~= READABLE then
    self._writers:wake_all()
  end
end

class.seal(Channel, "channel",
  { send = true, try_send = true, receive = true, next = true })

return M
