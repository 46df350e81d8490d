--- One scope of a connection, as a script sees it: send, receive, close. The
--- numbering, the queues and the credit are C (`agentwire.core`): here is who
--- waits for them. A waiter asks the core first and waits if that has nothing;
--- nothing else runs in between, and the core tells of each change in a later
--- turn (`_wake`), so that none is missed. Whoever is woken asks again.
local class = require("agentwire._class")
local core = require("agentwire.core")
local events_of = require("agentwire._events")
local guard = require("agentwire._guard")
local misuse = require("agentwire._misuse")
local options = require("agentwire._options")
local wait = require("agentwire._wait")

local READABLE = events_of.channel.READABLE
local WRITABLE = events_of.channel.WRITABLE

local M = {}

--- Codes of `send` that mean: nobody will read what is sent, now or later.
M.GONE = { closed = true, ended = true, lost = true, undeliverable = true }

-- They look at their receiver themselves, because as in channel.receive(5000) it
-- can be anything.
local send_message, next_message = core.channel.send, core.channel.next

---@class agentwire.Channel
---@field id string UUID of the scope
---@field kind "provider"|"agent"|"tool"
---@field connection agentwire.Connection
local Channel = {}
Channel.__index = Channel

function Channel:__tostring()
  return string.format("%s scope %s", self.kind, self.id)
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
---@param handle userdata the core's channel
---@param slot integer
---@param id string
---@return agentwire.Channel
function M.new(connection, protocol, handle, slot, id)
  local self = setmetatable({
    handle, -- where the core's functions find it
    id = id,
    kind = protocol.kind,
    connection = connection,
    _slot = slot,
    _overflow = nil, -- "fail", or the function that folds a full log
    _readers = nil, -- signal: a message has come, or the end
    _writers = nil, -- signal: there is room again, or the end
    _closed = false, -- here; the scope may be open at the peer
    _work = nil, -- pieces under way; nil: the scope itself is one
    _answers = 0, -- to refused messages, that wait for room
    _refusal = nil, -- the peer's word that it has no such scope
  }, Channel)
  self._anchor, self._guard = guard.new(function()
    connection:_abandon(handle, slot, protocol.kind, id)
  end)
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
  local handle, how = self[1], self._overflow
  if not how or not handle:may_fold() then
    return false
  elseif how == "fail" then
    handle:give_up()
    return true
  end
  local state, payload, covers = how(kind)
  return handle:fold(state, payload) == true, covers
end

--- Raises for what the core would not look at: its `false`.
local function explain(title, self, type_name, in_reply_to)
  if getmetatable(self) ~= Channel then
    class.raise_dot("channel", title)
  elseif type(type_name) ~= "string" then
    misuse.raise("%s: type: expected a string, got %s", title,
      misuse.describe(type_name))
  end
  options.optional(title, "in_reply_to", options.uuid, in_reply_to)
  class.raise_dot("channel", title)
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
  while true do
    local ok, message, code = send_message(self, type, payload, in_reply_to)
    if ok then
      return ok
    elseif ok == false then
      explain("send", self, type, in_reply_to)
    elseif code ~= "would_block" then
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
  local ok, message, code = send_message(self, type, payload, in_reply_to)
  if ok == false then
    explain("try_send", self, type, in_reply_to)
  end
  return ok, message, code
end

--- The next message, or nil when none waits: `type`, `sequence` and the
--- payload's members in one table. One that could not be taken (its `code` is
--- "limit", "json_*" or "invalid_request") comes as `{type = "refused",
--- refused_type, sequence, code, message}`; the peer has been told.
---@return table? event
function Channel:next()
  local event = next_message(self)
  if event == false then
    class.raise_dot("channel", "next")
  end
  return event
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
  local state, code = self[1]:state()
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
  if timeout_ms ~= nil then
    options.timeout("receive", timeout_ms)
  end
  while true do
    local event = next_message(self)
    if event then
      return event
    elseif event == false then
      class.raise_dot("channel", "receive")
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
  self[1]:confirm_manually()
end

--- Confirms every message that was received so far.
function Channel:confirm()
  self[1]:confirm()
end

--- Message id of the message received last.
---@return string?
function Channel:message_id()
  return (self[1]:header())
end

--- Message id that the message received last answers.
---@return string?
function Channel:reply_to()
  local id, reply = self[1]:header()
  return id and reply
end

--- Message id of the message sent last.
---@return string?
function Channel:sent_id()
  return self[1]:sent_id()
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
  self[1]:close()
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
