--- The calling side of one tool scope: executions and requests that were sent
--- to the peer, and which of them each answer belongs to. A tool client has
--- one, and so has each scope of a server (`_scope`), which read the channel
--- and hand over what comes. What was started ends once: by the peer's word,
--- when the scope closes, or when it is given up.

local executions = require("agentwire.tool._execution")
local json = require("agentwire.json")
local pending = require("agentwire._pending")
local problems = require("agentwire._problem")
local protocol = require("agentwire.tool.protocol")
local task = require("agentwire.task")

local M = {}

local WEAK = { __mode = "v" }

-- How many updates of an execution are kept for a reader that is behind.
local MAX_UPDATES = 256

-- How long after its timeout an execution may take to report it.
local GRACE_MS = 5000

-- How long a caller that was itself cancelled may take to say so.
local CANCEL_MS = 1000

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
    _requests = pending.new(channel),
    _count = 0,
    _closed = nil,
    _max_open = options.max_open or 1024,
    _max_updates = options.max_updates or MAX_UPDATES,
    _grace_ms = options.grace_ms or GRACE_MS,
  }, Calls)
  scopes_of(channel.connection)[channel.id] = self
  return self
end

local function count_on(self)
  self._open_count = self._open_count + 1
  self._channel:begin_work()
end

local function count_off(self)
  self._open_count = self._open_count - 1
  self._channel:end_work()
end

local function new_execution(self, id, call)
  return executions.new {
    channel = self._channel, id = id, call = call,
    max_updates = self._max_updates,
    on_end = function(execution)
      self._open[id] = nil
      self._by_message[execution._message_id or false] = nil
      count_off(self)
    end,
    on_drop = function()
      count_off(self)
      self._channel:try_send("tool_cancel", {
        execution_id = id, reason = "no longer wanted",
      })
    end,
  }
end

local function answer_request(self, event, reply_to)
  if event.type == "tool_error" then
    return self._requests:fail(nil, reply_to, event.message, event.code)
  end
  return self._requests:answer(event, reply_to)
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
    return execution:_finish(nil, message, event.code)
  end
  self._requests:fail(nil, reply_to, message, event.code)
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
      execution:_finish(nil, "malformed " .. event.type, "invalid_request")
    end
    return true
  end
  if not answer_request(self, event, reply_to) and execution then
    execution:_take(event)
  end
  return true
end

local function finish_all(self, tool_name, message, code)
  local open = {}
  for _, execution in pairs(self._open) do
    if not tool_name or execution.name == tool_name then
      open[#open + 1] = execution
    end
  end
  for _, execution in ipairs(open) do
    execution:_finish(nil, message, code)
  end
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
  finish_all(self, nil, message, code)
  self._requests:fail_all(message, code)
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
  finish_all(self, tool_name, message, code)
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
  return self._requests:ask(kind, payload, ANSWERS[kind], timeout_ms)
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
  local args_json, why, code = call.args_json, nil, nil
  if not args_json then
    args_json, why, code = json.encode(call.args or {})
  end
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
    execution:_finish(nil, "cancelled", "cancelled")
    error(ok, 0)
  elseif not ok then
    execution:_finish(nil, why, code)
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

return M
