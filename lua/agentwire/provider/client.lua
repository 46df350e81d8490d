--- Model streams and completions over one connection, asked of the provider at
--- its other end; also an adapter, so that a connection can stand where a
--- provider is asked for. Each stream is a scope (`_stream`); those that ended
--- last stay known by id.
local class = require("agentwire._class")
local known = require("agentwire._known")
local misuse = require("agentwire._misuse")
local options = require("agentwire._options")
local protocol = require("agentwire.provider.protocol")
local streams = require("agentwire.provider._stream")
local task = require("agentwire.task")
local undo = require("agentwire._undo")
local wait = require("agentwire._wait")

local finish, new_stream = streams.finish, streams.new

local M = {}

-- Ended streams that stay known by id.
local MAX_ENDED = 256

-- Base peers never answer `sync_request`.
local SYNC_TIMEOUT_MS = 5000

local KIND = protocol.kind

---@class agentwire.ProviderClientOptions
---@field max_ended integer? ended streams that stay known by id, 256
---@field max_message_bytes integer? of one reconstructed message, 16 MiB
---@field on_goodbye fun(goodbye: table)? called with the peer's goodbye

local OPTIONS = options.spec("provider.client", {
  max_ended = options.integer(0, 2 ^ 31),
  max_message_bytes = options.bytes,
  on_goodbye = options.func,
})

---@class agentwire.CompleteRequest
---@field model string|table "provider/model", a model reference or a table
---@field messages table[]? this or `context`
---@field context table? `{messages, system_prompt, tools}`
---@field system_prompt string?
---@field tools table[]?
---@field options table? handed on to the provider
---@field id string? a UUID
---@field timeout_ms number? of `complete` alone

---@class agentwire.StreamRequest: agentwire.CompleteRequest
---@field include_partial boolean? have events carry the message so far
---@field reconstruct boolean? false: only the server's own result is wanted

local TEXT_OR_TABLE = options.either(options.string, options.table)

local REQUEST = {
  model = TEXT_OR_TABLE,
  messages = options.table,
  context = options.table,
  system_prompt = options.string,
  tools = options.table,
  options = options.table,
  include_partial = options.boolean,
  reconstruct = options.boolean,
  id = options.uuid,
}

local START = options.spec("start_stream", REQUEST)
local COMPLETE = options.spec("complete", {
  timeout_ms = options.duration_ms,
}, options.spec("complete", REQUEST))

---@class agentwire.ModelQuery
---@field provider_id string?
---@field api string?
---@field model_id string?
---@field include_deprecated boolean? false
---@field include_login_required boolean? true
---@field timeout_ms number?

local QUERY = options.spec("models", {
  provider_id = options.string,
  api = options.string,
  model_id = options.string,
  include_deprecated = options.boolean,
  include_login_required = options.boolean,
  timeout_ms = options.duration_ms,
})

---@class agentwire.ProviderClient
---@field goodbye table|nil the peer's last goodbye: reason, resume, after_ms
local Client = {}
Client.__index = Client

function Client:__tostring()
  return "provider client of " .. tostring(self._connection)
end

local function text_or(value, other)
  return type(value) == "string" and value or other
end

local function open(client, kind, payload, id)
  local channel, text, code = client._connection:open(KIND, id)
  if not channel then
    return nil, text, code
  end
  local ok
  ok, text, code = undo.unless_returned(function()
    channel:close()
  end, channel.send, channel, kind, payload)
  if not ok then
    channel:close()
    return nil, text, code
  end
  return channel
end

-- The payload of a request; what cannot be one is the caller's mistake.
local function build(self, spec, request)
  spec:check(request or {})
  local payload, problem = protocol.build_request(request or {})
  if not payload then
    misuse.raise("%s: %s", spec.title, problem)
  end
  if protocol.is_base(self._connection) then
    local messages = payload.context.messages
    for index, message in ipairs(messages) do
      messages[index] = protocol.base_message(message)
    end
  end
  return payload
end

--- Starts a model stream. Returns at once: a refusal by the server comes out of
--- `next` and `result` as nil, message, code. A stream that nobody holds any
--- more is given up.
---@async
---@param request agentwire.StreamRequest
---@return agentwire.Stream|nil stream
---@return string|nil message
---@return string|nil code
function Client:start_stream(request)
  local payload = build(self, START, request)
  local channel, text, code = open(self, "stream_request", payload, request.id)
  if not channel then
    return nil, text, code
  end
  local stream = new_stream(channel, {
    model = payload.model,
    reconstruct = request.reconstruct ~= false,
    include_partial = payload.include_partial,
    max_bytes = self._max_message_bytes,
    on_end = self._retire,
  })
  self._streams:add(stream)
  return stream
end

local function await_reply(channel, wanted)
  while true do
    local event, text, code = channel:receive()
    if not event then
      return nil, text, code
    elseif event.type == wanted then
      local ok
      ok, text = protocol.check(wanted, event)
      if not ok then
        return nil, "malformed " .. wanted .. ": " .. text, "invalid_response"
      end
      return event
    elseif event.type == "refused" then
      return nil, ("the answer (%s) could not be taken: %s")
        :format(event.refused_type, event.message), event.code
    elseif event.type == "nack" then
      return nil, text_or(event.reason, "refused by the server"),
        protocol.read_code(event.error_code or "invalid_request")
    elseif event.type == "stream_error" then
      return nil, text_or(event.message, "request failed"),
        protocol.read_code(event.code)
    end
  end
end

-- One request, one reply, in a scope of its own. Whoever gives up waiting, by
-- a timeout or because its task was cancelled, tells the server so.
local function ask(client, kind, payload, wanted, timeout_ms)
  local channel, text, code = open(client, kind, payload)
  if not channel then
    return nil, text, code
  end
  local ok, reply
  if timeout_ms then
    ok, reply, text, code =
      pcall(task.timeout, timeout_ms, await_reply, channel, wanted)
  else
    ok, reply, text, code = pcall(await_reply, channel, wanted)
  end
  if not ok or code == "timeout" then
    channel:try_send(protocol.abandon(channel.id))
  end
  channel:close()
  if not ok then
    error(reply, 0)
  end
  return reply, text, code
end

--- Asks for a whole answer at once.
---@async
---@param request agentwire.CompleteRequest
---@return table|nil message assistant message
---@return string|nil text
---@return string|nil code
function Client:complete(request)
  local payload = build(self, COMPLETE, request)
  payload.include_partial = nil
  local result, text, code =
    ask(self, "complete_request", payload, "result", request.timeout_ms)
  if not result then
    return nil, text, code
  end
  return protocol.message_from_result(result)
end

--- Lists models.
---@async
---@param query? agentwire.ModelQuery
---@return table[]|nil models descriptors
---@return string|table message the whole response on success
---@return string|nil code
function Client:models(query)
  query = QUERY:check(query)
  local response, text, code = ask(self, "models_request", {
    provider_id = query.provider_id,
    api = query.api,
    model_id = query.model_id,
    include_deprecated = query.include_deprecated == true,
    include_login_required = query.include_login_required ~= false,
  }, "models_response", query.timeout_ms)
  if not response then
    return nil, text, code
  end
  return response.models, response
end

--- The one model that a query fits.
---@async
---@param query table as for `models`
---@return table|nil descriptor
---@return string|nil message
---@return string|nil code model_not_found or ambiguous_model
function Client:resolve(query)
  local models, text, code = self:models(query)
  if not models then
    return nil, text, code
  elseif #models == 0 then
    return nil, "no model fits the query", "model_not_found"
  elseif #models > 1 then
    local refs = {}
    for index, model in ipairs(models) do
      refs[index] = model.model_ref
    end
    return nil, "several models fit: " .. table.concat(refs, ", "),
      "ambiguous_model"
  end
  return models[1]
end

local STREAM = options.kind("a stream or its id", options.uuid.accepts)

local function id_of(stream)
  return type(stream) == "table" and stream.id or stream
end

-- What asks for a stream's state; `sync` is shared by all who ask for the same.
local Sync = {}
Sync.__index = Sync

function Sync:ask(conn)
  return conn:send_control(KIND, self.id, "sync_request",
    { target_stream_id = self.id })
end

function Sync:over()
  local syncs, sync = self.client._syncs, self.sync
  sync.askers = sync.askers - 1
  if sync.askers == 0 and syncs[self.id] == sync then
    syncs[self.id] = nil
  end
end

local function new_sync(self, id)
  local sync = self._syncs[id]
  if not sync then
    sync = { latch = wait.latch("sync"), askers = 0 }
    self._syncs[id] = sync
  end
  sync.askers = sync.askers + 1
  return setmetatable({ latch = sync.latch, client = self, id = id, sync = sync },
    Sync)
end

--- Asks the server for a stream's state so far.
---@async
---@param stream agentwire.Stream|string
---@param timeout_ms? integer default 5000: base servers never answer
---@return table|nil message what the server has accumulated
---@return string|nil text
---@return string|nil code timeout, stream_not_found, lost, closed
function Client:sync(stream, timeout_ms)
  options.argument("sync", "stream", STREAM, id_of(stream))
  options.timeout("sync", timeout_ms)
  local id = id_of(stream)
  local known_stream = self._streams:get(id)
  if known_stream then
    known_stream._synced = true
  end
  return self._connection:_ask(new_sync(self, id),
    timeout_ms or SYNC_TIMEOUT_MS)
end

local CONTROL = {}

function CONTROL.sync(client, message)
  local id = text_or(message.target_stream_id, message.id)
  local sync = client._syncs[id]
  if sync then
    client._syncs[id] = nil
    local partial = type(message.partial) == "table" and message.partial
    sync.latch:set(protocol.message_from_result(partial or {}))
  end
end

local function refused(client, id, text, code)
  local sync, stream = client._syncs[id], client._streams:get(id)
  if sync then
    client._syncs[id] = nil
    sync.latch:set(nil, text, code)
  elseif stream and not stream._synced then
    finish(stream, nil, text, code)
  end
end

function CONTROL.nack(client, message)
  refused(client, message.id, text_or(message.reason, "refused by the server"),
    protocol.read_code(message.error_code or "invalid_request"))
end

function CONTROL.stream_error(client, message)
  refused(client, message.id, text_or(message.message, "stream failed"),
    protocol.read_code(message.code))
end

function CONTROL.goodbye(client, message)
  client.goodbye = {
    reason = text_or(message.reason),
    resume = message.resume,
    after_ms = message.after_ms,
    url = message.url,
  }
  if client._on_goodbye then
    client._on_goodbye(client.goodbye)
  end
end

--- A stream by its id.
---@param id string
---@return agentwire.Stream|nil stream
---@return string|nil message
---@return string|nil code stream_not_found
function Client:event_stream_for(id)
  local stream = self._streams:get(id)
  if not stream then
    return nil, "no stream has this id", "stream_not_found"
  end
  return stream
end

--- `Stream:result` by id.
---@async
---@param id string
---@param timeout_ms? integer
---@return table|nil message
---@return string|nil text
---@return string|nil code
function Client:wait_result_for(id, timeout_ms)
  local stream, text, code = self:event_stream_for(id)
  if not stream then
    return nil, text, code
  end
  return stream:result(timeout_ms)
end

--- Why a stream failed; nil while it runs and after a good end.
---@param id string
---@return string|nil message
---@return string|nil code
function Client:last_error_for(id)
  local stream = self._streams:get(id)
  if stream and stream._ended and not stream._message then
    return stream._error, stream._code
  end
  return nil
end

--- `Stream:close` by id; an unknown id is fine.
---@param id string
function Client:close_stream(id)
  local stream = self._streams:get(id)
  if stream then
    stream:close()
  end
end

--- Closes a stream and forgets it.
---@param id string
---@return boolean known
function Client:remove_stream_state(id)
  local stream = self._streams:forget(id)
  if stream then
    stream:close()
  end
  return stream ~= nil
end

--- Counts, for reports and tests.
---@return { active: integer, known: integer }
function Client:stats()
  local active = 0
  for _, stream in self._streams:each() do
    active = active + (stream:is_ended() and 0 or 1)
  end
  return { active = active, known = (self._streams:counts()) }
end

--- Part of the adapter port: a client serves whatever its peer serves, so that
--- a connection can stand where a provider is asked for.
---@return boolean
function Client:find()
  return true
end

--- Part of the adapter port: relays one stream from the peer.
---@async
---@param request table
---@param emit fun(event: table)
---@return table|nil message
---@return string|nil text
---@return string|nil code
function Client:stream(request, emit)
  options.argument("stream", "request", options.table, request)
  options.argument("stream", "emit", options.func, emit)
  local stream, text, code = self:start_stream {
    model = request.model, context = request.context,
    options = request.options, reconstruct = false,
  }
  if not stream then
    return nil, text, code
  end
  local usage
  local ok, problem = pcall(function()
    for event in stream:events() do
      if event.type == "error" then
        usage = event.usage
      elseif event.type ~= "done" and event.type ~= "keepalive" then
        emit(event)
      end
    end
  end)
  if not ok then
    stream:close()
    error(problem, 0)
  end
  local message
  message, text, code = stream:result()
  return message, text, code, usage and { usage = usage }
end

local function take_control(client, message)
  local handle = CONTROL[message.type]
  if handle then
    handle(client, message)
  end
end

--- A client of the provider at the other end of a connection.
---@param connection agentwire.Connection
---@param given? agentwire.ProviderClientOptions
---@return agentwire.ProviderClient
function M.new(connection, given)
  given = OPTIONS:check(given)
  local client = setmetatable({
    goodbye = nil,
    _connection = connection,
    _streams = known.new(given.max_ended or MAX_ENDED),
    _max_message_bytes = given.max_message_bytes,
    _on_goodbye = given.on_goodbye,
    _syncs = {},
  }, Client)
  client._retire = function(stream)
    client._streams:retire(stream)
  end
  connection:_listen(KIND, client, take_control)
  return client
end

class.seal(Client, "client")

return M
