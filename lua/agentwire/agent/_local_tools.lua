--- The tools of a session that run at its client: each call in a task of its
--- own, which ends with the session. What a call sends back is nobody's any
--- more once it was given up: its id may be another call's by then.
local results = require("agentwire.tool._result")
local sources = require("agentwire.tool._source")
local task = require("agentwire.task")

local M = {}

-- Calls that run at once.
local MAX_EXECUTIONS = 64

---@class agentwire.LocalTools
local Tools = {}
Tools.__index = Tools

---@param channel agentwire.Channel the session's
---@param routes table<string, table> tool source by name
---@param max_executions integer? 64
---@return agentwire.LocalTools
function M.new(channel, routes, max_executions)
  return setmetatable({
    _channel = channel,
    _routes = routes,
    _max = max_executions or MAX_EXECUTIONS,
    _running = {}, -- tasks by tool_call_id
    _count = 0, -- tasks, of calls that were given up as well
  }, Tools)
end

local function run_tool(self, event)
  local source = self._routes[event.tool_name]
  if not source then
    return nil, "no such tool: " .. event.tool_name
  end
  return sources.execute(source, {
    name = event.tool_name,
    args_json = event.args_json,
    tool_call_id = event.tool_call_id,
    on_update = function(update)
      self._channel:send("tool_streaming", {
        tool_call_id = event.tool_call_id,
        partial_json = update.partial_json,
      })
    end,
  })
end

local function send_result(self, event, result)
  return self._channel:send("tool_result", {
    tool_call_id = event.tool_call_id,
    result_json = result.result_json,
    is_error = result.is_error,
    details_json = result.details_json,
  })
end

local function refuse(self, event, why)
  return send_result(self, event, results.failure(why))
end

local function run(self, event)
  local result, why = run_tool(self, event)
  if self._running[event.tool_call_id] ~= task.current() then
    return -- it was given up
  end
  local ok, message, code = send_result(self, event,
    result or results.failure(tostring(why)))
  if not ok and code ~= "closed" and code ~= "ended" then
    refuse(self, event, message)
  end
end

--- Starts a call.
---@async
---@param event table tool_execute
---@param holder any kept for as long as it runs
function Tools:execute(event, holder)
  local id = event.tool_call_id
  if self._running[id] then
    return refuse(self, event, "a call of this id is running: " .. id)
  elseif self._count >= self._max then
    return refuse(self, event, ("%d tools are running"):format(self._count))
  end
  local execution = task.spawn(function()
    run(self, event)
    return holder
  end)
  self._count = self._count + 1
  self._running[id] = execution
  execution:defer(function()
    self._count = self._count - 1
    if self._running[id] ~= execution then
      return
    end
    self._running[id] = nil
    local message, code = execution:failure()
    if code == "task_error" then
      refuse(self, event, message)
    end
  end)
end

--- A call that has ended at the server: its result would come too late.
---@param id string? tool_call_id
function Tools:give_up(id)
  local execution = self._running[id or false]
  if execution then
    self._running[id] = nil
    execution:cancel("the call has ended")
  end
end

---@param reason string
function Tools:cancel_all(reason)
  for _, execution in pairs(self._running) do
    execution:cancel(reason)
  end
end

--- How many run, those that were given up included.
---@return integer
function Tools:count()
  return self._count
end

return M
