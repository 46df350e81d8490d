--- The calling side of one tool scope: executions and requests that were sent
--- to the peer, and which of them each answer belongs to. Somebody else reads
--- the channel and hands over what comes.

local class = require("agentwire._class")
local guard = require("agentwire._guard")
local json = require("agentwire.json")
local problems = require("agentwire._problem")
local protocol = require("agentwire.tool.protocol")
local task = require("agentwire.task")
local wait = require("agentwire._wait")

local M = {}

local WEAK = { __mode = "v" }

-- How many updates of an execution are kept for a reader that is behind.
-- Updates are progress reports, so the oldest give way.
local MAX_UPDATES = 256

-- How long after its timeout an execution may take to report it.
local GRACE_MS = 5000

-- How long a caller that was itself cancelled may take to say so.
local CANCEL_MS = 1000

---@class agentwire.ToolExecution
---@field id string
---@field tool_call_id string
---@field name string
---@field dropped_updates integer
local Execution = {}
Execution.__index = Execution

function Execution:__tostring()
  return ("execution %s of %s (%s)"):format(self.id, self.name,
    self._outcome and "ended" or "running")
end

local function count_on(calls)
  calls._open_count = calls._open_count + 1
  calls._channel:begin_work()
end

local function count_off(calls)
  calls._open_count = calls._open_count - 1
  calls._channel:end_work()
end

-- An execution that nobody holds any more is cancelled.
local function give_up(calls, id)
  count_off(calls)
  calls._channel:try_send("tool_cancel", {
    execution_id = id, reason = "no longer wanted",
  })
end

local function new_execution(calls, id, call)
  local anchor, state = guard.new(function()
    give_up(calls, id)
  end)
  return setmetatable({
    _anchor = anchor,
    _guard = state,
    id = id,
    tool_call_id = call.tool_call_id or id,
    name = call.name,
    dropped_updates = 0,
    _calls = calls,
    _done = wait.latch("a tool's result"),
    _changed = wait.signal("a tool's update"),
    _updates = {},
    _first = 1,
    _last = 0,
    _outcome = nil,
    _message_id = nil, -- of its tool_execute
    _cancel_sent = false,
  }, Execution)
end

local function settle(self, result, message, code)
  if self._outcome then
    return
  end
  local calls = self._calls
  self._guard:dismiss()
  self._outcome = { result, message, code }
  calls._open[self.id] = nil
  count_off(calls)
  if self._message_id then
    calls._by_message[self._message_id] = nil
  end
  self._done:set(true)
  self._changed:wake_all()
end

local function push_update(self, update)
  if self._last - self._first + 1 >= self._calls._max_updates then
    self._updates[self._first] = nil
    self._first = self._first + 1
    self.dropped_updates = self.dropped_updates + 1
  end
  self._last = self._last + 1
  self._updates[self._last] = update
  self._changed:wake_all()
end

local function take_update(self)
  local update = self._updates[self._first]
  if update then
    self._updates[self._first] = nil
    self._first = self._first + 1
  end
  return update
end

--- The next update, or nil once there are none to come.
---@async
---@return table|nil update {partial_json, partial, progress?, status?}
function Execution:next_update()
  while true do
    local update = take_update(self)
    if update or self._outcome then
      return update
    end
    self._changed:wait()
  end
end

--- Iterates the updates until the execution has ended.
---@return fun(): table|nil
function Execution:updates()
  return function()
    return self:next_update()
  end
end

--- Waits for the outcome; may be asked again and by several tasks.
---@async
---@param timeout_ms? integer
---@return agentwire.ToolResult|nil result
---@return string? message
---@return string? code the tool protocol's; cancelled; closed; timeout: it runs on
function Execution:result(timeout_ms)
  if not self._outcome then
    local ok, message, code = self._done:wait(timeout_ms)
    if not ok then
      return nil, message, code
    end
  end
  local outcome = self._outcome
  return outcome[1], outcome[2], outcome[3]
end

---@return boolean
function Execution:is_done()
  return self._outcome ~= nil
end

--- Asks the executor to stop. The result then says "cancelled", unless
--- something else was faster. Idempotent.
---@async
---@param reason? string
---@return true|nil ok
---@return string? message
---@return string? code
function Execution:cancel(reason)
  if self._outcome or self._cancel_sent then
    return true
  end
  self._cancel_sent = true
  return self._calls._channel:send("tool_cancel", {
    execution_id = self.id,
    reason = reason,
  })
end

local HANDLERS = {}

function HANDLERS.tool_stream(execution, event)
  push_update(execution, {
    partial_json = event.partial_result_json,
    partial = json.decode(event.partial_result_json),
    progress = event.progress,
    status = event.status,
  })
end

function HANDLERS.tool_result(execution, event)
  local parts = json.decode(event.result_json)
  local ok, why = protocol.check_parts(json.is_array(parts) and parts)
  if not ok then
    return settle(execution, nil, "result_json: " .. why, "invalid_request")
  end
  settle(execution, {
    parts = parts,
    result_json = event.result_json,
    is_error = event.is_error,
    error_message = event.error_message,
    details_json = event.details_json,
    duration_ms = event.duration_ms,
  })
end

function HANDLERS.tool_error(execution, event)
  settle(execution, nil, event.message, event.code)
end

function HANDLERS.tool_cancelled(execution)
  settle(execution, nil, "cancelled", "cancelled")
end

local ANSWERS = {
  tool_list = "tool_list_response",
  tool_status = "tool_status_response",
  tool_register = "tool_registered",
  tool_unregister = "tool_unregistered",
}

---@class agentwire.ToolCalls
local Calls = {}
Calls.__index = Calls

-- Errors about a scope that the peer does not know come outside of it. Each
-- connection has one table that finds their scopes.
local by_connection = setmetatable({}, { __mode = "k" })

local function scopes_of(connection)
  local scopes = by_connection[connection]
  if not scopes then
    -- Weak, so that the table does not hold its key, the connection.
    scopes = setmetatable({}, { __mode = "v" })
    by_connection[connection] = scopes
    connection:on_control("tool", function(message)
      local calls = scopes[message.id]
      if calls and message.type == "tool_error" then
        calls:receive(message, message.in_reply_to)
      end
    end)
  end
  return scopes
end

---@param channel table
---@param options? table {max_open, max_updates, grace_ms}
---@return agentwire.ToolCalls
function M.new(channel, options)
  options = options or {}
  local self = setmetatable({
    _channel = channel,
    _open = setmetatable({}, WEAK), -- executions by id
    _by_message = setmetatable({}, WEAK), -- and by the message that asked
    _open_count = 0,
    _requests = {}, -- in the order of sending
    _count = 0,
    _closed = nil,
    _max_open = options.max_open or 1024,
    _max_updates = options.max_updates or MAX_UPDATES,
    _grace_ms = options.grace_ms or GRACE_MS,
  }, Calls)
  scopes_of(channel.connection)[channel.id] = self
  return self
end

--- The request that an answer belongs to: the one it names, else the oldest
--- that waits for its type (base peers need not name it).
local function take_request(self, answer, reply_to)
  for index, request in ipairs(self._requests) do
    if request.message_id == reply_to
      or (not reply_to and request.answer == answer) then
      return table.remove(self._requests, index)
    end
  end
end

local function answer_request(self, event, reply_to)
  local request = take_request(self, event.type, reply_to)
  if not request then
    return false
  elseif event.type == "tool_error" then
    request.latch:set(nil, event.message, event.code)
  else
    request.latch:set(event)
  end
  return true
end

--- The execution that a message is about. One whose request was refused before
--- it was read is named by the request's message.
local function find_execution(self, event, reply_to)
  local execution = self._open[event.execution_id or false]
  if not execution and event.type == "tool_error" then
    execution = self._by_message[reply_to or event.execution_id or false]
  end
  return execution
end

--- An answer that could not be taken is one all the same.
local function take_refused(self, event, reply_to)
  local message = ("the answer (%s) could not be taken: %s")
    :format(event.refused_type, event.message)
  local execution = self._by_message[reply_to or false]
  if execution and event.refused_type ~= "tool_stream" then
    return settle(execution, nil, message, event.code)
  end
  for _, request in ipairs(self._requests) do
    if request.message_id == reply_to then
      return request.latch:set(nil, message, event.code)
    end
  end
end

--- Takes a message that answers something; anything else is left alone.
---@param event table
---@param reply_to string|nil
---@return boolean taken
function Calls:receive(event, reply_to)
  if event.type == "refused" and protocol.replies[event.refused_type] then
    take_refused(self, event, reply_to)
    return true
  elseif not protocol.replies[event.type] then
    return false
  end
  local execution = find_execution(self, event, reply_to)
  if not protocol.check(event) then
    -- Errors are not answered, or two peers would never stop. One that ends an
    -- execution is told to it; a broken update is dropped.
    if execution and protocol.outcomes[event.type] then
      settle(execution, nil, "malformed " .. event.type, "invalid_request")
    end
    return true
  end
  local handler = HANDLERS[event.type]
  if not answer_request(self, event, reply_to) and execution and handler then
    handler(execution, event)
  end
  return true
end

--- Ends everything that is open.
---@param message string
---@param code string
function Calls:close(message, code)
  if self._closed then
    return
  end
  self._closed = { message, code }
  scopes_of(self._channel.connection)[self._channel.id] = nil
  local open, requests = self._open, self._requests
  self._requests = {}
  local executions = {}
  for _, execution in pairs(open) do
    executions[#executions + 1] = execution
  end
  for _, execution in ipairs(executions) do
    settle(execution, nil, message, code)
  end
  for _, request in ipairs(requests) do
    request.latch:set(nil, message, code)
  end
end

--- The connection that the peer is reached by.
---@return agentwire.Connection
function Calls:connection()
  return self._channel.connection
end

--- Ends what is open without the peer's word: it has a successor, and will not
--- answer any more.
---@param tool_name string|nil nil: all, and the scope as well
---@param message string
---@param code string
function Calls:give_up(tool_name, message, code)
  local given_up = {}
  for _, execution in pairs(self._open) do
    if not tool_name or execution.name == tool_name then
      given_up[#given_up + 1] = execution
    end
  end
  for _, execution in ipairs(given_up) do
    settle(execution, nil, message, code)
  end
  if not tool_name then
    self:close(message, code)
    self._channel:try_send("goodbye", { reason = message })
    self._channel:close()
  end
end

--- Sends a request and waits for its answer.
---@async
---@param kind string tool_list, tool_status, tool_register or tool_unregister
---@param payload table
---@param timeout_ms? integer
---@return table|nil event the answer
---@return string? message
---@return string? code
function Calls:request(kind, payload, timeout_ms)
  if self._closed then
    return nil, self._closed[1], self._closed[2]
  end
  local ok, message, code = self._channel:send(kind, payload)
  if not ok then
    return nil, message, code
  end
  local request = {
    answer = ANSWERS[kind],
    message_id = self._channel:sent_id(),
    latch = wait.latch(ANSWERS[kind]),
  }
  self._requests[#self._requests + 1] = request
  local waited, event
  waited, event, message, code =
    pcall(request.latch.wait, request.latch, timeout_ms)
  self:_forget(request)
  if not waited then
    error(event, 0)
  end
  return event, message, code
end

function Calls:_forget(request)
  for index, other in ipairs(self._requests) do
    if other == request then
      table.remove(self._requests, index)
      return
    end
  end
end

local function read_call(call)
  if type(call) ~= "table" or type(call.name) ~= "string" then
    error("a tool call needs a name", 3)
  end
  if call.args_json then
    return call.args_json
  end
  return json.encode(call.args or {})
end

local function send_execute(self, execution, call, args_json)
  return self._channel:send("tool_execute", {
    execution_id = execution.id,
    tool_call_id = execution.tool_call_id,
    tool_name = call.name,
    args_json = args_json,
    timeout_ms = call.timeout_ms,
  })
end

--- Sends an execution.
---@async
---@param call agentwire.ToolCall
---@return agentwire.ToolExecution|nil execution
---@return string? message
---@return string? code
function Calls:start(call)
  local args_json, why, code = read_call(call)
  if not args_json then
    return nil, why, code or "invalid_arguments"
  elseif self._closed then
    return nil, self._closed[1], self._closed[2]
  elseif self._open_count >= self._max_open then
    return nil, ("%d executions are open"):format(self._open_count), "rate_limited"
  end
  self._count = self._count + 1
  local id = call.execution_id
    or protocol.execution_id(self._channel.id, self._count)
  if self._open[id] then
    return nil, "an execution of this id is open: " .. id, "invalid_request"
  end
  local execution = new_execution(self, id, call)
  -- Before sending, since the answer may come while a full window parks us.
  self._open[id] = execution
  count_on(self)
  local waited, ok
  waited, ok, why, code = pcall(send_execute, self, execution, call, args_json)
  if not waited then
    settle(execution, nil, "cancelled", "cancelled")
    error(ok, 0)
  elseif not ok then
    settle(execution, nil, why, code)
    return nil, why, code
  elseif not execution._outcome then
    execution._message_id = self._channel:sent_id()
    self._by_message[execution._message_id] = execution
  end
  return execution
end

local function follow(execution, call)
  if call.on_update then
    for update in execution:updates() do
      call.on_update(update)
    end
  end
  return execution:result()
end

--- Runs a tool at the peer and waits: the interface of every tool source. A
--- caller that is cancelled meanwhile cancels the execution.
---@async
---@param call agentwire.ToolCall
---@return agentwire.ToolResult|nil result
---@return string? message
---@return string? code
function Calls:execute(call)
  local execution, why, code = self:start(call)
  if not execution then
    return nil, why, code
  end
  local limit_ms = call.timeout_ms and call.timeout_ms + self._grace_ms
  local outcome
  local watcher = task.spawn(function()
    outcome = { follow(execution, call) }
  end)
  local joined, raised, message, failure, cause =
    pcall(watcher.join, watcher, limit_ms)
  if outcome then
    return outcome[1], outcome[2], outcome[3]
  end
  watcher:cancel("no longer wanted")
  task.shield(task.timeout, CANCEL_MS, execution.cancel, execution,
    "no longer wanted")
  if not joined then
    error(raised, 0)
  end
  if failure == "timeout" then
    return nil, ("no answer within %.0f ms"):format(limit_ms), "tool_timeout"
  end
  return nil, problems.brief(cause or message), "tool_execution_error"
end

class.seal(Execution, "execution")

return M
