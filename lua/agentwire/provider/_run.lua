--- One stream or completion that a provider server has under way: its adapter's
--- task, what came of that, and the one end that the peer is told. Made and
--- performed by `server` in the task of the scope, of which all else here is a
--- child: nothing outlives the stream. Each end releases the stream's place
--- before its last message, so that a peer that was told the end finds it free.
local clock = require("agentwire._clock")
local emitting = require("agentwire.provider._emit")
local host = require("agentwire.host")
local json = require("agentwire.json")
local misuse = require("agentwire._misuse")
local problems = require("agentwire._problem")
local protocol = require("agentwire.provider.protocol")
local reconstruct = require("agentwire.provider.reconstruct")
local tables = require("agentwire._tables")
local task = require("agentwire.task")

local M = {}

local STOPPED, BLOCK_EVENT = emitting.STOPPED, emitting.BLOCK_EVENT
local put, ensure_start = emitting.put, emitting.ensure_start

---@class agentwire.ProviderRun
local Run = {}
Run.__index = Run

---@class agentwire.ProviderRunParts
---@field adapter table
---@field is_silent boolean a completion: no events on the wire
---@field keepalive_ms number 0: none
---@field max_bytes integer? of the message
---@field overflow "pause"|"fail"|nil nil: a full log is folded into the state
---@field answer fun(event: table) what else comes in the stream's scope
---@field release fun() lets its place go; idempotent

---@param channel agentwire.Channel
---@param request table
---@param given agentwire.ProviderRunParts
---@return agentwire.ProviderRun
function M.new(channel, request, given)
  local self = setmetatable({
    channel = channel,
    request = request,
    silent = given.is_silent,
    is_base = protocol.is_base(channel.connection), -- may know no member of ours
    rec = reconstruct.new {
      implicit_start = false, max_bytes = given.max_bytes,
    },
    call = nil, -- what the adapter gets of it
    -- How far the emission is (`_emit`).
    started = false,
    next_index = 0, -- of the next block
    sent = 0, -- messages
    burst = 0, -- events since the others ran
    -- Why it ends, the first that applies: the peer is gone; somebody asked; an
    -- event or the sending of one failed; the adapter has said `done` or `error`.
    lost = false,
    stopping = nil, -- the reason
    broken = nil, -- the sentence,
    broken_code = nil, -- and its code
    final = nil, -- the event
    _given = given,
    _adapter_task = nil,
  }, Run)
  -- The adapter may set `usage` here as it learns it: an aborted stream
  -- reports it too.
  self.call = {
    usage = nil,
    id = channel.id,
    connection = channel.connection,
    cancelled = function()
      return self.stopping ~= nil
    end,
  }
  return self
end

--- Asks the run to end: cancels the adapter's task. The first reason counts.
---@param reason string
function Run:stop(reason)
  if not self.stopping then
    self.stopping = reason
    self._adapter_task:cancel(reason)
  end
end

--- What a `sync` says of it: all that it has put out.
---@return table
function Run:state()
  local state = self.rec:state(reconstruct.defaults(self.request.model))
  state.target_stream_id = self.channel.id
  return state
end

-- What is known of the cost, by the adapter's word if it gave one.
local function usage_of(run, usage)
  usage = usage or run.call.usage
  return usage and protocol.usage(usage) or run.rec:usage()
end

local function end_badly(run, reason, text, code, details)
  details = details or {}
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
  run._given.release()
  put(run, "stream_error", {
    code = protocol.codes[code] and code or "provider_error", message = text,
  })
end

local function has_tool_call(content)
  for _, block in ipairs(content) do
    if block.type == "tool_call" then
      return true
    end
  end
  return false
end

-- The calls of a message that was returned whole are completed as they are when
-- they come as events.
local function complete_content(run, content)
  if type(content) ~= "table" then
    return content
  end
  local whole = {}
  for index, block in ipairs(content) do
    if type(block) == "table" and block.type == "tool_call" then
      local call = emitting.complete_call(run, {
        type = "toolcall_end", content_index = index - 1, id = block.id,
        name = block.name, arguments_json = block.arguments_json,
        thought_signature = block.thought_signature,
        provider_state = block.provider_state, incomplete = block.incomplete,
      })
      call.type, call.content_index = "tool_call", nil
      block = call
    end
    whole[index] = block
  end
  return json.array(whole)
end

local function complete_message(run, given)
  local message = tables.over(run.rec:message(reconstruct.defaults(run.request.model)), given)
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
  if run.is_base then
    message = protocol.base_message(message)
  end
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
        emitting.emit(run, event)
      end)
    end
    put(run, "done", { reason = message.stop_reason, message = message })
  end
  run._given.release()
  put(run, "result", protocol.result_from_message(message))
end

local function report(run, text)
  host.current():report(text, "provider stream " .. run.channel.id)
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

local function call_adapter(run)
  return {
    run._given.adapter:stream(run.request, function(event)
      emitting.emit(run, event)
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

local function listen(run)
  while true do
    local event = run.channel:receive()
    if not event then
      return run:stop("the connection is gone")
    end
    run._given.answer(event)
  end
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
    run._given.release()
    run.channel:send(protocol.fail(run.broken_code, run.broken))
  end
end

--- Runs the adapter and tells the peer how that ended. Called once, in the task
--- that serves the scope: it writes the ends; adapter, reader and keepalive are
--- its children.
---@async
function Run:perform()
  local given = self._given
  self.channel:on_overflow(given.overflow or function(kind)
    return "sync", self:state(), BLOCK_EVENT[kind] ~= nil
  end)
  task.defer(given.release)
  self._adapter_task = task.spawn(call_adapter, self)
  local reader = task.spawn(listen, self)
  local keeper
  if given.keepalive_ms > 0 and not self.silent then
    keeper = task.spawn(keep_alive, self, given.keepalive_ms)
  end
  local results, text, code, raised = self._adapter_task:join()
  if keeper then
    keeper:cancel("the stream ends")
    keeper:join()
  end
  if not self.lost then
    local ok, problem = pcall(conclude, self, results, text, code, raised)
    if not ok then
      recover(self, problem)
    end
  end
  reader:cancel("the stream has ended")
end

return M
