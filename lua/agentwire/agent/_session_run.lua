--- One run of a session as its client sees it: the events that nobody has
--- iterated yet, and the one outcome. The session's reader fills it, whoever
--- prompted reads it. A full queue stops the reading of the whole session, so
--- one that nobody will read any more is dropped (`discard`), not left.
local guard = require("agentwire._guard")
local wait = require("agentwire._wait")

local M = {}

---@class agentwire.SessionRun
---@field message_id string? of the prompt, once it was sent
local Run = {}
Run.__index = Run

---@param limit integer? events that wait; nil: nobody will iterate them
---@return agentwire.SessionRun
function M.new(limit)
  return setmetatable({
    message_id = nil,
    _queue = limit and wait.queue(limit, "a run's events"),
    _done = wait.latch("a run's outcome"),
    _result = nil,
    _message = nil,
    _code = nil,
  }, Run)
end

--- Fixes the outcome; the first one counts. What waits can still be iterated.
---@param result table?
---@param message string?
---@param code string?
function Run:finish(result, message, code)
  if self._done:is_set() then
    return
  end
  self._result, self._message, self._code = result, message, code
  self._done:set(true)
  if self._queue then
    self._queue:close()
  end
end

--- Drops what was not iterated, and what is still to come.
function Run:discard()
  local queue = self._queue
  if queue then
    self._queue = nil
    queue:close()
  end
end

--- Where its events go; nil when nobody iterates them.
---@return agentwire.Queue?
function Run:queue()
  return self._queue
end

--- Waits for the outcome. Events that nobody has iterated are dropped.
---@async
---@param timeout_ms number?
---@return table|nil result
---@return string? message
---@return string? code
function Run:result(timeout_ms)
  if not self._done:is_set() then
    self:discard()
    local ok, message, code = self._done:wait(timeout_ms)
    if not ok then
      return nil, message, code
    end
  end
  return self._result, self._message, self._code
end

---@class agentwire.SessionEvents one run's events, for whoever iterates them
local Events = {}
Events.__index = Events

--- The next event, or nil after the last one.
---@async
---@return table|nil event
function Events:next()
  local queue = self._run._queue
  return queue and (queue:pop())
end

--- This run's outcome, whatever was prompted since.
---@async
---@return table|nil result
---@return string? message
---@return string? code
function Events:result()
  return self._run:result()
end

--- What the language calls when the loop is left (Lua 5.4); elsewhere the
--- collector does it.
Events.__close = function(self)
  self._run:discard()
end

--- What a generic `for` takes to iterate a run's events.
---@param run agentwire.SessionRun
---@param session agentwire.Session a run that is read keeps its session
---@return fun(events: agentwire.SessionEvents): table|nil iterator
---@return agentwire.SessionEvents events
---@return nil
---@return agentwire.SessionEvents closing
function M.iterate(run, session)
  local events = setmetatable({
    _session = session,
    _run = run,
    _anchor = guard.new(function()
      run:discard()
    end),
  }, Events)
  return Events.next, events, nil, events
end

return M
