--- The agent loop: asks the model, runs the tools it calls, asks again, until
--- the model is done. What happens is told as events, in the order of the wire
--- protocol's section 5; every run ends with one `agent_end` and one outcome.

local clock = require("agentwire._clock")
local json = require("agentwire.json")
local protocol = require("agentwire.agent.protocol")
local provider_protocol = require("agentwire.provider.protocol")
local registry = require("agentwire.tool.registry")
local task = require("agentwire.task")

local M = {}

-- Turns of one run. A model that calls tools for ever costs money.
local MAX_TURNS = 50

-- Queued steering and follow-up messages, each.
local MAX_PENDING = 64

-- Tool calls of one message that run at the same time.
local MAX_PARALLEL = 8

-- How long the last events of a run may take whose task was cancelled.
local FAREWELL_MS = 1000

---@class agentwire.AgentLoop
---@field messages table[] the conversation so far
local Loop = {}
Loop.__index = Loop

---@class agentwire.AgentRun one run: from the prompts to agent_end
local Run = {}
Run.__index = Run

-- Events ------------------------------------------------------------------------

--- Tells the listeners. One that raises is dropped, and its error goes to the
--- host like that of any task that nobody joins.
local function notify(loop, event)
  local listeners = loop._listeners
  for index = 1, #listeners do
    local listener = listeners[index]
    local ok, problem = pcall(listener, event)
    if not ok then
      loop:_unsubscribe(listener)
      task.spawn(error, problem, 0)
    end
  end
end

--- Shielded: an event is told whole or not at all, so that what was begun can
--- be ended whenever the run is cancelled.
local function emit(run, event)
  task.shield(notify, run._loop, event)
end

local function emit_message(run, message)
  emit(run, { type = "message_start", message = message })
  emit(run, { type = "message_end", message = message })
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
    emit_message(run, message)
  end
end

-- The model's message -------------------------------------------------------------

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

--- Tool calls need ids that differ: results are told apart by them.
local function name_calls(run, calls)
  local seen = {}
  for index, call in ipairs(calls) do
    if call.id == nil or call.id == "" or seen[call.id] then
      call.id = ("call_%d_%d"):format(run.turns, index)
    end
    seen[call.id] = true
    if call.arguments_json == nil or call.arguments_json == "" then
      call.arguments_json = "{}"
    end
  end
  return calls
end

local function add_usage(run, message)
  local usage = provider_protocol.usage(message.usage)
  for name, count in pairs(usage) do
    run.usage[name] = (run.usage[name] or 0) + count
  end
end

local function start_stream(run)
  local loop = run._loop
  local tools, routes, code = loop:list_tools()
  if not tools then
    return nil, routes, code
  end
  run._routes = routes
  return loop._provider:start_stream {
    model = loop.model,
    messages = loop.messages,
    system_prompt = loop._system_prompt,
    tools = #tools > 0 and tools or nil,
    options = loop._options,
  }
end

local function read_stream(run, stream)
  for event in stream:events { coalesce = run._loop._coalesce } do
    open_message(run)
    if event.type == "error" then
      run._partial = stream:partial()
    elseif SHOWN[event.type] then
      emit(run, { type = "message_update", event = event })
    end
  end
  return stream:result()
end

local function ask_model(run)
  local stream, why, code = start_stream(run)
  if not stream then
    return nil, why, code
  end
  run._stream = stream
  local message
  message, why, code = read_stream(run, stream)
  run._stream = nil
  if not message then
    return nil, why, code
  end
  local calls = name_calls(run, provider_protocol.tool_calls(message))
  add_usage(run, message)
  keep(run, message)
  close_message(run, message)
  return calls
end

-- Tools -----------------------------------------------------------------------------

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

local function execute_call(run, call)
  start_call(run, call)
  local source = run._routes[call.name]
  if not source then
    return end_call(run, call,
      registry.error_result("no such tool: " .. call.name))
  end
  local ok, result, why = pcall(source.execute, source, {
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
    result, why = nil, tostring(result)
  end
  end_call(run, call, result or registry.error_result(tostring(why)))
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
    local _, why, code = worker:join()
    if code then
      error(why, 0)
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
    is_error = result.is_error,
    content = result.parts,
    details_json = result.details_json,
  }
end

--- Ends the turn: calls without a result get one, so that the conversation
--- stays one that a provider accepts.
local function close_turn(run)
  local results = {}
  for _, call in ipairs(run._calls) do
    if not call.started then
      start_call(run, call)
    end
    end_call(run, call, registry.error_result(
      "cancelled: " .. (run.cancel_reason or "the run has ended")))
  end
  for index, call in ipairs(run._calls) do
    local message = result_message(call)
    results[index] = message
    keep(run, message)
    emit_message(run, message)
  end
  run._turn_open = false
  emit(run, {
    type = "turn_end",
    message = run._message,
    tool_results = json.array(results),
  })
end

-- Turns -------------------------------------------------------------------------------

local function do_turn(run)
  run.turns = run.turns + 1
  run._turn_open = true
  run._message, run._calls, run._partial = nil, {}, nil
  emit(run, { type = "turn_start" })
  local blocks, why, code = ask_model(run)
  if not blocks then
    return nil, why, code
  end
  for index, block in ipairs(blocks) do
    run._calls[index] = {
      id = block.id,
      name = block.name,
      args_json = block.arguments_json,
      started = false,
      result = nil,
    }
  end
  run_calls(run)
  local called = #run._calls > 0
  close_turn(run)
  return true, called
end

local function take(queue, mode)
  local taken = {}
  local count = mode == "one_at_a_time" and math.min(1, #queue) or #queue
  for index = 1, count do
    taken[index] = table.remove(queue, 1)
  end
  return taken
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
  local queued = take(loop._steering, loop._steering_mode)
  if #queued == 0 and not called then
    queued = take(loop._follow_ups, loop._follow_up_mode)
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

-- The end of a run ----------------------------------------------------------------------

--- What is left of a message that was not finished. Its tool calls never ran:
--- they are not kept in the conversation.
local function abandoned_message(run, stop_reason, why)
  local message = run._partial or empty_message(run)
  local content, kept = json.array {}, false
  for _, block in ipairs(message.content) do
    if block.type ~= "tool_call" then
      content[#content + 1] = block
      kept = kept or block.type == "text" and block.text ~= ""
    end
  end
  message.content = content
  message.stop_reason = stop_reason
  message.error_message = why
  return message, kept
end

local function close_run(run, stop_reason, why)
  if run._turn_open and not run._message then
    local message, kept = abandoned_message(run, stop_reason, why)
    if kept then
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
  emit(run, { type = "agent_end", messages = json.array(run.messages) })
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

local function finish(run, body_why, body_code)
  local stop_reason = run.stop_reason or "stop"
  local message, code
  if run.cancel_reason then
    stop_reason = "aborted"
    run.dropped = run._loop:clear_queues()
  elseif run.failure then
    stop_reason, message, code = "error", run.failure[1], run.failure[2]
  elseif body_code then
    stop_reason, message, code = "error", body_why, "internal_error"
  end
  close_run(run, stop_reason, run.cancel_reason or message)
  if code then
    return nil, message, code
  end
  return result_of(run, stop_reason)
end

local function await_body(run)
  local body = task.spawn(run_turns, run)
  run._body = body
  if run.cancel_reason then
    body:cancel(run.cancel_reason)
  end
  local _, _, code, raised = body:join()
  return raised and tostring(raised), code
end

--- Runs to the end. Called once. The result has `text`, `stop_reason` (of a
--- cancelled run "aborted"), `iterations` and `usage`.
---@async
---@return table|nil result
---@return string? message
---@return string? code
function Run:execute()
  local loop = self._loop
  task.shield(notify, loop, { type = "agent_start" })
  local joined, why, code = pcall(await_body, self)
  if joined then
    local result, message, failure = finish(self, why, code)
    loop._run = nil
    return result, message, failure
  end
  -- The task around this run is being cancelled: end in good order, but soon.
  self:cancel("the agent has ended")
  pcall(task.shield, task.timeout, FAREWELL_MS, function()
    self._body:join()
    finish(self)
  end)
  loop._run = nil
  error(why, 0)
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
  local stream = self._stream
  if stream then
    self._partial = stream:partial()
    stream:close()
  end
  if self._body then
    self._body:cancel(self.cancel_reason)
  end
  return true
end

-- The loop --------------------------------------------------------------------------------

---@class agentwire.AgentLoopOptions
---@field provider table a provider client: start_stream
---@field model string|table
---@field system_prompt string?
---@field tools table? a tool source or a list of them
---@field options table? handed to the provider as they are
---@field messages table[]? a conversation to go on with
---@field on_event fun(event: table)? the first listener
---@field max_turns integer? 50
---@field max_pending_messages integer? 64 in each queue
---@field max_parallel_tools integer? 8
---@field tool_timeout_ms integer?
---@field steering_mode "all"|"one_at_a_time"|nil one_at_a_time
---@field follow_up_mode "all"|"one_at_a_time"|nil one_at_a_time
---@field coalesce boolean? merge deltas that wait already

local MODES = { all = true, one_at_a_time = true }

local function check_mode(mode, name)
  mode = mode or "one_at_a_time"
  if not MODES[mode] then
    error(name .. " is all or one_at_a_time", 3)
  end
  return mode
end

--- A list of tool sources from one, several or none.
---@param tools table|nil
---@return table[]
function M.sources(tools)
  if tools == nil then
    return {}
  elseif type(tools.execute) == "function" then
    return { tools }
  end
  return tools
end

---@param options agentwire.AgentLoopOptions
---@return agentwire.AgentLoop
function M.new(options)
  if type(options) ~= "table" or not options.provider then
    error("an agent loop needs a provider", 2)
  end
  return setmetatable({
    messages = options.messages or {},
    model = options.model,
    _provider = options.provider,
    _system_prompt = options.system_prompt,
    _tools = M.sources(options.tools),
    _options = options.options,
    _max_turns = options.max_turns or MAX_TURNS,
    _max_pending = options.max_pending_messages or MAX_PENDING,
    _max_parallel = options.max_parallel_tools or MAX_PARALLEL,
    _tool_timeout_ms = options.tool_timeout_ms,
    _steering_mode = check_mode(options.steering_mode, "steering_mode"),
    _follow_up_mode = check_mode(options.follow_up_mode, "follow_up_mode"),
    _coalesce = options.coalesce,
    _steering = {},
    _follow_ups = {},
    _listeners = { options.on_event },
    _run = nil,
  }, Loop)
end

--- The model's name, for people.
---@return string
function Loop:model_name()
  local model = self.model
  if type(model) == "table" then
    model = model.id or model.model_id
  end
  return model or "unknown"
end

--- The tools of all sources; of two with one name the earlier source's counts.
---@async
---@return table[]|nil tools metadata
---@return table|string routes source by name, or a message
---@return string? code
function Loop:list_tools()
  local tools, routes = {}, {}
  for _, source in ipairs(self._tools) do
    local list, why, code = source:list()
    if not list then
      return nil, "tools: " .. why, code
    end
    for _, tool in ipairs(list) do
      if not routes[tool.name] then
        routes[tool.name] = source
        tools[#tools + 1] = tool
      end
    end
  end
  return tools, routes
end

--- Calls `listener` with every event, after the listeners that are there. One
--- that raises is dropped.
---@param listener fun(event: table)
---@return fun() unsubscribe
function Loop:subscribe(listener)
  local listeners = {}
  for index, other in ipairs(self._listeners) do
    listeners[index] = other
  end
  listeners[#listeners + 1] = listener
  self._listeners = listeners
  return function()
    self:_unsubscribe(listener)
  end
end

--- The list is replaced, never changed: an event may be on its way through it.
function Loop:_unsubscribe(listener)
  local listeners = {}
  for _, other in ipairs(self._listeners) do
    if other ~= listener then
      listeners[#listeners + 1] = other
    end
  end
  self._listeners = listeners
end

local function to_messages(prompts)
  if type(prompts) == "string" or prompts.role or prompts.content then
    return { protocol.user_message(prompts) }
  end
  local messages = {}
  for index, prompt in ipairs(prompts) do
    messages[index] = protocol.user_message(prompt)
  end
  return messages
end

--- Makes the next run without starting it, so that it can be cancelled from
--- now on. One run at a time.
---@param prompts string|table text, a message or a list of them
---@return agentwire.AgentRun|nil run
---@return string? message
---@return string? code agent_busy
function Loop:begin(prompts)
  if self._run then
    return nil, "the agent is busy", "agent_busy"
  end
  self._run = setmetatable({
    prompts = to_messages(prompts),
    messages = {},
    turns = 0,
    usage = provider_protocol.usage(nil),
    cancel_reason = nil,
    closing = false,
    stop_reason = nil,
    failure = nil,
    dropped = nil,
    _loop = self,
    _body = nil,
    _stream = nil,
    _routes = {},
    _turn_open = false,
    _message_open = false,
    _message = nil,
    _partial = nil,
    _calls = {},
  }, Run)
  return self._run
end

--- Runs the prompts to the end.
---@async
---@param prompts string|table
---@return table|nil result
---@return string? message
---@return string? code agent_busy or the provider's
function Loop:prompt(prompts)
  local run, why, code = self:begin(prompts)
  if not run then
    return nil, why, code
  end
  return run:execute()
end

local function enqueue(self, queue, message)
  if #queue >= self._max_pending then
    return nil, ("%d messages are waiting"):format(#queue), "rate_limited"
  end
  queue[#queue + 1] = protocol.user_message(message)
  return true
end

--- Queues a message for the end of the current turn: it comes before the next
--- question to the model.
---@param message string|table
---@return true|nil ok
---@return string? message
---@return string? code rate_limited
function Loop:steer(message)
  return enqueue(self, self._steering, message)
end

--- Queues a message for when the agent would otherwise stop.
---@param message string|table
---@return true|nil ok
---@return string? message
---@return string? code rate_limited
function Loop:follow_up(message)
  return enqueue(self, self._follow_ups, message)
end

--- Takes what would begin the next run: messages that came too late for the
--- last one.
---@return table[]
function Loop:take_queued()
  local taken = take(self._steering, self._steering_mode)
  if #taken == 0 then
    taken = take(self._follow_ups, self._follow_up_mode)
  end
  return taken
end

--- Forgets queued messages.
---@return integer dropped
function Loop:clear_queues()
  local count = #self._steering + #self._follow_ups
  self._steering, self._follow_ups = {}, {}
  return count
end

--- Ends the current run.
---@param reason? string
---@return boolean cancelled
function Loop:cancel(reason)
  return self._run ~= nil and self._run:cancel(reason)
end

---@return boolean
function Loop:is_running()
  return self._run ~= nil
end

--- Forgets the conversation and the queues. Misuse while it runs.
function Loop:reset()
  if self._run then
    error("reset while the agent runs", 2)
  end
  self.messages = {}
  self:clear_queues()
end

return M
