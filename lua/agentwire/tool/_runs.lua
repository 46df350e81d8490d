--- The executing side of one connection: runs tools for the peer, each
--- execution in a task of its own, and remembers how the last ones ended, so
--- that an id that is repeated after a cut never runs its tool twice. All
--- scopes of the connection share it. Each execution has one outcome, told to
--- everybody who asked for it.

local clock = require("agentwire._clock")
local protocol = require("agentwire.tool.protocol")
local shares = require("agentwire._shares")
local sources = require("agentwire.tool._source")
local task = require("agentwire.task")

local M = {}

-- Running at once. What comes beyond is refused with rate_limited.
local MAX_EXECUTIONS = 64

-- A cancelled execution has its outcome at once, but its tool may need longer
-- to stop: so many times the limit may be on their way.
local ENDING_SHARE = 2

-- Ended executions that a repeated id still finds.
local MAX_FINISHED = 256

-- What their results may hold together. A result that had to go leaves its
-- status behind, so that a repeated id still never runs the tool twice.
local MAX_FINISHED_BYTES = 4 * 1024 * 1024

-- How long the news of an execution whose task was cancelled may take.
local FAREWELL_MS = 1000

---@class agentwire.ToolRuns
local Runs = {}
Runs.__index = Runs

---@param source table a tool source
---@param options? table {max_executions, max_finished, max_finished_bytes, timeout_ms}
---@return agentwire.ToolRuns
function M.new(source, options)
  options = options or {}
  return setmetatable({
    _source = source,
    _by_id = {},
    _finished = {}, -- ids, the oldest first
    _finished_bytes = 0,
    _running = 0, -- without an outcome
    _live = 0, -- whose task has not ended
    _asked = 0, -- lists and registrations under way
    _max_executions = options.max_executions or MAX_EXECUTIONS,
    _max_finished = options.max_finished or MAX_FINISHED,
    _max_finished_bytes = options.max_finished_bytes or MAX_FINISHED_BYTES,
    _timeout_ms = options.timeout_ms,
  }, Runs)
end

---@return integer
function Runs:running()
  return self._running
end

---@return integer
function Runs:finished()
  return #self._finished
end

local function drop_outcome(self, run)
  self._finished_bytes = self._finished_bytes - run.bytes
  run.bytes = 0
  run.outcome = nil
end

local function keep_finished(self, run)
  local payload = run.outcome[2]
  run.bytes = #(payload.result_json or "") + #(payload.details_json or "")
    + #(payload.message or "") + #(payload.error_message or "")
  local finished = self._finished
  finished[#finished + 1] = run.id
  self._finished_bytes = self._finished_bytes + run.bytes
  if #finished > self._max_finished then
    local oldest = self._by_id[table.remove(finished, 1)]
    drop_outcome(self, oldest)
    self._by_id[oldest.id] = nil
  end
  local index = 1
  while self._finished_bytes > self._max_finished_bytes do
    drop_outcome(self, self._by_id[finished[index]])
    index = index + 1
  end
end

--- Sends a message to everybody who asked for this execution. One who does not
--- take the result (it is too large for a message) is told that.
local function tell_one(run, channel, reply_to, kind, payload)
  local ok, why, code = channel:send(kind, payload, reply_to)
  if not ok and not channel:is_ended() and protocol.outcomes[kind] then
    local fail_kind, fail = protocol.error(run.id, code, why)
    channel:send(fail_kind, fail, reply_to)
  end
end

local function tell(run, kind, payload)
  for _, watcher in ipairs(run.watchers) do
    tell_one(run, watcher.channel, watcher.reply_to, kind, payload)
  end
end

--- Fixes the outcome; the first one counts.
---@return boolean first
local function fix_outcome(self, run, status, kind, payload)
  if run.completed_at then
    return false
  end
  run.status = status
  run.completed_at = clock.now_ms()
  run.outcome = { kind, payload }
  self._running = self._running - 1
  keep_finished(self, run)
  return true
end

local function cancelled(self, run)
  return fix_outcome(self, run, "cancelled", "tool_cancelled",
    { execution_id = run.id })
end

local function result_payload(run, result)
  return {
    execution_id = run.id,
    tool_call_id = run.tool_call_id,
    result_json = result.result_json,
    is_error = result.is_error,
    error_message = result.error_message,
    details_json = result.details_json,
    duration_ms = result.duration_ms,
  }
end

local function finish(self, run, result, message, code)
  if run.completed_at then
    return
  end
  local status, kind, payload
  if result then
    status, kind = result.is_error and "failed" or "completed", "tool_result"
    payload = result_payload(run, result)
  else
    status = code == "tool_timeout" and "timeout" or "failed"
    kind, payload = protocol.error(run.id, code, tostring(message))
  end
  if fix_outcome(self, run, status, kind, payload) then
    tell(run, kind, payload)
  end
end

local function send_update(run, update)
  if run.completed_at then
    return
  end
  run.status = "streaming"
  tell(run, "tool_stream", {
    execution_id = run.id,
    tool_call_id = run.tool_call_id,
    partial_result_json = update.partial_json,
    progress = update.progress,
    status = update.status,
  })
end

local function execute(self, run, event)
  run.status = "running"
  local result, message, code, raised = sources.execute(self._source, {
    name = run.tool_name,
    args_json = event.args_json,
    tool_call_id = run.tool_call_id,
    timeout_ms = event.timeout_ms or self._timeout_ms,
    on_update = function(update)
      send_update(run, update)
    end,
  })
  finish(self, run, result, message, code)
  if raised ~= nil then
    error(raised, 0) -- its host hears of it
  end
end

--- Gives an execution its outcome whose task has ended without one: it was
--- cancelled, perhaps before it began, or has died of its source.
local function conclude(self, run)
  if run.completed_at then
    return
  end
  local message, code = run.task:failure()
  if code == "task_error" then
    return finish(self, run, nil, message, "internal_error")
  end
  cancelled(self, run)
  task.timeout(FAREWELL_MS, tell, run, "tool_cancelled",
    { execution_id = run.id })
end

local function attach(run, channel, reply_to)
  for _, watcher in ipairs(run.watchers) do
    if watcher.channel == channel then
      return
    end
  end
  run.watchers[#run.watchers + 1] = { channel = channel, reply_to = reply_to }
end

local function repeat_outcome(run, channel, reply_to)
  if run.outcome then
    return tell_one(run, channel, reply_to, run.outcome[1], run.outcome[2])
  end
  local kind, payload = protocol.error(run.id, "internal_error",
    "this execution has ended and its result is no longer kept")
  channel:send(kind, payload, reply_to)
end

--- A place for one more execution.
---@return (fun())|nil release
---@return string? message
local function take_place(self, channel)
  if self._running >= self._max_executions
    or self._live >= ENDING_SHARE * self._max_executions then
    return nil, ("%d executions are running, of %d (max_executions)")
      :format(self._live, self._max_executions)
  end
  return shares.take(channel.connection, "executions")
end

local function refuse(channel, event, reply_to, why)
  local kind, payload = protocol.error(event.execution_id, "rate_limited", why)
  channel:send(kind, payload, reply_to)
end

--- Takes a place for a question of the peer's whose answer may take long: a
--- list, a registration. There are as many as for executions, and they are
--- others.
---@return (fun())|nil release to be called once
---@return string? message
function Runs:ask()
  if self._asked >= self._max_executions then
    return nil, ("%d lists and registrations are under way, all that "
      .. "max_executions allows"):format(self._asked)
  end
  self._asked = self._asked + 1
  return function()
    self._asked = self._asked - 1
  end
end

--- Starts an execution, or attaches to the one that has this id already. It is
--- a child of the task that serves the scope, and is cancelled when that ends.
---@async
---@param channel table
---@param event table tool_execute
---@param reply_to string
function Runs:execute(channel, event, reply_to)
  local run = self._by_id[event.execution_id]
  if run and run.completed_at then
    return repeat_outcome(run, channel, reply_to)
  elseif run then
    return attach(run, channel, reply_to)
  end
  local release, why = take_place(self, channel)
  if not release then
    return refuse(channel, event, reply_to, why)
  end
  run = {
    id = event.execution_id,
    tool_call_id = event.tool_call_id,
    tool_name = event.tool_name,
    status = "pending",
    started_at = clock.now_ms(),
    completed_at = nil,
    outcome = nil,
    bytes = 0,
    watchers = { { channel = channel, reply_to = reply_to } },
    task = nil,
  }
  self._by_id[run.id] = run
  self._running = self._running + 1
  self._live = self._live + 1
  channel:begin_work()
  run.task = task.spawn(execute, self, run, event)
  run.task:defer(function()
    channel:end_work()
    self._live = self._live - 1
    release()
    conclude(self, run)
  end)
end

local function unknown(channel, event, reply_to)
  local kind, payload = protocol.error(event.execution_id, "invalid_request",
    "no such execution")
  channel:send(kind, payload, reply_to)
end

--- Cancels an execution. One that has ended already has told so: nothing more
--- is sent.
---@async
---@param channel table
---@param event table tool_cancel
---@param reply_to string
function Runs:cancel(channel, event, reply_to)
  local run = self._by_id[event.execution_id]
  if not run then
    return unknown(channel, event, reply_to)
  end
  if cancelled(self, run) then
    run.task:cancel(event.reason or "cancelled by the caller")
    attach(run, channel, reply_to)
    for _, watcher in ipairs(run.watchers) do
      if watcher.channel == channel then
        watcher.reply_to = reply_to
      end
    end
    tell(run, "tool_cancelled", { execution_id = run.id })
  end
end

--- Answers tool_status.
---@async
---@param channel table
---@param event table
---@param reply_to string
function Runs:status(channel, event, reply_to)
  local run = self._by_id[event.execution_id]
  if not run then
    return unknown(channel, event, reply_to)
  end
  channel:send("tool_status_response", {
    execution_id = run.id,
    tool_name = run.tool_name,
    status = run.status,
    started_at = run.started_at,
    completed_at = run.completed_at,
  }, reply_to)
end

return M
