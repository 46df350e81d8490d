--- The tools that a session's client offers: a tool source on the server side.
--- A call goes out as `tool_execute`; its answer comes back among the session's
--- other messages, which the session hands over. A call ends once: with its
--- result, when it has taken too long, or with its caller.

local json = require("agentwire.json")
local protocol = require("agentwire.tool.protocol")
local task = require("agentwire.task")
local wait = require("agentwire._wait")

local M = {}

-- A client that is asked and says nothing.
local TIMEOUT_MS = 300000

-- Updates that wait for a slow reader; further ones are dropped.
local MAX_UPDATES = 64

---@class agentwire.ClientTools
local ClientTools = {}
ClientTools.__index = ClientTools

---@param channel table
---@param tools table[] metadata
---@param timeout_ms? integer
---@return agentwire.ClientTools
function M.new(channel, tools, timeout_ms)
  return setmetatable({
    _channel = channel,
    _tools = tools,
    _timeout_ms = timeout_ms or TIMEOUT_MS,
    _pending = {}, -- by tool_call_id
  }, ClientTools)
end

---@param prefix? string
---@return table[] metadata
function ClientTools:list(prefix)
  if not prefix then
    return self._tools
  end
  local list = {}
  for _, tool in ipairs(self._tools) do
    if tool.name:sub(1, #prefix) == prefix then
      list[#list + 1] = tool
    end
  end
  return list
end

local function follow(self, pending, call)
  local ok, why, code = self._channel:send("tool_execute", {
    tool_call_id = call.tool_call_id,
    tool_name = call.name,
    args_json = call.args_json,
  })
  if not ok then
    return nil, why, code
  end
  pending.message_id = self._channel:sent_id()
  local update = pending.updates:pop()
  while update do
    if call.on_update then
      call.on_update(update)
    end
    update = pending.updates:pop()
  end
  if pending.refused then
    return nil, pending.refused[1], pending.refused[2]
  end
  return pending.result
end

--- Runs a tool at the client.
---@async
---@param call agentwire.ToolCall
---@return agentwire.ToolResult|nil result
---@return string? message
---@return string? code
function ClientTools:execute(call)
  local id = call.tool_call_id
  if self._pending[id] then
    return nil, "this call is running already: " .. id, "invalid_request"
  end
  local pending = { updates = wait.queue(MAX_UPDATES, "a tool's updates") }
  self._pending[id] = pending
  local timeout_ms = call.timeout_ms or self._timeout_ms
  local ok, result, why, code =
    pcall(task.timeout, timeout_ms, follow, self, pending, call)
  self._pending[id] = nil
  if not ok then
    error(result, 0)
  elseif code == "timeout" then
    return nil, ("the client did not answer within %.0f ms"):format(timeout_ms),
      "tool_timeout"
  end
  return result, why, code
end

local function read_parts(text)
  local parts = json.decode(text)
  if json.is_array(parts) and protocol.check_parts(parts) then
    return parts, text
  end
  parts = json.array { { type = "text", text = text } }
  return parts, json.encode(parts)
end

--- Takes `tool_result`. One that nobody waits for came too late.
---@param event table
---@return boolean taken
function ClientTools:result(event)
  local pending = self._pending[event.tool_call_id]
  if not pending or pending.result then
    return false
  end
  local parts, result_json = read_parts(event.result_json)
  pending.result = {
    parts = parts,
    result_json = result_json,
    is_error = event.is_error,
    details_json = event.details_json,
    duration_ms = 0,
  }
  pending.updates:close()
  return true
end

--- The client has refused a message: the call that it asked for has failed.
---@param message_id string?
---@param message string
---@param code string
function ClientTools:refused(message_id, message, code)
  for _, pending in pairs(self._pending) do
    if message_id and pending.message_id == message_id then
      pending.refused = { message, code }
      pending.updates:close()
    end
  end
end

--- Takes `tool_streaming`.
---@param event table
---@return boolean taken
function ClientTools:streaming(event)
  local pending = self._pending[event.tool_call_id]
  return pending ~= nil
    and pending.updates:try_push { partial_json = event.partial_json } == true
end

return M
