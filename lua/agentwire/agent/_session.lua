--- One agent session as its client sees it: what a caller does, and what
--- becomes of each message that the server sends. A reader task takes those:
--- events go to the run they belong to (`_session_run`), answers to their
--- requests, tool calls to the tools that run here (`_local_tools`). A session
--- ends once (`_finish`), and then nobody waits for it any more. The reader
--- holds it weakly, so that one that nobody else holds is given up.
local class = require("agentwire._class")
local compat = require("agentwire._compat")
local guard = require("agentwire._guard")
local host = require("agentwire.host")
local json = require("agentwire.json")
local local_tools = require("agentwire.agent._local_tools")
local options = require("agentwire._options")
local pending = require("agentwire._pending")
local protocol = require("agentwire.agent.protocol")
local runs = require("agentwire.agent._session_run")
local tables = require("agentwire._tables")
local task = require("agentwire.task")
local wait = require("agentwire._wait")

local M = {}

local clear_stack = compat.clear_stack

-- Events of a run that wait to be iterated. A full queue stops the reading of
-- this session, and with that the server's sending.
local MAX_QUEUED = 256

---@class agentwire.Session
---@field id string session_id
---@field unknown integer messages of types this version does not know
local Session = {}
Session.__index = Session

function Session:__tostring()
  return ("session %s (%s)"):format(self.id, self._ended and "ended"
    or self:is_complete() and "idle" or "busy")
end

---@param client table
---@param channel table
---@param given table {routes, on_event, max_executions, max_queued_events, timeout_ms}
---@return agentwire.Session
function M.new(client, channel, given)
  local anchor, state = guard.new(function()
    channel:try_send(protocol.abandon(channel.id))
    channel:close()
  end)
  return setmetatable({
    _anchor = anchor,
    _guard = state,
    id = channel.id,
    unknown = 0,
    _client = client,
    _channel = channel,
    _tools = local_tools.new(channel, given.routes, given.max_executions),
    _on_event = given.on_event,
    _timeout_ms = given.timeout_ms,
    _max_queued = given.max_queued_events or MAX_QUEUED,
    _prompted = {}, -- runs whose first event has not come, in order
    _current = nil, -- the run whose events come now
    _last = nil, -- the run that was begun last
    _requests = pending.new(channel),
    _stopped = wait.latch("the session's end"),
    _stopping = false,
    _ended = false,
    _asked = false, -- a message was sent whose run has not come yet
    _last_result = nil,
    _last_error = nil,
    _last_code = nil,
  }, Session)
end

local function fail(session, message, code)
  session._last_error, session._last_code = message, code
end

-- A listener is somebody who waits, as long as there is something to hear:
-- until then the session is kept, also when nobody else holds it.
local function pin(session)
  local hears = session._on_event and not session._ended
    and (session._asked or not session:is_complete())
  session._client:_pin(session, hears or nil)
end

local function finish_run(session, run, result, message, code)
  tables.remove(session._prompted, run)
  if session._current == run then
    session._current = nil
  end
  if result then
    session._last_result = result
    fail(session, nil, nil)
  else
    fail(session, message, code)
  end
  session._asked = false
  run:finish(result, message, code)
  pin(session)
end

--- Ends the session on this side: whatever waits is told why. Idempotent.
function Session:_finish(message, code)
  if self._ended then
    return
  end
  self._ended = true
  self._guard:dismiss()
  local open = self._prompted
  self._prompted = {}
  if self._current then
    open[#open + 1] = self._current
  end
  for _, run in ipairs(open) do
    finish_run(self, run, nil, message, code)
  end
  self._requests:fail_all(message, code)
  self._tools:cancel_all("the session has ended")
  self._channel:close()
  self._stopped:set(true)
  pin(self)
  self._client:_retire(self)
end

local function request(session, kind, payload, answer, timeout_ms)
  if session._ended then
    return nil, "the session has ended", "ended"
  end
  local event, message, code = session._requests:ask(kind, payload, answer,
    timeout_ms or session._timeout_ms)
  return event, message, code -- no tail call: the session is held meanwhile
end

local HANDLERS = {}

local function answer(session, event, reply_to)
  session._requests:answer(event, reply_to)
end

HANDLERS.agent_started = answer
HANDLERS.session_info = answer
HANDLERS.tool_list_response = answer

--- The run that begins with this event. One that nobody here has prompted is
--- the server's answer to a message that came too late for the run before.
local function begin_run(session, reply_to)
  local run
  for index, prompted in ipairs(session._prompted) do
    if not reply_to or prompted.message_id == reply_to then
      run = table.remove(session._prompted, index)
      break
    end
  end
  if not run then
    run = runs.new(nil)
    run.message_id = reply_to
    session._last = run
  end
  session._current = run
  return run
end

local function tell_listener(session, event)
  local listener = session._on_event
  if not listener then
    return
  end
  local ok, problem = pcall(listener, event)
  if not ok then
    if task.is_cancelled(problem) then
      error(problem, 0)
    end
    session._on_event = nil
    task.spawn(error, problem, 0) -- reported by the host
  end
end

function HANDLERS.agent_event(session, message, reply_to)
  local event = json.decode(message.event_json)
  if type(event) ~= "table" or type(event.type) ~= "string" then
    session.unknown = session.unknown + 1
    return
  end
  local run = session._current or begin_run(session, reply_to)
  if event.type == "tool_execution_end" then
    session._tools:give_up(event.tool_call_id)
  end
  tell_listener(session, event)
  if not session._stopping then
    return run:queue(), event
  end
end

--- The run that an outcome is about. Refusals name the message refused.
local function run_of(session, reply_to)
  local current = session._current
  if not reply_to or (current and current.message_id == reply_to) then
    return current or session._prompted[1]
  end
  for _, prompted in ipairs(session._prompted) do
    if prompted.message_id == reply_to then
      return prompted
    end
  end
end

function HANDLERS.agent_result(session, event, reply_to)
  local run = run_of(session, reply_to)
  if not run and session._current then
    session.unknown = session.unknown + 1 -- of none that there is
    return
  end
  run = run or begin_run(session, reply_to)
  local result = json.decode(event.result_json)
  if type(result) == "table" then
    finish_run(session, run, result)
  else
    finish_run(session, run, nil, "malformed result", "invalid_request")
  end
end

function HANDLERS.agent_error(session, event, reply_to)
  if event.code == "agent_not_found" and event.sequence == 0 then
    return session:_finish(event.message, event.code)
  end
  if reply_to
    and session._requests:fail(nil, reply_to, event.message, event.code) then
    return
  end
  local run = run_of(session, reply_to)
  if run then
    finish_run(session, run, nil, event.message, event.code)
  else
    fail(session, event.message, event.code)
  end
  if not reply_to then
    -- A base server that refuses a start need not name it.
    session._requests:fail_all(event.message, event.code)
  end
end

local RUN_ENDS = { agent_result = true, agent_error = true }

--- A message that could not be taken ends what it would have ended; an event is
--- only counted.
local function take_refused(session, event, reply_to)
  local text = ("a message of the session (%s) could not be taken: %s")
    :format(event.refused_type, event.message)
  if session._requests:fail(event.refused_type, reply_to, text, event.code) then
    return
  end
  local run = RUN_ENDS[event.refused_type] and run_of(session, reply_to)
  if run then
    return finish_run(session, run, nil, text, event.code)
  end
  session.unknown = session.unknown + 1
end

function HANDLERS.agent_stopped(session, event)
  session:_finish(event.reason or "the session was stopped", "ended")
end

function HANDLERS.tool_execute(session, event)
  session._tools:execute(event, session)
end

--- Takes one message. An event for whoever iterates is given back with its
--- queue: there the reader waits, and must not hold the session meanwhile.
---@return agentwire.Queue|nil queue
---@return table|nil event
function Session:_receive(event, reply_to)
  local handler = HANDLERS[event.type]
  if event.type == "refused" then
    take_refused(self, event, reply_to)
  elseif handler and protocol.check(event) then
    return handler(self, event, reply_to)
  else
    self.unknown = self.unknown + 1
  end
end

local function take(box, channel, event, message, code)
  local session = box.session
  if not session or session._ended then
    return false
  elseif not event then
    session:_finish(message, code)
    return false
  end
  return true, session:_receive(event, channel:reply_to())
end

-- Holds the session in a weak box, and nothing of it on the stack, while it
-- waits: one that nobody else holds has no reader.
local function read(box, channel)
  repeat
    local going, queue, item = take(box, channel, channel:receive())
    clear_stack()
    if queue then
      queue:push(item)
    end
  until not going
end

--- Sends `agent_start` and waits for its answer.
function Session:_start(payload, timeout_ms)
  local box = setmetatable({ session = self }, { __mode = "v" })
  local channel = self._channel
  host.current():spawn(read, box, channel):defer(function()
    if box.session then
      box.session:_finish("the session's reader has ended", "closed")
    end
    channel:close()
  end)
  local event, message, code = request(self, "agent_start", payload,
    "agent_started", timeout_ms)
  if not event then
    return nil, message, code
  end
  return true
end

local MESSAGE = options.either(options.string, options.table)

local function send_message(session, title, message, mode)
  options.argument(title, "message", MESSAGE, message)
  if session._ended then
    return nil, "the session has ended", "ended"
  end
  local text, why = json.encode(protocol.user_message(message))
  if not text then
    return nil, "the message cannot be sent: " .. why, "invalid_request"
  end
  session._asked = true
  pin(session)
  return session._channel:send("agent_message", {
    session_id = session.id,
    message_json = text,
    options_json = mode and ('{"mode":"%s"}'):format(mode),
  })
end

--- Prompts the agent. Iterates the run's events; the loop ends with the run,
--- well or badly, and `result` tells which. When it is left early the events
--- that are left are dropped; the run goes on.
---@async
---@param message string|table
---@return fun(events: agentwire.SessionEvents): table|nil iterator
---@return agentwire.SessionEvents events
---@return nil
---@return agentwire.SessionEvents closing
function Session:prompt(message)
  local run = runs.new(self._max_queued)
  local ok, why, code = send_message(self, "session:prompt", message)
  self._last = run
  if ok then
    run.message_id = self._channel:sent_id()
    self._prompted[#self._prompted + 1] = run
  else
    finish_run(self, run, nil, why, code)
  end
  return runs.iterate(run, self)
end

--- Waits for the outcome of the run that was begun last. Events that nobody
--- has iterated are dropped.
---@async
---@param timeout_ms? integer
---@return table|nil result {text, stop_reason, iterations, usage}
---@return string? message
---@return string? code the agent protocol's; closed; ended; timeout: it runs on
function Session:result(timeout_ms)
  options.timeout("session:result", timeout_ms)
  local run = self._last
  if not run then
    return nil, "nothing was prompted", "ended"
  end
  local result, message, code = run:result(timeout_ms)
  return result, message, code -- no tail call: the session is held meanwhile
end

--- Puts a message before the model's next turn. If nothing runs it is a prompt,
--- whose events `on_event` is told and whose outcome `result` has.
---@async
---@param message string|table
---@return true|nil ok that it was sent
---@return string? message
---@return string? code
function Session:steer(message)
  return send_message(self, "session:steer", message, "steer")
end

--- Has a message answered when the agent would otherwise stop; else as `steer`.
---@async
---@param message string|table
---@return true|nil ok that it was sent
---@return string? message
---@return string? code
function Session:follow_up(message)
  return send_message(self, "session:follow_up", message, "follow_up")
end

--- Ends the current run, not the session; its result has stop_reason
--- "aborted".
---@async
---@param reason? string
---@return true|nil ok that it was sent
---@return string? message
---@return string? code
function Session:cancel(reason)
  options.optional("session:cancel", "reason", options.string, reason)
  if self._ended then
    return nil, "the session has ended", "ended"
  end
  return self._channel:send("agent_cancel", {
    session_id = self.id,
    reason = reason,
  })
end

--- The server's view: status, model, message_count, created_at, updated_at.
---@async
---@param timeout_ms? integer
---@return table|nil info
---@return string? message
---@return string? code
function Session:status(timeout_ms)
  options.timeout("session:status", timeout_ms)
  return request(self, "agent_status", { session_id = self.id },
    "session_info", timeout_ms)
end

--- The tools that the agent has in this session.
---@async
---@param prefix? string
---@param timeout_ms? integer
---@return table[]|nil tools
---@return string? message
---@return string? code
function Session:tools(prefix, timeout_ms)
  options.optional("session:tools", "prefix", options.string, prefix)
  options.timeout("session:tools", timeout_ms)
  local event, message, code = request(self, "tool_list", { prefix = prefix },
    "tool_list_response", timeout_ms)
  if not event then
    return nil, message, code
  end
  return event.tools
end

--- Stops the session and waits until the server has said so. Idempotent.
---@async
---@param reason? string
---@param timeout_ms? integer
---@return true|nil ok
---@return string? message
---@return string? code
function Session:stop(reason, timeout_ms)
  options.optional("session:stop", "reason", options.string, reason)
  options.timeout("session:stop", timeout_ms)
  if self._ended then
    return true
  end
  local ok, message, code = self._channel:send("agent_stop", {
    session_id = self.id,
    reason = reason,
  })
  if ok then
    -- Events are unread from here on, or the answer would not be reached.
    self._stopping = true
    if self._current then
      self._current:discard()
    end
    ok, message, code = self._stopped:wait(timeout_ms or self._timeout_ms)
  end
  self:close()
  if not ok and code ~= "ended" then
    return nil, message, code
  end
  return true
end

--- Ends the session without waiting. Wakes whoever waits for it. Idempotent.
---@param message? string why, for those who wait
---@param code? string
function Session:close(message, code)
  if self._ended then
    return
  end
  self._channel:try_send("agent_stop", {
    session_id = self.id,
    reason = message or "closed",
  })
  self:_finish(message or "the session was closed", code or "closed")
end

---@return boolean
function Session:is_ended()
  return self._ended
end

--- Whether no run is open.
---@return boolean
function Session:is_complete()
  return self._ended or (not self._current and #self._prompted == 0)
end

---@return string|nil message
---@return string|nil code
function Session:last_error()
  return self._last_error, self._last_code
end

---@return table|nil
function Session:last_result()
  return self._last_result
end

class.seal(Session, "session")

return M
