--- One model stream as its client sees it: an iterator over what its channel
--- brings, and the message that comes of it. Nobody reads a stream but whoever
--- iterates it or asks for its result, so that a slow reader slows its server
--- and no other. It ends once (`finish`), and every reader finds the reason
--- there.
local class = require("agentwire._class")
local options = require("agentwire._options")
local protocol = require("agentwire.provider.protocol")
local reconstruct = require("agentwire.provider.reconstruct")
local task = require("agentwire.task")
local wait = require("agentwire._wait")

local next_message = require("agentwire.core").channel.next

local FOLD = reconstruct.FOLD
local type = type -- asked for each delta

local M = {}

local EVENTS = options.spec("stream:events", { coalesce = options.boolean })

---@class agentwire.Stream
---@field id string stream_id
---@field model table the model as it was asked for
---@field unknown integer messages that were skipped: of types which this version
--- does not know, or deltas that are no text
local Stream = {}
Stream.__index = Stream

function Stream:__tostring()
  return ("stream %s of %s (%s)"):format(self.id, tostring(self.model.id),
    self._ended and "ended" or "running")
end

-- Stands in for the channel of an ended stream, so that the read loop needs
-- no test for the end before each event.
local NO_CHANNEL = {
  next = function() end,
  send = function()
    return nil, "the stream has ended", "ended"
  end,
  try_send = function() end,
  close = function() end,
}

-- A reader joins these: one that is no text is kept from it.
local DELTAS = protocol.deltas

-- What `blocks` is while nothing is reconstructed.
local NO_BLOCKS = {}

-- What had come of a message that has no good end.
local function left_of(stream, code)
  local rec = stream._rec
  return rec and not rec.truncated and rec:cut(
    reconstruct.defaults(stream.model), code == "aborted" and code or "error")
end

--- The one way in which a stream ends. Closing the channel wakes a parked
--- reader, which then finds the reason here.
---@param stream agentwire.Stream
---@param message table|nil
---@param text? string
---@param code? string
local function finish(stream, message, text, code)
  if stream._ended then
    return
  end
  stream._ended = true
  stream._message = message
  stream._error, stream._code = text, code
  stream._usage = stream:usage()
  stream._left = not message and code ~= "closed" and left_of(stream, code)
    or nil
  stream._blocks, stream._rec = NO_BLOCKS, nil
  local channel = stream._channel
  stream._channel, stream._take = NO_CHANNEL, NO_CHANNEL.next
  channel:close()
  stream._on_end(stream)
  if stream._latch then
    stream._latch:set(true)
  end
end

M.finish = finish

-- The message from what came before the terminal, or without one.
local function reconstructed(stream)
  local rec = stream._rec
  if not rec then
    return nil, "the message was not reconstructed", "not_reconstructed"
  elseif rec.truncated then
    return nil, "the message is larger than the limit", "limit"
  end
  return rec:message(reconstruct.defaults(stream.model))
end

local function text_or(value, other)
  return type(value) == "string" and value or other
end

-- By type: what messages other than block events change. What it returns the
-- reader gets; of events of the model it gets each in any case.
local APPLY = {}

function APPLY.ack(stream)
  stream._accepted = true
end

function APPLY.nack(stream, event)
  local answered = stream._channel:reply_to()
  if answered == stream._request_id
    or not (answered or stream._accepted) then
    finish(stream, nil, text_or(event.reason, "refused by the server"),
      protocol.read_code(event.error_code or "invalid_request"))
  end
end

function APPLY.result(stream, event)
  if protocol.check("result", event) then
    finish(stream, protocol.message_from_result(event))
  else
    finish(stream, reconstructed(stream))
  end
end

-- A message of the stream could not be taken: it has a hole from here on.
function APPLY.refused(stream, event)
  pcall(stream.abort, stream, "a message could not be taken")
  finish(stream, nil, ("a message of the stream (%s) could not be taken: %s")
    :format(event.refused_type, event.message), event.code)
end

function APPLY.stream_error(stream, event)
  finish(stream, nil, text_or(event.message, "stream failed"),
    protocol.read_code(event.code))
end

-- Gives events as if they had come, then goes on with the channel.
local function replay(stream, events)
  local at = 0
  stream._take = function(channel)
    at = at + 1
    if events[at] then
      return events[at]
    end
    stream._take = next_message
    return next_message(channel)
  end
end

-- The server has folded what was sent while we were away. The reader gets what
-- it has missed; without reconstruction nobody knows what that is, so it gets
-- the state itself.
function APPLY.sync(stream, event)
  stream._accepted = true
  local ok, problem = protocol.check("sync", event)
  if not ok then
    return finish(stream, nil, problem, "invalid_response")
  end
  local rec = stream._rec
  if not rec then
    return event
  elseif rec.truncated then
    return finish(stream, nil, "the message is larger than the limit", "limit")
  end
  local events
  events, problem = rec:missing(event, stream._with_partial)
  if not events then
    return finish(stream, nil, problem, "invalid_response")
  end
  if not rec.started then
    table.insert(events, 1, {
      type = "start", sequence = event.sequence, model = event.partial
        and event.partial.model or stream.model.id,
      state_of = event.partial and event.partial.state_of,
    })
  end
  replay(stream, events)
end

function APPLY.done(stream, event)
  stream._done = event
end

function APPLY.error(stream, event)
  stream._failure = event
end

-- Applies one message that was received; returns it when the reader gets it.
local function apply(stream, event)
  local kind = event.type
  local known = protocol.events[kind]
    and (not DELTAS[kind] or type(event.delta) == "string")
  local handle = APPLY[kind]
  if known then
    stream._accepted = true
    if stream._rec then
      stream._rec:push(event)
    end
    if handle then
      handle(stream, event)
    end
    return event
  elseif handle then
    return handle(stream, event)
  else
    stream.unknown = stream.unknown + 1
  end
  return nil
end

-- The channel is over without a terminal message. A peer that sent `done` and
-- went away has said all there was to say.
local function finish_lost(stream, text, code)
  local failure = stream._failure
  if failure then
    local why = failure.reason == "aborted" and "aborted"
      or failure.error_code or "provider_error"
    finish(stream, nil, text_or(failure.error_message, "stream failed"),
      protocol.read_code(why))
  elseif stream._done and protocol.check("done", stream._done) then
    finish(stream, stream._done.message)
  else
    finish(stream, nil, text or "the stream was lost", code or "closed")
  end
end

local function receive(stream, timeout_ms)
  local channel = stream._channel
  stream._reading = true
  local ok, event, text, code = pcall(channel.receive, channel, timeout_ms)
  stream._reading = false
  if not ok then
    error(event, 0)
  end
  return event, text, code
end

local function ending(stream)
  return nil, stream._error or "the stream has ended", stream._code or "ended"
end

local function wait_event(stream, timeout_ms)
  while not stream._ended do
    local event, text, code = stream._take(stream._channel)
    if not event then
      event, text, code = receive(stream, timeout_ms)
    end
    if event then
      event = apply(stream, event)
      if event then
        return event
      end
    elseif code == "timeout" then
      return nil, text, code
    else
      finish_lost(stream, text, code)
    end
  end
  return ending(stream)
end

-- The read loop's step: no closure, no table, and for a delta no call but the
-- core's. It does Channel:next's and Reconstructor:push's work in place.
local function advance(stream)
  local event = stream._take(stream._channel)
  if not event then
    return (wait_event(stream))
  end
  local delta = event.delta
  if delta then
    local block = stream._blocks[event.content_index]
    if block and block.delta_type == event.type
      and type(delta) == "string" then
      local rec, n = stream._rec, block.n + 1
      local left = rec.left - #delta
      if left >= 0 and n < FOLD then
        block[n] = delta
        block.n = n
        rec.left = left
        return event
      end
    end
  end
  return apply(stream, event) or (wait_event(stream))
end

-- The same where nothing is reconstructed.
local function advance_plain(stream)
  local event = stream._take(stream._channel)
  if event and DELTAS[event.type] and type(event.delta) == "string" then
    return event
  elseif event then
    event = apply(stream, event)
  end
  return event or (wait_event(stream))
end

-- Deltas of one block that have already arrived become one event, which
-- carries the last one's sequence. What ends the run is held for the next call.
local function advance_coalesced(stream)
  local event = stream._held
  if event then
    stream._held = nil
  else
    event = advance(stream)
  end
  if not event or not DELTAS[event.type] then
    return event
  end
  local kind, index, pieces = event.type, event.content_index, nil
  local sequence = event.sequence
  local following = stream._take(stream._channel)
  while following do
    following = apply(stream, following)
    if following then
      if following.type ~= kind or following.content_index ~= index then
        stream._held = following
        break
      end
      pieces = pieces or { event.delta }
      pieces[#pieces + 1] = following.delta
      sequence = following.sequence
    end
    following = stream._take(stream._channel)
  end
  if pieces then
    event.delta = table.concat(pieces)
    event.sequence = sequence
  end
  return event
end

local function advance_held(stream)
  local event = stream._held
  if event then
    stream._held = nil
    return event
  end
  return advance(stream)
end

--- Iterates over the events. The loop ends with the stream, well or badly:
--- `result` tells which. Leaving it early gives the stream up: at once in Lua
--- 5.4, else when nobody holds it any more; to go on, use `next`. With
--- `coalesce`, adjacent deltas of a block that have arrived are merged into one
--- event.
---@async
---@param given? { coalesce: boolean? }
---@return fun(stream: agentwire.Stream): table|nil iterator
---@return agentwire.Stream stream
---@return nil
---@return agentwire.Stream closing
function Stream:events(given)
  local step = self._rec and advance or advance_plain
  if given ~= nil and EVENTS:check(given).coalesce then
    step = advance_coalesced
  elseif self._held then
    step = advance_held
  end
  return step, self, nil, self
end

--- What the language calls when a loop over the events, or a block that has the
--- stream as a `<close>` variable, is left (Lua 5.4).
Stream.__close = function(self)
  self:close()
end

--- The next event. After the end: nil, the reason and its code, which is
--- "ended" after a good end.
---@async
---@param timeout_ms? integer for each message waited for
---@return table|nil event
---@return string|nil message
---@return string|nil code
function Stream:next(timeout_ms)
  if type(self) ~= "table" or not self._take then
    class.raise_dot("stream", "next")
  elseif timeout_ms ~= nil then
    options.timeout("stream:next", timeout_ms)
  end
  local event = self._held
  if event then
    self._held = nil
    return event
  end
  event = self._take(self._channel)
  if event then
    event = apply(self, event)
    if event then
      return event
    end
  end
  return wait_event(self, timeout_ms)
end

local function drain(stream)
  stream._held = nil
  while not stream._ended do
    local event = stream._take(stream._channel)
    if event then
      apply(stream, event)
    else
      wait_event(stream)
    end
  end
  return true
end

local function await_end(stream, timeout_ms)
  if stream._reading then
    stream._latch = stream._latch or wait.latch("stream's end")
    return stream._latch:wait(timeout_ms)
  elseif timeout_ms then
    return task.timeout(timeout_ms, drain, stream)
  end
  return drain(stream)
end

--- The assistant message, once the stream has ended. Events that nobody read
--- are read here and dropped; while another task waits for events, that task
--- goes on getting them.
---@async
---@param timeout_ms? integer
---@return table|nil message
---@return string|nil text
---@return string|nil code aborted, closed, timeout or one of the protocol's
function Stream:result(timeout_ms)
  options.timeout("stream:result", timeout_ms)
  if not self._ended then
    local _, text, code = await_end(self, timeout_ms)
    if not self._ended then
      return nil, text, code
    end
  end
  if self._message then
    return self._message
  end
  return nil, self._error, self._code
end

--- Whether the stream has ended, as far as it was read.
---@return boolean
function Stream:is_ended()
  return self._ended
end

--- The assistant message as far as it was read. After a failure it is what had
--- come: `stop_reason` is "error" or "aborted", and a call that was cut is
--- `incomplete`.
---@return table|nil message nil without reconstruction, or if it was closed here
function Stream:partial()
  if self._ended then
    return self._message or self._left
  end
  return (reconstructed(self))
end

--- Token counts as far as the server has told them, of a failed or aborted
--- stream too.
---@return table usage input, output, cache_read, cache_write
function Stream:usage()
  local failure, rec = self._failure, self._rec
  return protocol.usage(self._message and self._message.usage
    or failure and failure.usage or self._usage or rec and rec:usage())
end

--- Asks the server to cancel. The stream goes on until the server has ended it:
--- with event `error` and then code "aborted", or with a result that was
--- faster.
---@async
---@param reason? string
---@return boolean|nil ok true also when it was aborted before or has ended
---@return string|nil message
---@return string|nil code closed
function Stream:abort(reason)
  options.optional("stream:abort", "reason", options.string, reason)
  if self._ended or self._aborted then
    return true
  end
  local ok, text, code = self._channel:send("abort_request", {
    target_stream_id = self.id, reason = reason,
  })
  self._aborted = ok
  if ok or code == "ended" then
    return true
  end
  return nil, text, code
end

--- Gives the stream up: aborts it if it runs and reads no more of it. Wakes
--- whoever waits for it, with code "closed". Idempotent.
function Stream:close()
  if self._ended then
    return
  end
  if not self._aborted then
    self._channel:try_send("abort_request", {
      target_stream_id = self.id, reason = "closed",
    })
  end
  finish(self, nil, "the stream was closed", "closed")
end

--- A stream over a channel on which its request was sent.
---@param channel table
---@param given table model, reconstruct, include_partial, max_bytes, on_end (a
--- function)
---@return agentwire.Stream
function M.new(channel, given)
  local rec = given.reconstruct
    and reconstruct.new { max_bytes = given.max_bytes } or nil
  return setmetatable({
    id = channel.id,
    model = given.model,
    unknown = 0,
    _channel = channel, -- NO_CHANNEL after the end
    _take = next_message, -- the channel's next, or what came to replay
    _on_end = given.on_end,
    _request_id = channel:sent_id(),
    _rec = rec, -- the reconstructor; nil: none is wanted, or after the end
    _blocks = rec and rec.blocks or NO_BLOCKS, -- the reconstructor's
    _with_partial = given.include_partial,
    _held = nil, -- an event that was taken and is the next to be given
    _reading = false, -- a task waits for events: `result` waits for the latch then
    _latch = nil, -- set at the end
    _accepted = false, -- the server has answered: a refusal is of something later
    _aborted = false, -- the server was asked to cancel
    _synced = false, -- a late refusal of a sync must not end the stream
    _done = nil, -- the model's own ends, which the terminal message follows
    _failure = nil,
    _ended = false,
    _message = nil, -- of a good end; else what is left, and why
    _left = nil,
    _error = nil,
    _code = nil,
    _usage = nil, -- as of the end
  }, Stream)
end

class.seal(Stream, "stream", { next = true })

return M
