--- Server of the provider protocol: one adapter, or a router over several, made
--- available to the peer of a connection. Here are the scopes that the peer
--- opens, with the requests, aborts and syncs in them, and the places that
--- streams take; what happens in one stream is `_run`. A place that was taken
--- is let go exactly once, before the peer hears of the end.
local channels = require("agentwire.channel")
local clock = require("agentwire._clock")
local options_of = require("agentwire._options")
local protocol = require("agentwire.provider.protocol")
local router = require("agentwire.provider._router")
local runs = require("agentwire.provider._run")
local shares = require("agentwire._shares")
local task = require("agentwire.task")

local M = { router = router.new }

local KIND = protocol.kind

--- An adapter, a router or a provider client.
M.PROVIDER = options_of.having("an adapter, a router or a provider client",
  "stream")

--- What `aw.serve` takes as `provider_options`.
M.OPTIONS = options_of.spec("provider_options", {
  max_streams = options_of.count,
  keepalive_ms = options_of.duration_ms,
  max_message_bytes = options_of.bytes,
  cache_max_age_ms = options_of.duration_ms,
  overflow = options_of.one_of { "fold", "pause", "fail" },
})

local ATTACH = options_of.spec("provider.attach", {}, M.OPTIONS)

-- Streams at once for one connection; more are refused with `rate_limited`.
local MAX_STREAMS = 1000

-- How long a client may keep a list of models, as the response says.
local CACHE_MAX_AGE_MS = 3600000

---@class agentwire.ProviderServer
local Server = {}
Server.__index = Server

local function nack(channel, text, code)
  return channel:send("nack", {
    rejected_id = channel:message_id(), reason = text, error_code = code,
  }, channel:message_id())
end

local function ack(channel)
  local id = channel:message_id()
  return channel:send("ack", { acknowledged_id = id }, id)
end

local function abort(server, channel, event)
  local ok, text, code = protocol.check("abort_request", event)
  if not ok then
    return nack(channel, text, code)
  end
  local run = server._runs[event.target_stream_id:lower()]
  if run then
    run:stop(type(event.reason) == "string" and event.reason
      or "aborted by the peer")
  end
  return ack(channel)
end

local function sync_payload(server, message)
  local ok, text, code = protocol.check("sync_request", message)
  if not ok then
    return nil, text, code
  end
  local run = server._runs[message.target_stream_id:lower()]
  if not run then
    return nil, "no such stream is running", "stream_not_found"
  end
  local state = run:state()
  state.target_stream_id = message.target_stream_id
  return state
end

-- What may come in an open scope, besides the request that opened it.
local INSIDE = { abort_request = abort }

function INSIDE.stream_request(_, channel)
  return nack(channel, "this stream is open already", "stream_already_exists")
end

-- What could not be taken was answered when it came.
function INSIDE.refused() end

INSIDE.complete_request = INSIDE.stream_request
INSIDE.models_request = INSIDE.stream_request

local function answer(server, channel, event)
  local handle = INSIDE[event.type]
  if handle then
    return handle(server, channel, event)
  elseif not protocol.replies[event.type] then
    return nack(channel, "unknown message type " .. tostring(event.type),
      "not_implemented")
  end
end

local OPEN = {}

local function refuse(server, channel, text, code)
  server._refused = server._refused + 1
  nack(channel, text, code)
  channel:close()
end

--- Takes a place for as long as the current task runs, or until it is let go.
---@return (fun())|nil release idempotent
local function take_place(server, channel)
  if server._active >= server._max_streams then
    return nil, ("%d streams are running, all that max_streams allows")
      :format(server._active), "rate_limited"
  end
  local give_back, text, code = shares.take(channel.connection, "streams")
  if not give_back then
    return nil, text, code
  end
  server._active = server._active + 1
  local held = true
  local function let_go()
    if held then
      held = false
      server._active = server._active - 1
      give_back()
    end
  end
  task.defer(let_go)
  return let_go
end

local function open_run(server, channel, event, is_silent)
  local request, text, code = protocol.read_request(event.type, event)
  if not request then
    return refuse(server, channel, text, code)
  end
  local adapter
  adapter, text, code = server._router:route(request.model)
  if not adapter then
    return refuse(server, channel, text, code)
  end
  local place
  place, text, code = take_place(server, channel)
  if not place then
    return refuse(server, channel, text, code)
  end
  if not is_silent then
    ack(channel)
  end
  local run
  run = runs.new(channel, request, {
    adapter = adapter, is_silent = is_silent,
    keepalive_ms = server._keepalive_ms, max_bytes = server._max_message_bytes,
    overflow = server._overflow,
    answer = function(inner)
      return answer(server, channel, inner)
    end,
    release = function()
      if server._runs[channel.id] == run then
        server._runs[channel.id] = nil
      end
      place()
    end,
  })
  server._runs[channel.id] = run
  return run:perform()
end

function OPEN.stream_request(server, channel, event)
  return open_run(server, channel, event, false)
end

function OPEN.complete_request(server, channel, event)
  return open_run(server, channel, event, true)
end

function OPEN.models_request(server, channel, event)
  local ok, text, code = protocol.check("models_request", event)
  if not ok then
    return refuse(server, channel, text, code)
  end
  ok, text, code = take_place(server, channel)
  if not ok then
    return refuse(server, channel, text, code)
  end
  local query = protocol.read_query(event)
  local models
  models, text, code = server._router:models(query)
  if not models then
    channel:send(protocol.fail(code or "provider_error", text))
    return
  end
  for index, model in ipairs(models) do
    models[index] = protocol.build_descriptor(model)
  end
  ok, text, code = channel:send("models_response", {
    fetched_at_ms = clock.now_ms(),
    cache_max_age_ms = server._cache_max_age_ms,
    models = protocol.filter_models(models, query),
  }, channel:message_id())
  if not ok and not channels.GONE[code] then
    channel:send(protocol.fail(code, text))
  end
end

-- An abort in a scope of its own, for a target in another.
function OPEN.abort_request(server, channel, event)
  abort(server, channel, event)
  channel:close()
end

local function handle_scope(server, channel)
  local event = channel:receive()
  if not event then
    return
  end
  local open = OPEN[event.type]
  if open then
    return open(server, channel, event)
  end
  answer(server, channel, event)
  channel:close()
end

local function handle_control(server, message)
  if message.type ~= "sync_request" then
    return
  end
  local kind = "sync"
  local payload, text, code = sync_payload(server, message)
  if not payload then
    kind = "nack"
    payload = {
      rejected_id = message.message_id, reason = text, error_code = code,
    }
  end
  local ok
  ok, text, code = server._connection:send_control(KIND, message.id, kind,
    payload, message.message_id)
  if not ok and code == "limit" then
    server._connection:send_control(KIND, message.id, "nack", {
      rejected_id = message.message_id, reason = text, error_code = code,
    }, message.message_id)
  end
end

--- Counts, for reports and tests.
---@return { active: integer, refused: integer }
function Server:stats()
  return { active = self._active, refused = self._refused }
end

--- Aborts every stream that runs.
---@param reason? string
function Server:abort_all(reason)
  for _, run in pairs(self._runs) do
    run:stop(reason or "the server stops")
  end
end

---@class agentwire.ProviderServerOptions
---@field max_streams integer? streams and completions at once, 1000
---@field keepalive_ms number? silence after which the client hears of it, 0: none
---@field max_message_bytes integer? of an answer, 16 MiB
---@field cache_max_age_ms number? of model lists, 3 600 000
---@field overflow "fold"|"pause"|"fail"|nil of a stream whose log is full while
--- its client is away: "fold" it into the message so far, "pause" the adapter

--- Serves a provider to the peer of a connection.
---@param connection table
---@param provider table an adapter, a router or a provider client
---@param options? agentwire.ProviderServerOptions
---@return agentwire.ProviderServer
function M.attach(connection, provider, options)
  options_of.argument("provider.attach", "connection", options_of.connection,
    connection)
  options = ATTACH:check(options)
  options_of.argument("provider.attach", "provider", M.PROVIDER, provider)
  local overflow = options.overflow or "fold"
  local server = setmetatable({
    _connection = connection,
    _router = provider.route and provider or router.new { provider },
    _runs = {},
    _active = 0,
    _refused = 0,
    _max_streams = options.max_streams or MAX_STREAMS,
    _overflow = overflow ~= "fold" and overflow or nil, -- a run folds itself
    _max_message_bytes = options.max_message_bytes,
    _keepalive_ms = options.keepalive_ms or 0,
    _cache_max_age_ms = options.cache_max_age_ms or CACHE_MAX_AGE_MS,
  }, Server)
  connection:serve(KIND, function(channel)
    return handle_scope(server, channel)
  end)
  connection:on_control(KIND, function(message)
    return handle_control(server, message)
  end)
  return server
end

return M
