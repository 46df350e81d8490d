--- What an adapter emits for one stream, checked and put on the wire: blocks in
--- order, calls complete, one message at a time. Used by `_run` alone. An event
--- that does not fit ends the stream (`break_off`), whoever emitted it and
--- whatever the adapter makes of the error: `broken` is set once and stays.
local channels = require("agentwire.channel")
local json = require("agentwire.json")
local protocol = require("agentwire.provider.protocol")
local task = require("agentwire.task")

local M = {}

local GONE = channels.GONE
local DELTAS = protocol.deltas

-- An adapter that never waits lets the others run after so many events.
local BURST = 64

-- What is raised in an adapter whose stream is over; the run knows why.
local STOPPED = setmetatable({}, {
  __tostring = function()
    return "the stream is over"
  end,
})

M.STOPPED = STOPPED

-- The events of a block, each with the member of `partial` that has what the block
-- is so far.
local BLOCK_EVENT = {
  text_start = "current_text", text_delta = "current_text",
  text_end = "current_text", thinking_start = "current_thinking",
  thinking_delta = "current_thinking", thinking_end = "current_thinking",
  toolcall_start = "current_arguments_json",
  toolcall_delta = "current_arguments_json",
  toolcall_end = "current_arguments_json",
}

M.BLOCK_EVENT = BLOCK_EVENT

local STARTS = {
  text_start = true, thinking_start = true, toolcall_start = true,
}

--- Ends the stream for a reason of ours; the first one counts. Raises.
---@param run agentwire.ProviderRun
---@param text string
---@param code string? "internal_error"
function M.break_off(run, text, code)
  if not run.broken then
    run.broken, run.broken_code = text, code or "internal_error"
  end
  error(STOPPED, 0)
end

--- Sends one message of the stream; raises if that cannot be. A peer that is
--- gone needs no explanation; what it would not take ends the stream by that
--- name; what cannot be encoded is the adapter's doing.
---@async
---@param run agentwire.ProviderRun
---@param kind string
---@param payload table
function M.put(run, kind, payload)
  local ok, text, code = run.channel:send(kind, payload)
  if ok then
    run.sent = run.sent + 1
    return
  end
  if GONE[code] then
    run.lost = true
    error(STOPPED, 0)
  end
  M.break_off(run, kind .. " cannot be sent: " .. tostring(text),
    code == "limit" and code or nil)
end

--- The `start` comes before the first event, whether the adapter emits one or
--- not.
---@async
---@param run agentwire.ProviderRun
---@param event table? what the adapter says of it
function M.ensure_start(run, event)
  if run.started or run.silent then
    return
  end
  run.started = true
  M.put(run, "start", {
    model = run.request.model.id, input_tokens = event and event.input_tokens,
    state_of = event and event.state_of,
  })
end

local function filled(text)
  return type(text) == "string" and text:find("%S") and text or nil
end

--- An event of a call with what upstreams leave out, as they have said it
--- before: an id or a name of the start, arguments that came as deltas. Some
--- give calls no ids at all.
---@param run agentwire.ProviderRun
---@param event table
---@return table event any other is given back as it is
function M.complete_call(run, event)
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
    provider_state = event.provider_state,
    incomplete = event.incomplete,
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
  local payload = { content_index = event.content_index }
  if DELTAS[kind] then
    payload.delta = event.delta
  elseif kind == "toolcall_start" then
    payload.id, payload.name = event.id, event.name
  elseif kind == "toolcall_end" then
    payload.id, payload.name = event.id, event.name
    payload.arguments_json = event.arguments_json
    payload.thought_signature = event.thought_signature
    payload.incomplete = event.incomplete
  end
  if not event.delta then
    payload.provider_state, payload.opaque = event.provider_state, event.opaque
  end
  if run.request.include_partial then
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
  -- The most frequent one is looked at in place.
  if not (DELTAS[kind] and type(event.delta) == "string") then
    local ok, text = protocol.check(kind, event)
    if not ok then
      M.break_off(run, kind .. ": " .. text)
    end
  end
  if STARTS[kind] then
    if event.content_index < run.next_index then
      M.break_off(run, kind .. " for a content_index that was used")
    end
    run.next_index = event.content_index + 1
  end
  if not run.rec:push(event) then
    if run.rec.truncated then
      M.break_off(run, "the message is over the limit (max_message_bytes)",
        "limit")
    end
    M.break_off(run, kind .. " does not fit the order of events")
  end
end

-- Adapters may say themselves what the server would add.
local EMIT = {}

function EMIT.start(run, event)
  if run.started or run.next_index > 0 then
    M.break_off(run, "start after the first event")
  end
  run.rec:push {
    type = "start", input_tokens = event.input_tokens,
    state_of = event.state_of,
  }
  M.ensure_start(run, event)
end

function EMIT.warning(run, event)
  M.ensure_start(run)
  if not run.silent and not run.is_base then
    M.put(run, "warning", {
      code = tostring(event.code), message = tostring(event.message),
    })
  end
end

function EMIT.done(run, event)
  run.final = event
end

EMIT.error = EMIT.done

function EMIT.keepalive(run)
  M.ensure_start(run)
  if not run.silent then
    M.put(run, "keepalive", {})
  end
end

-- A relay's upstream has folded what was streamed while the relay was away.
local function emit_state(run, sync)
  local events, problem = run.rec:missing(sync)
  if not events then
    M.break_off(run, problem)
  end
  for _, event in ipairs(events) do
    M.emit(run, event)
  end
end

--- Takes one event from an adapter. May wait for a slow peer; raises when the
--- stream is over for the adapter.
---@async
---@param run agentwire.ProviderRun
---@param event table
function M.emit(run, event)
  if run.stopping then
    task.checkpoint()
    error(STOPPED, 0)
  elseif run.broken or run.final then
    M.break_off(run, "an event after the last one")
  end
  local kind = type(event) == "table" and event.type
  if BLOCK_EVENT[kind] then
    event = M.complete_call(run, event)
    check_block(run, event)
    if not run.silent then
      M.ensure_start(run)
      M.put(run, kind, block_payload(run, event))
    end
  elseif kind == "sync" then
    return emit_state(run, event)
  elseif EMIT[kind] then
    EMIT[kind](run, event)
  else
    M.break_off(run, "unknown event type " .. tostring(kind))
  end
  run.burst = run.burst + 1
  if run.burst >= BURST then
    run.burst = 0
    task.yield()
  end
end

return M
