--- Requests of one scope that wait for their answers. Whoever reads the scope
--- hands over what comes (`answer`, `fail`); each request is answered at most
--- once, and leaves nothing behind when its caller is cancelled or has waited
--- long enough.
local tables = require("agentwire._tables")
local undo = require("agentwire._undo")
local wait = require("agentwire._wait")

local M = {}

---@class agentwire.PendingRequests
local Requests = {}
Requests.__index = Requests

---@param channel agentwire.Channel
---@return agentwire.PendingRequests
function M.new(channel)
  return setmetatable({
    _channel = channel,
    _waiting = {}, -- in the order of sending
  }, Requests)
end

--- The one that a message answers: the one it names, else the oldest that waits
--- for its type (base peers need not name it).
local function take(self, answer, reply_to)
  for index, request in ipairs(self._waiting) do
    if request.message_id == reply_to
      or not reply_to and request.answer == answer then
      return table.remove(self._waiting, index)
    end
  end
end

--- Sends a request and waits for its answer.
---@async
---@param kind string
---@param payload table
---@param answer string the type of the answer
---@param timeout_ms number?
---@return table|nil event the answer
---@return string? message
---@return string? code
function Requests:ask(kind, payload, answer, timeout_ms)
  local ok, message, code = self._channel:send(kind, payload)
  if not ok then
    return nil, message, code
  end
  local request = {
    answer = answer,
    message_id = self._channel:sent_id(),
    latch = wait.latch(answer),
  }
  table.insert(self._waiting, request)
  return undo.always(function()
    tables.remove(self._waiting, request)
  end, request.latch.wait, request.latch, timeout_ms)
end

--- Gives a message to the request that it answers.
---@param event table
---@param reply_to string?
---@return boolean taken
function Requests:answer(event, reply_to)
  local request = take(self, event.type, reply_to)
  if request then
    request.latch:set(event)
  end
  return request ~= nil
end

--- Fails the request that an answer of this type, or to this message, is for.
---@param answer string?
---@param reply_to string?
---@param message string
---@param code string
---@return boolean taken
function Requests:fail(answer, reply_to, message, code)
  local request = take(self, answer, reply_to)
  if request then
    request.latch:set(nil, message, code)
  end
  return request ~= nil
end

---@param message string
---@param code string
function Requests:fail_all(message, code)
  local waiting = self._waiting
  self._waiting = {}
  for _, request in ipairs(waiting) do
    request.latch:set(nil, message, code)
  end
end

return M
