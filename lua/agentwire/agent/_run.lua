--- One run of an agent loop: from the prompts to `agent_end`. It has a task of
--- its own, and in that one for the turns, which a cancellation ends. However
--- those tasks end, what was begun is ended and the run has one outcome.

local clock = require("agentwire._clock")
local history = require("agentwire.agent._history")
local json = require("agentwire.json")
local problems = require("agentwire._problem")
local provider_protocol = require("agentwire.provider.protocol")
local results = require("agentwire.tool._result")
local task = require("agentwire.task")

local M = {}

-- How long the last events of a run may take whose task was cancelled.
local FAREWELL_MS = 2000

-- How long a cancelled run waits for the provider's word on what it has cost.
local USAGE_MS = 1000

---@class agentwire.AgentRun
local Run = {}
Run.__index = Run

---@param loop agentwire.AgentLoop
---@param prompts table[] messages
---@return agentwire.AgentRun
function M.new(loop, prompts)
  return setmetatable({
    prompts = prompts,
    messages = {},
    turns = 0,
    usage = provider_protocol.usage(nil),
    cancel_reason = nil,
    closing = false,
    stop_reason = nil,
    failure = nil, -- {message, code}
    dropped = nil,
    _loop = loop,
    _body = nil, -- the task of the turns
    _stream = nil,
    _routes = {},
    _turn_open = false,
    _message_open = false,
    _whole = nil, -- a message whose end is to be told
    _message = nil,
    _partial = nil,
    _unsent = {}, -- prompts that no provider has been sent
    _calls = {},
    _has_end_event = false,
    _outcome = nil, -- {result, message, code}
  }, Run)
end

--- Shielded: an event is told whole or not at all, so that what was begun can
--- be ended whenever the run is cancelled.
local function emit(run, event)
  task.shield(run._loop._tell, run._loop, event)
end

local function end_whole(run)
  local message = run._whole
  if message then
    run._whole = nil
    emit(run, { type = "message_end", message = message })
  end
end

--- A message that comes whole, as all but the model's do.
local function emit_message(run, message)
  run._whole = message
  emit(run, { type = "message_start", message = message })
  end_whole(run)
end

--- Takes a message into the conversation and the run.
local function keep(run, message)
  local messages = run._loop.messages
  messages[#messages + 1] = message
  run.messages[#run.messages + 1] = message
end

local function inject(run, messages)
  for _, message in ipairs(messages) do
    message.timestamp = message.timestamp or clock.now_ms()
    keep(run, message)
    run._unsent[message] = true
    emit_message(run, message)
  end
end

local SHOWN = {
  text_start = true,
  text_delta = true,
  text_end = true,
  thinking_start = true,
  thinking_delta = true,
  thinking_end = true,
  toolcall_start = true,
  toolcall_delta = true,
  toolcall_end = true,
}

local function empty_message(run)
  return {
    role = "assistant",
    content = json.array {},
    timestamp = clock.now_ms(),
    model = run._loop:model_name(),
  }
end

local function open_message(run)
  if not run._message_open then
    run._message_open = true
    emit(run, { type = "message_start", message = empty_message(run) })
  end
end

local function close_message(run, message)
  open_message(run)
  run._message_open = false
  run._message = message
  emit(run, { type = "message_end", message = message })
end

local function add_usage(run, usage)
  for name, count in pairs(provider_protocol.usage(usage)) do
    if name ~= "total" then -- not all providers give it
      run.usage[name] = (run.usage[name] or 0) + count
    end
  end
end

--- Takes out of the conversation what made it too large to be sent: the next
--- question would fail as well.
local function take_back(run)
  local messages = run._loop.messages
  for index = #messages, 1, -1 do
    if run._unsent[messages[index]] then
      table.remove(messages, index)
    end
  end
end

--- Asks the provider. A conversation that is too large for a message is sent
--- with notes in place of its largest tool results, and stays so if that
--- helped.
local function start_stream(run)
  local loop = run._loop
  local tools, routes = loop:list_tools(function(event)
    emit(run, event)
  end)
  run._routes = routes
  local request = {
    model = loop.model,
    messages = loop.messages,
    system_prompt = loop._system_prompt,
    tools = #tools > 0 and tools or nil,
    options = loop._options,
  }
  local stream, why, code = loop._provider:start_stream(request)
  local count, ids, before = 1, {}, 0
  while not stream and code == "limit" do
    request.messages, ids = history.shorten(loop.messages, count)
    if #ids == before then
      take_back(run)
      return nil, why, code
    end
    count, before = count * 2, #ids
    stream, why, code = loop._provider:start_stream(request)
  end
  if stream then
    run._unsent = {}
  end
  if stream and #ids > 0 then
    for index, message in ipairs(request.messages) do
      loop.messages[index] = message
    end
    emit(run, { type = "results_left_out", tool_call_ids = json.array(ids) })
  end
  return stream, why, code
end

-- Not by a generic `for`: leaving that gives the stream up, and of one that was
-- cancelled the cost has yet to be heard.
local function read_stream(run, stream)
  local step, state = stream:events { coalesce = run._loop._coalesce }
  local event = step(state)
  while event do
    open_message(run)
    if event.type == "error" then
      run._partial = stream:partial()
    elseif SHOWN[event.type] then
      emit(run, { type = "message_update", event = event })
    end
    event = step(state, event)
  end
  return stream:result()
end

local function usage_of(stream, message)
  return stream.usage and stream:usage() or message and message.usage
end

local function ask_model(run)
  local stream, why, code = start_stream(run)
  if not stream then
    return nil, why or "the provider gave no stream", code or "provider_error"
  end
  run._stream = stream
  local message
  message, why, code = read_stream(run, stream)
  run._stream = nil
  add_usage(run, usage_of(stream, message))
  if not message then
    return nil, why, code or "provider_error"
  end
  local calls = history.take_calls(message, run._loop.messages)
  if #message.content > 0 then
    keep(run, message)
  else
    run.messages[#run.messages + 1] = message
  end
  close_message(run, message)
  return calls
end

local function start_call(run, call)
  call.started = true
  emit(run, {
    type = "tool_execution_start",
    tool_call_id = call.id,
    tool_name = call.name,
    args_json = call.args_json,
  })
end

local function end_call(run, call, result)
  if call.result then
    return
  end
  call.result = result
  emit(run, {
    type = "tool_execution_end",
    tool_call_id = call.id,
    tool_name = call.name,
    result_json = result.result_json,
    is_error = result.is_error,
    details_json = result.details_json,
  })
end

local function update_call(run, call, update)
  if not call.result then
    emit(run, {
      type = "tool_execution_update",
      tool_call_id = call.id,
      tool_name = call.name,
      partial_json = update.partial_json,
      progress = update.progress,
      status = update.status,
    })
  end
end

--- Runs a call in a task of its own, which it may end in any way.
local function ask_source(run, call, source)
  local ok, result, why = pcall(task.timeout, nil, source.execute, source, {
    name = call.name,
    args_json = call.args_json,
    tool_call_id = call.id,
    timeout_ms = run._loop._tool_timeout_ms,
    on_update = function(update)
      update_call(run, call, update)
    end,
  })
  if not ok then
    if task.is_cancelled(result) then
      error(result, 0)
    end
    return nil, problems.brief(result)
  elseif result == nil then
    return nil, tostring(why)
  end
  local problem = history.result_problem(result)
  if problem then
    return nil, problem
  end
  return result
end

local function execute_call(run, call)
  start_call(run, call)
  local source = run._routes[call.name]
  local result, why = nil, call.problem
  if not why and source then
    result, why = ask_source(run, call, source)
  elseif not why then
    why = "no such tool: " .. call.name
  end
  if result and type(result.result_json) ~= "string" then
    result.result_json = json.encode(result.parts)
  end
  end_call(run, call, result or results.failure(why))
end

--- Workers take the calls in order, so that they also start in order.
local function run_calls(run)
  local calls, position = run._calls, 0
  local function work()
    while position < #calls do
      position = position + 1
      execute_call(run, calls[position])
    end
  end
  local workers = {}
  for index = 1, math.min(#calls, run._loop._max_parallel) do
    workers[index] = task.spawn(work)
  end
  for _, worker in ipairs(workers) do
    local _, why, code, raised = worker:join()
    if code then
      error(raised or why, 0)
    end
  end
end

local function result_message(call)
  local result = call.result
  return {
    role = "tool",
    tool_call_id = call.id,
    tool_name = call.name,
    timestamp = clock.now_ms(),
    is_error = result.is_error == true,
    content = json.array(result.parts),
    details_json = result.details_json,
  }
end

--- Ends the turn: calls without a result get one, so that the conversation
--- stays one that a provider accepts.
local function close_turn(run)
  local messages = {}
  for _, call in ipairs(run._calls) do
    if not call.started then
      start_call(run, call)
    end
    end_call(run, call, results.failure(
      "cancelled: " .. (run.cancel_reason or "the run has ended")))
  end
  for index, call in ipairs(run._calls) do
    if not call.message then
      call.message = result_message(call)
      keep(run, call.message)
      emit_message(run, call.message)
    end
    messages[index] = call.message
  end
  run._turn_open = false
  emit(run, {
    type = "turn_end",
    message = run._message,
    tool_results = json.array(messages),
  })
end

-- A provider that pauses wants the conversation back as it is; a model that has
-- refused is not asked again.
local function goes_on(stop_reason, calls)
  return stop_reason == "pause"
    or calls > 0 and stop_reason ~= "refusal" and stop_reason ~= "content_filter"
end

local function do_turn(run)
  run.turns = run.turns + 1
  run._turn_open = true
  run._message, run._calls, run._partial = nil, {}, nil
  emit(run, { type = "turn_start" })
  local calls, why, code = ask_model(run)
  if not calls then
    return nil, why, code
  end
  run._calls = calls
  run_calls(run)
  close_turn(run)
  return true, goes_on(run._message.stop_reason, #calls)
end

--- What the next turn begins with; nil when the run is over. Nothing waits
--- between the last look at the queues and `closing`, so that a message is
--- either part of this run or known to be too late for it.
local function next_prompts(run, called)
  local loop = run._loop
  if run.turns >= loop._max_turns then
    run.stop_reason = called and "max_turns" or run.stop_reason
    run.closing = true
    return nil
  end
  local queued = loop:_take("steering")
  if #queued == 0 and not called then
    queued = loop:_take("follow_up")
  end
  if #queued == 0 and not called then
    run.closing = true
    return nil
  end
  return queued
end

local function run_turns(run)
  local prompts = run.prompts
  while prompts do
    inject(run, prompts)
    local ok, called, code = do_turn(run)
    if not ok then
      run.failure = { called, code }
      return
    end
    run.stop_reason = run._message.stop_reason or "stop"
    prompts = next_prompts(run, called)
  end
end

--- Waits a little for the end of a stream that was aborted, since only then it
--- is known what it has cost.
local function end_stream(run)
  local stream = run._stream
  if not stream then
    return
  end
  run._stream = nil
  run._partial = run._partial or stream:partial()
  if stream.abort and stream.usage then
    stream:abort(run.cancel_reason or "the run has ended")
    task.timeout(USAGE_MS, stream.result, stream)
    run._lost_usage = stream:usage()
    add_usage(run, run._lost_usage)
  end
  stream:close()
end

local function abandoned_message(run, stop_reason, why)
  local message = run._partial or empty_message(run)
  history.drop_calls(message)
  message.stop_reason = stop_reason
  message.error_message = why
  message.usage = run._lost_usage or message.usage
  return message
end

local function close_run(run, stop_reason, why)
  end_whole(run)
  if run._turn_open and not run._message then
    local message = abandoned_message(run, stop_reason, why)
    if history.has_text(message) then
      keep(run, message)
    else
      run.messages[#run.messages + 1] = message
    end
    close_message(run, message)
  end
  if run._turn_open then
    close_turn(run)
  end
  run.closing = true
  if not run._has_end_event then
    run._has_end_event = true
    emit(run, { type = "agent_end", messages = json.array(run.messages) })
  end
end

local function result_of(run, stop_reason)
  local message = run._message
  return {
    text = message and provider_protocol.text_of(message) or "",
    stop_reason = stop_reason,
    iterations = run.turns,
    usage = run.usage,
    cancel_reason = run.cancel_reason,
    dropped_messages = run.dropped,
  }
end

--- Ends what was begun and fixes the outcome. It goes on where an earlier call
--- had to stop.
local function finish(run)
  pcall(end_stream, run)
  local stop_reason = run.stop_reason or "stop"
  local message, code
  if run.cancel_reason then
    stop_reason = "aborted"
    run.dropped = run.dropped or run._loop:clear_queues()
  elseif run.failure then
    stop_reason, message, code = "error", run.failure[1], run.failure[2]
  end
  close_run(run, stop_reason, run.cancel_reason or message)
  if code then
    run._outcome = { nil, message, code }
  else
    run._outcome = { result_of(run, stop_reason) }
  end
end

--- The failure of a run whose task was ended by what it called.
local function note_failure(run, message)
  run._loop:_drop_fallen()
  run.failure = run.failure
    or { message or "the run ended without an outcome", "internal_error" }
end

local function lead(run)
  task.shield(run._loop._tell, run._loop, { type = "agent_start" })
  local body = task.spawn(run_turns, run)
  run._body = body
  if run.cancel_reason then
    body:cancel(run.cancel_reason)
  end
  local _, _, code = body:join()
  if code == "task_error" then
    note_failure(run, (body:failure()))
  end
  finish(run)
end

--- Runs to the end. Called once. The result has `text`, `stop_reason` (of a
--- cancelled run "aborted"), `iterations` and `usage`.
---@async
---@return table|nil result
---@return string? message
---@return string? code
function Run:execute()
  local loop = self._loop
  local leader = task.spawn(lead, self)
  leader:defer(function()
    loop._run = nil
    self.closing = true
    self._outcome = self._outcome
      or { nil, self.failure and self.failure[1], "internal_error" }
  end)
  leader:defer(function()
    if not self._outcome then
      note_failure(self, (leader:failure()))
      finish(self)
    end
  end)
  local joined, why = pcall(leader.join, leader)
  if not joined then
    -- The task around this run is being cancelled: end in good order, but soon.
    self:cancel("the agent has ended")
    pcall(task.shield, leader.join, leader, FAREWELL_MS)
    leader:cancel("the agent has ended")
    error(why, 0)
  end
  local outcome = self._outcome
  return outcome[1], outcome[2], outcome[3]
end

--- Ends the run: the model's stream is aborted, tools are cancelled, and the
--- run ends with what it has. The first reason counts.
---@param reason? string
---@return boolean cancelled false if it was over or cancelled before
function Run:cancel(reason)
  if self.cancel_reason or self.closing then
    return false
  end
  self.cancel_reason = reason or "cancelled"
  if self._stream then
    self._partial = self._stream:partial()
  end
  if self._body then
    self._body:cancel(self.cancel_reason)
  end
  return true
end

return M
