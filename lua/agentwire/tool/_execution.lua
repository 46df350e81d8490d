--- One execution of a tool at the peer, as its caller sees it: updates, and one
--- outcome. `_calls` makes it, hands over what the peer says of it (`_take`),
--- and ends it when its scope ends. One that nobody holds is cancelled.
local class = require("agentwire._class")
local guard = require("agentwire._guard")
local json = require("agentwire.json")
local protocol = require("agentwire.tool.protocol")
local wait = require("agentwire._wait")

local M = {}

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

---@class agentwire.ExecutionParts
---@field channel agentwire.Channel
---@field id string
---@field call agentwire.ToolCall
---@field max_updates integer that wait for a reader that is behind
---@field on_end fun(execution: agentwire.ToolExecution) called once
---@field on_drop fun() in place of that, when nobody holds it any more

---@param given agentwire.ExecutionParts
---@return agentwire.ToolExecution
function M.new(given)
  local on_drop = given.on_drop
  local anchor, state = guard.new(function()
    on_drop()
  end)
  return setmetatable({
    _anchor = anchor,
    _guard = state,
    id = given.id,
    tool_call_id = given.call.tool_call_id or given.id,
    name = given.call.name,
    dropped_updates = 0,
    _channel = given.channel,
    _on_end = given.on_end,
    _done = wait.latch("a tool's result"),
    _changed = wait.signal("a tool's update"),
    -- Updates from `_first` to `_last`; they report progress, so the oldest give
    -- way.
    _updates = {},
    _first = 1,
    _last = 0,
    _max_updates = given.max_updates,
    _outcome = nil, -- {result, message, code}
    _message_id = nil, -- of its tool_execute, once that was sent
    _cancel_sent = false,
  }, Execution)
end

--- Fixes the outcome; the first one counts.
---@param result agentwire.ToolResult?
---@param message string?
---@param code string?
function Execution:_finish(result, message, code)
  if self._outcome then
    return
  end
  self._guard:dismiss()
  self._outcome = { result, message, code }
  self._on_end(self)
  self._done:set(true)
  self._changed:wake_all()
end

local function push_update(self, update)
  if self._last - self._first + 1 >= self._max_updates then
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
  return self._channel:send("tool_cancel", {
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
    return execution:_finish(nil, "result_json: " .. why, "invalid_request")
  end
  execution:_finish({
    parts = parts,
    result_json = event.result_json,
    is_error = event.is_error,
    error_message = event.error_message,
    details_json = event.details_json,
    duration_ms = event.duration_ms,
  })
end

function HANDLERS.tool_error(execution, event)
  execution:_finish(nil, event.message, event.code)
end

function HANDLERS.tool_cancelled(execution)
  execution:_finish(nil, "cancelled", "cancelled")
end

--- Takes a message of the peer's that is about it.
---@param event table checked
function Execution:_take(event)
  local handler = HANDLERS[event.type]
  if handler then
    handler(self, event)
  end
end

class.seal(Execution, "execution")

return M
