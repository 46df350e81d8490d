--- One agent session as its server has it: what the client may say in the
--- scope, the runs of its agent loop, one at a time, and the conversation that
--- it keeps. Whoever asked for anything gets one answer; a session ends once
--- (`stop`, or with the task that serves it), and its conversation is saved and
--- let go then.
local authorized = require("agentwire.tool._authorized")
local client_tools = require("agentwire.agent._client_tools")
local clock = require("agentwire._clock")
local conversations = require("agentwire.agent._conversations")
local json = require("agentwire.json")
local loop = require("agentwire.agent.loop")
local protocol = require("agentwire.agent.protocol")
local provider_protocol = require("agentwire.provider.protocol")
local shares = require("agentwire._shares")
local tables = require("agentwire._tables")
local task = require("agentwire.task")

local M = {}

-- Tools that one client may offer.
local MAX_CLIENT_TOOLS = 128

local MAX_TURNS = 50

---@class agentwire.ServedSession
local Session = {}
Session.__index = Session

local function send(session, kind, payload, reply_to)
  session.updated_at = clock.now_ms()
  return session.channel:send(kind, payload, reply_to)
end

function Session:_refuse(reply_to, code, message)
  local kind, payload = protocol.error(code, message)
  send(self, kind, payload, reply_to)
end

local function merged(base, over)
  local options = tables.copy(base)
  for name, value in pairs(over or {}) do
    if value ~= json.null then
      options[name] = value
    end
  end
  return next(options) ~= nil and options or nil
end

local function read_config(service, event)
  local config, why, code = protocol.parse_config(event.config_json)
  if not config then
    return nil, why, code
  end
  local options = service._options
  config.offered, why, code = protocol.parse_offered_tools(config.tools,
    options.max_client_tools or MAX_CLIENT_TOOLS)
  if not config.offered then
    return nil, why, code
  end
  local model = options.model
  if options.allow_model ~= false then
    model = config.model or model
  end
  if not model then
    return nil, "config_json: model is missing", "invalid_request"
  end
  local built, problem = provider_protocol.build_model(model)
  if not built then
    return nil, "config_json: " .. problem, "invalid_request"
  end
  config.model = model
  return config
end

local function open_conversation(service, channel, event)
  local resumed = event.resume_session_id
  local id = conversations.read_id(resumed or channel.id)
  if not id then
    return nil, "resume_session_id: expected a UUID", "invalid_request"
  end
  return service._conversations:open(channel.connection, id, resumed ~= nil)
end

local function build_loop(session, config, event)
  local service = session.service
  local options = service._options
  local limit = options.max_turns or MAX_TURNS
  local tools = {}
  for index, source in ipairs(service._tools) do
    tools[index] = authorized.new(source, options.authorize,
      session.channel.connection)
  end
  tools[#tools + 1] = session.client_tools
  return loop.new(tables.over(loop.LIMITS:pick(options), {
    provider = options.provider,
    model = config.model,
    system_prompt = event.system_prompt or options.system_prompt,
    tools = tools,
    messages = session.conversation.messages,
    options = merged(options.options,
      config.options),
    max_turns = math.min(config.max_turns or limit, limit),
    steering_mode = config.steering_mode,
    follow_up_mode = config.follow_up_mode,
    coalesce = options.coalesce ~= false,
    on_event = function(agent_event)
      session:_note(agent_event)
      session:_tell(agent_event)
    end,
  }))
end

local function new_session(service, channel, config, conversation)
  local now = clock.now_ms()
  return setmetatable({
    service = service,
    channel = channel,
    conversation = conversation,
    status = "ready",
    created_at = now,
    updated_at = now,
    client_tools = client_tools.new(channel, config.offered,
      service._options.tool_timeout_ms),
    loop = nil,
    _runner = nil, -- the task of the current run
    _reply_to = nil, -- the message that the current run answers
    _first_event = false,
    _asked_by = setmetatable({}, { __mode = "k" }), -- queued messages' ids
    _tools_running = 0,
    _listing = false,
    _stopped = false,
  }, Session)
end

function Session:_track(event)
  if event.type == "tool_execution_start" then
    self._tools_running = self._tools_running + 1
  elseif event.type == "tool_execution_end" then
    self._tools_running = self._tools_running - 1
  end
  if self.status ~= "stopping" then
    self.status = self._tools_running > 0 and "waiting_for_tool"
      or "processing"
  end
end

--- Counts what it holds: the conversation, and the messages that wait.
function Session:_measure()
  self.conversation:measure { self.loop.messages, self.loop._queues }
end

--- Saves the conversation at the end of each turn, before that is told.
function Session:_note(event)
  if event.type == "message_end" then
    self.conversation:touch()
  elseif event.type == "turn_end" or event.type == "agent_end" then
    local ok, why = self.conversation:save(self.loop.messages)
    self:_measure()
    if not ok then
      self:_tell { type = "save_failed", message = why }
    end
  end
end

--- Sends an event. One that has no JSON form or is too large for a message is
--- sent without its contents rather than left out.
function Session:_tell(event)
  self:_track(event)
  local reply_to = self._first_event and self._reply_to or nil
  self._first_event = false
  local text = json.encode(event)
  local ok, why, code
  if text then
    ok, why, code = send(self, "agent_event", { event_json = text }, reply_to)
  end
  if not ok and code ~= "closed" and code ~= "ended" then
    text = json.encode {
      type = event.type,
      tool_call_id = event.tool_call_id,
      truncated = why or true,
    }
    send(self, "agent_event", { event_json = text }, reply_to)
  end
end

--- Whoever asked gets one answer: one that cannot be sent is refused in its
--- place.
local function run_once(session, run)
  local result, why, code = run:execute()
  if result then
    local ok, text
    text, why = json.encode(result)
    if text then
      ok, why, code = send(session, "agent_result", { result_json = text },
        session._reply_to)
    end
    if ok or code == "closed" or code == "ended" then
      return
    end
  end
  session:_refuse(session._reply_to, code, why)
end

--- Runs what was asked for, then what came too late for that. Between the last
--- look and the end of this task nothing waits: no message can fall between.
local function run_all(session, messages, reply_to)
  while #messages > 0 do
    session._reply_to = reply_to
    session._first_event = true
    session.status = "processing"
    local run, why, code = session.loop:begin(messages)
    if run then
      run_once(session, run)
    else
      session:_refuse(reply_to, code, why)
    end
    messages = session._stopped and {} or session.loop:take_queued()
    reply_to = session._asked_by[messages[1] or false]
  end
  session:_rest()
end

function Session:_rest()
  self._runner = nil
  if self.status ~= "stopping" then
    self.status = "ready"
  end
end

function Session:_begin(message, reply_to)
  local runner = task.spawn(run_all, self, { message }, reply_to)
  self._runner = runner
  self.channel:begin_work()
  runner:defer(function()
    self.channel:end_work()
    if self._runner == runner then
      self:_refuse(self._reply_to, "internal_error",
        runner:failure() or "the run has ended without a result")
      self:_rest()
    end
  end)
end

local HANDLERS = {}

function HANDLERS.agent_start(session, _, message_id)
  session:_refuse(message_id, "invalid_request",
    "this session has been started already")
end

--- A message as the session may take it: one whose peer does not hold too much.
local function read_message(session, event)
  local ok, why, code = shares.check_bytes(session.channel.connection)
  if not ok then
    return nil, why, code
  end
  local message
  message, why, code = protocol.parse_message(event.message_json)
  if not message then
    return nil, why, code
  end
  local mode
  mode, why, code = protocol.parse_mode(event.options_json)
  return mode and message, mode or why, code
end

function HANDLERS.agent_message(session, event, message_id)
  local message, mode, code = read_message(session, event)
  local why = mode
  if not message then
    return session:_refuse(message_id, code, why)
  elseif not session._runner then
    return session:_begin(message, message_id)
  elseif mode == "prompt" then
    return session:_refuse(message_id, "agent_busy",
      "the session is busy: steer, follow up or cancel")
  end
  local ok
  ok, why, code = session.loop[mode](session.loop, message)
  if not ok then
    return session:_refuse(message_id, code, why)
  end
  session:_measure()
  session._asked_by[message] = message_id
end

function HANDLERS.agent_cancel(session, event)
  session.loop:cancel(event.reason or "cancelled by the client")
end

function HANDLERS.agent_stop(session, event, message_id)
  session:stop(event.reason, message_id)
end

function HANDLERS.agent_status(session, _, message_id)
  send(session, "session_info", {
    session_id = session.channel.id,
    status = session.status,
    model = session.loop:model_name(),
    message_count = #session.loop.messages,
    created_at = session.created_at,
    updated_at = session.updated_at,
  }, message_id)
end

local function send_tools(session, prefix, message_id)
  local tools = {}
  for _, tool in ipairs((session.loop:list_tools())) do
    if not prefix or tool.name:sub(1, #prefix) == prefix then
      tools[#tools + 1] = {
        name = tool.name,
        description = tool.description,
        parameters_schema_json = tool.parameters_schema_json,
      }
    end
  end
  local ok, why, code = send(session, "tool_list_response",
    { tools = json.array(tools) }, message_id)
  if not ok and not session.channel:is_ended() then
    session:_refuse(message_id, code, why)
  end
end

--- In a task of its own, since a source may be remote and a cancel must not
--- wait for it; one at a time, since a peer could ask for many.
function HANDLERS.tool_list(session, event, message_id)
  if session._listing then
    return session:_refuse(message_id, "rate_limited",
      "the tools are being listed already")
  end
  session._listing = true
  task.spawn(send_tools, session, event.prefix, message_id):defer(function()
    session._listing = false
  end)
end

function HANDLERS.tool_result(session, event)
  session.client_tools:result(event)
end

--- The client could not take a message of ours: a call, if it is one.
function HANDLERS.agent_error(session, event)
  session.client_tools:refused(session.channel:reply_to(), event.message,
    event.code)
end

--- What could not be taken was answered when it came.
function HANDLERS.refused() end

function HANDLERS.tool_streaming(session, event)
  session.client_tools:streaming(event)
end

local function dispatch(session, event)
  local message_id = session.channel:message_id()
  local handler = HANDLERS[event.type]
  if not handler then
    if not protocol.replies[event.type] then
      session:_refuse(message_id, "invalid_request",
        "unknown message type: " .. tostring(event.type))
    end
    return
  end
  local ok, why, code = true, nil, nil
  if event.type ~= "refused" then
    ok, why, code = protocol.check(event)
  end
  local named = event.session_id
  if ok and named ~= nil and tostring(named):lower() ~= session.channel.id then
    ok, why, code = nil, "session_id: not this session", "invalid_request"
  end
  if not ok then
    if not protocol.replies[event.type] then
      session:_refuse(message_id, code, why)
    end
    return
  end
  handler(session, event, message_id)
end

--- Stops the session: the run ends first, in good order. Idempotent.
---@async
---@param reason string?
---@param reply_to string? the message that asked for it
function Session:stop(reason, reply_to)
  if self._stopped then
    return
  end
  self._stopped = true
  self.status = "stopping"
  self.loop:cancel(reason or "stopped")
  if self._runner then
    self._runner:join()
  end
  self.status = "stopped"
  -- Whoever hears of the end may start it again at once.
  self.conversation:save(self.loop.messages)
  self.conversation:close()
  send(self, "agent_stopped", {
    session_id = self.channel.id,
    reason = reason,
  }, reply_to)
end

--- Makes the session, in the task that will serve it: what it takes is given
--- back when that ends.
---@async
---@param service agentwire.AgentService
---@param channel agentwire.Channel
---@param event table agent_start, checked
---@return agentwire.ServedSession|nil session
---@return string? message
---@return string? code
function M.start(service, channel, event)
  local config, why, code = read_config(service, event)
  if not config then
    return nil, why, code
  end
  local conversation
  conversation, why, code = open_conversation(service, channel, event)
  if not conversation then
    return nil, why, code
  end
  local session = new_session(service, channel, config, conversation)
  task.defer(function()
    if session.loop then
      conversation:save(session.loop.messages)
    end
    conversation:close()
  end)
  if service._stopped then -- while the store was asked
    return nil, "the service is stopping", "rate_limited"
  end
  session.loop = build_loop(session, config, event)
  session:_measure()
  return session
end

--- Answers the message that has started it, and what comes after, until it is
--- stopped or its channel is over.
---@async
---@param message_id string of the start
function Session:serve(message_id)
  local channel = self.channel
  channel:rest()
  send(self, "agent_started", { session_id = channel.id }, message_id)
  while not self._stopped do
    local event = channel:receive()
    if not event then
      return
    end
    dispatch(self, event)
  end
  channel:close()
end

return M
