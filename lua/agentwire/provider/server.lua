--- Server of the provider protocol: one adapter, or a router over several,
--- made available to the peer of a connection.
local clock = require("agentwire._clock")
local json = require("agentwire.json")
local misuse = require("agentwire._misuse")
local options_of = require("agentwire._options")
local problems = require("agentwire._problem")
local protocol = require("agentwire.provider.protocol")
local reconstruct = require("agentwire.provider.reconstruct")
local router = require("agentwire.provider._router")
local shares = require("agentwire._shares")
local tables = require("agentwire._tables")
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

-- An adapter that never waits lets the others run after so many events.
local BURST = 64

---@class agentwire.ProviderServer
local Server = {}
Server.__index = Server

---@class agentwire.ProviderRun one stream or completion that is under way
local Run = {}
Run.__index = Run

-- What `emit` raises once a stream is over for its adapter; the run knows why.
local STOPPED = setmetatable({}, {
  __tostring = function()
    return "the stream is over"
  end,
})

local BLOCK_EVENT = {
  text_start = "current_text", text_delta = "current_text",
  text_end = "current_text", thinking_start = "current_thinking",
  thinking_delta = "current_thinking", thinking_end = "current_thinking",
  toolcall_start = "current_arguments_json",
  toolcall_delta = "current_arguments_json",
  toolcall_end = "current_arguments_json",
}

local STARTS = {
  text_start = true, thinking_start = true, toolcall_start = true,
}

local function defaults_of(run)
  local model = run.request.model
  return { model = model.id, api = model.api, provider = model.provider }
end

local function break_off(run, text, code)
  if not run.broken then
    run.broken, run.broken_code = text, code or "internal_error"
  end
  error(STOPPED, 0)
end

-- Codes by which a channel says that nobody will read what is sent.
local GONE = { closed = true, ended = true, lost = true, undeliverable = true }

-- Sends one message of the stream. A peer that is gone needs no explanation;
-- what it would not take ends the stream by that name; what cannot be encoded
-- is the adapter's doing.
local function put(run, kind, payload)
  local ok, text, code = run.channel:send(kind, payload)
  if ok then
    run.sent = run.sent + 1
    return
  end
  if GONE[code] then
    run.lost = true
    error(STOPPED, 0)
  end
  break_off(run, kind .. " cannot be sent: " .. tostring(text),
    code == "limit" and code or nil)
end

local function ensure_start(run, input_tokens)
  if run.started or run.silent then
    return
  end
  run.started = true
  put(run, "start", {
    model = run.request.model.id, input_tokens = input_tokens,
  })
end

local function filled(text)
  return type(text) == "string" and text:find("%S") and text or nil
end

-- Upstreams leave out what they have said before: an id or a name of the
-- start, arguments that came as deltas. Some give calls no ids at all.
local function complete_call(run, event)
  local kind = event.type
  if kind ~= "toolcall_start" and kind ~= "toolcall_end" then
    return event
  end
  local index = event.content_index
  local block = run.rec.blocks[index] or {}
  local whole = {
    type = kind, content_index = index,
    id = filled(event.id) or block.id or "",
    name = filled(event.name) or block.name
      or event.name and "unnamed", -- a name that is empty
    thought_signature = event.thought_signature,
  }
  if kind == "toolcall_end" then
    local given = event.arguments_json
    if given == nil or given == json.null or not filled(given) then
      given = filled(run.rec:text(index)) or "{}"
    end
    whole.arguments_json = given
  end
  return whole
end

local function block_payload(run, event)
  local kind = event.type
  local payload = { content_index = event.content_index, delta = event.delta }
  if kind == "toolcall_start" then
    payload.id, payload.name = event.id, event.name
  elseif kind == "toolcall_end" then
    payload.id, payload.name = event.id, event.name
    payload.arguments_json = event.arguments_json
    payload.thought_signature = event.thought_signature
  end
  if run.include_partial then
    payload.partial = {
      [BLOCK_EVENT[kind]] = run.rec:text(event.content_index),
    }
  end
  return payload
end

-- Blocks open in ascending order; several may be open at once, as calls that
-- an upstream streams side by side are.
local function check_block(run, event)
  local kind = event.type
  if not event.delta then
    local ok, text = protocol.check(kind, event)
    if not ok then
      break_off(run, kind .. ": " .. text)
    end
  end
  if STARTS[kind] then
    if event.content_index < run.next_index then
      break_off(run, kind .. " for a content_index that was used")
    end
    run.next_index = event.content_index + 1
  end
  if not run.rec:push(event) then
    if run.rec.truncated then
      break_off(run, "the message is over the limit (max_message_bytes)",
        "limit")
    end
    break_off(run, kind .. " does not fit the order of events")
  end
end

-- Adapters may say themselves what the server would add.
local EMIT = {}

function EMIT.start(run, event)
  if run.started or run.next_index > 0 then
    break_off(run, "start after the first event")
  end
  run.rec:push { type = "start", input_tokens = event.input_tokens }
  ensure_start(run, event.input_tokens)
end

function EMIT.done(run, event)
  run.final = event
end

EMIT.error = EMIT.done

function EMIT.keepalive(run)
  ensure_start(run)
  if not run.silent then
    put(run, "keepalive", {})
  end
end

local emit

-- A relay's upstream has folded what was streamed while the relay was away.
local function emit_state(run, sync)
  local events, problem = run.rec:missing(sync)
  if not events then
    break_off(run, problem)
  end
  for _, event in ipairs(events) do
    emit(run, event)
  end
end

function emit(run, event)
  if run.stopping then
    task.checkpoint()
    error(STOPPED, 0)
  elseif run.broken or run.final then
    break_off(run, "an event after the last one")
  end
  local kind = type(event) == "table" and event.type
  if BLOCK_EVENT[kind] then
    event = complete_call(run, event)
    check_block(run, event)
    if not run.silent then
      ensure_start(run)
      put(run, kind, block_payload(run, event))
    end
  elseif kind == "sync" then
    return emit_state(run, event)
  elseif EMIT[kind] then
    EMIT[kind](run, event)
  else
    break_off(run, "unknown event type " .. tostring(kind))
  end
  run.burst = run.burst + 1
  if run.burst >= BURST then
    run.burst = 0
    task.yield()
  end
end

--- Asks the run to end: cancels the adapter's task. The first reason counts.
---@param reason string
function Run:stop(reason)
  if not self.stopping then
    self.stopping = reason
    self.worker:cancel(reason)
  end
end

local function release(run)
  local server = run.server
  if server._runs[run.channel.id] == run then
    server._runs[run.channel.id] = nil
  end
  run.release()
end

-- Endings. Each releases the run before its terminal message, so that a peer
-- that was told the end finds the place free.

-- What is known of the cost, by the adapter's word if it gave one.
local function usage_of(run, usage)
  usage = usage or run.call.usage
  return usage and protocol.usage(usage) or run.rec:usage()
end

local function end_badly(run, reason, text, code, details)
  details = details or {}
  local wire_code = protocol.codes[code] and code or "provider_error"
  if not run.silent then
    ensure_start(run)
    put(run, "error", {
      reason = reason,
      error_message = text,
      error_code = type(code) == "string" and code or nil,
      retry_after_ms = details.retry_after_ms,
      usage = usage_of(run, details.usage),
    })
  end
  release(run)
  put(run, "stream_error", { code = wire_code, message = text })
end

local function has_tool_call(content)
  for _, block in ipairs(content) do
    if block.type == "tool_call" then
      return true
    end
  end
  return false
end

-- The same for the calls of a message that was returned whole.
local function complete_content(run, content)
  if type(content) ~= "table" then
    return content
  end
  local whole = {}
  for index, block in ipairs(content) do
    if type(block) == "table" and block.type == "tool_call" then
      local call = complete_call(run, {
        type = "toolcall_end", content_index = index - 1, id = block.id,
        name = block.name, arguments_json = block.arguments_json,
        thought_signature = block.thought_signature,
      })
      call.type, call.content_index = "tool_call", nil
      block = call
    end
    whole[index] = block
  end
  return json.array(whole)
end

local function complete_message(run, given)
  local message = tables.over(run.rec:message(defaults_of(run)), given)
  if given and given.content then
    message.content = complete_content(run, given.content)
  end
  message.role = "assistant"
  message.usage = usage_of(run, given and given.usage)
  message.timestamp = message.timestamp or clock.now_ms()
  if given and not protocol.stop_reasons[given.stop_reason] then
    message.stop_reason = type(message.content) == "table"
      and has_tool_call(message.content) and "tool_use" or "stop"
  end
  return message
end

local function end_well(run, given)
  local open = run.rec:open_index()
  if open then
    run.broken = "block " .. open .. " was never ended"
    return end_badly(run, "error", run.broken, "internal_error")
  end
  local message = complete_message(run, given)
  local ok, text = protocol.check("done", {
    reason = message.stop_reason, message = message,
  })
  if not ok then
    return end_badly(run, "error", text, "internal_error")
  end
  if not run.silent then
    ensure_start(run)
    if run.next_index == 0 then
      protocol.emit_message(message, function(event)
        emit(run, event)
      end)
    end
    put(run, "done", { reason = message.stop_reason, message = message })
  end
  release(run)
  put(run, "result", protocol.result_from_message(message))
end

local function report(run, text)
  local scheduler = task.current()._scheduler
  scheduler:report(text, "provider stream " .. run.channel.id)
end

local function end_of_final(run)
  local final = run.final
  run.final = nil
  if final.type == "done" then
    return end_well(run, type(final.message) == "table" and final.message
      or { stop_reason = final.reason })
  end
  return end_badly(run, "error", final.error_message or "provider failed",
    final.error_code or "provider_error", final)
end

-- What is wrong with what an adapter returned.
local function misfit_of(run, message)
  if message ~= nil and type(message) ~= "table" then
    return ("the adapter returned %s; it returns a message, or nil, text, code")
      :format(misuse.describe(message))
  elseif message == nil and run.rec:is_empty() then
    return "the adapter returned nothing and has emitted nothing; it returns "
      .. "a message, or nil, text, code"
  end
end

local function conclude(run, results, text, code, raised)
  if run.stopping then
    local why = run.stopping
    return end_badly(run, "aborted", why, "aborted")
  elseif run.broken then
    return end_badly(run, "error", run.broken, run.broken_code)
  elseif not results and code == "cancelled" then
    return end_badly(run, "aborted", text, "aborted")
  elseif not results then
    report(run, text)
    return end_badly(run, "error", problems.brief(raised), "internal_error")
  elseif run.final then
    return end_of_final(run)
  end
  local message = results[1] or nil
  if not message and (results[2] or results[3]) then
    local details = results[4]
    return end_badly(run, "error", problems.brief(results[2] or results[3]),
      results[3], type(details) == "table" and details or nil)
  end
  local misfit = misfit_of(run, message)
  if misfit then
    report(run, misfit)
    return end_badly(run, "error", misfit, "internal_error")
  end
  return end_well(run, message)
end

local function work(run)
  return {
    run.adapter:stream(run.request, function(event)
      emit(run, event)
    end, run.call),
  }
end

-- Sends `keepalive` after each stretch of `keepalive_ms` without any event.
-- The timer is set anew only when it fires, so that events cost nothing here.
local function keep_alive(run, keepalive_ms)
  local seen = run.sent
  while true do
    task.sleep(keepalive_ms)
    if run.sent == seen then
      ensure_start(run)
      put(run, "keepalive", {})
    end
    seen = run.sent
  end
end

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

-- What a `sync` says of a run: all that it has put out.
local function state_of(run)
  local state = run.rec:state(defaults_of(run))
  state.target_stream_id = run.channel.id
  return state
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
  local state = state_of(run)
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

local function listen(run)
  local channel = run.channel
  while true do
    local event = channel:receive()
    if not event then
      return run:stop("the connection is gone")
    end
    answer(run.server, channel, event)
  end
end

local function new_run(server, channel, request, adapter, silent)
  local run = setmetatable({
    server = server,
    channel = channel,
    request = request,
    adapter = adapter,
    silent = silent, -- a completion: no events on the wire
    include_partial = request.include_partial,
    rec = reconstruct.new {
      implicit_start = false, max_bytes = server._max_message_bytes,
    },
    started = false,
    next_index = 0,
    sent = 0,
    burst = 0,
    stopping = nil,
    broken = nil,
    broken_code = nil,
    final = nil,
    lost = false,
    worker = nil,
    release = nil, -- lets its place go
  }, Run)
  -- The adapter may set `usage` here as it learns it: an aborted stream
  -- reports it too.
  run.call = {
    usage = nil,
    id = channel.id,
    connection = channel.connection,
    cancelled = function()
      return run.stopping ~= nil
    end,
  }
  return run
end

-- The end could not be written as planned: an abort came while the blocks of a
-- whole message were sent, or something in it cannot be encoded.
local function recover(run, problem)
  if problem ~= STOPPED then
    error(problem, 0)
  elseif run.lost then
    return
  end
  if run.stopping and not run.broken then
    pcall(end_badly, run, "aborted", run.stopping, "aborted")
  else
    release(run)
    run.channel:send(protocol.fail(run.broken_code, run.broken))
  end
end

-- The handler's own task writes the ends; adapter, reader and keepalive are
-- its children, so none of them can outlive the stream.
local function perform(run, keepalive_ms)
  local server = run.server
  server._runs[run.channel.id] = run
  run.channel:on_overflow(server._overflow or function(kind)
    return "sync", state_of(run), BLOCK_EVENT[kind] ~= nil
  end)
  task.defer(function()
    release(run)
  end)
  run.worker = task.spawn(work, run)
  local reader = task.spawn(listen, run)
  local keeper
  if keepalive_ms > 0 and not run.silent then
    keeper = task.spawn(keep_alive, run, keepalive_ms)
  end
  local results, text, code, raised = run.worker:join()
  if keeper then
    keeper:cancel("the stream ends")
    keeper:join()
  end
  if not run.lost then
    local ok, problem = pcall(conclude, run, results, text, code, raised)
    if not ok then
      recover(run, problem)
    end
  end
  reader:cancel("the stream has ended")
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

local function open_run(server, channel, event, silent)
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
  if not silent then
    ack(channel)
  end
  local run = new_run(server, channel, request, adapter, silent)
  run.release = place
  return perform(run, server._keepalive_ms)
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
  if not ok and not GONE[code] then
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
---@field cache_max_age_ms number? of model lists, an hour
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
