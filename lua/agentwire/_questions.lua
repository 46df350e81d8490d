--- What a connection asks outside the numbering of its scopes (`ping`, a
--- stream's `sync`): a part of its class. Nothing guarantees an answer, for a
--- cut swallows both ways alike: so a question is asked again over each new
--- transport, and fails when the connection ends or what was open is lost.
---@class agentwire.Connection
local Questions = {}

local function put(self, question)
  local ok, message, code = question.ask()
  if ok or code == "closed" and self._state ~= "closed" then
    return true -- while it is away: asked when it is back
  end
  return nil, message, code
end

--- Asks something whose answer nothing guarantees: a cut swallows question and
--- answer alike, so it is asked again over each new transport. `ask()` sends
--- it, `latch` takes the answer.
---@async
---@param question {ask: fun(): boolean|nil, string?, string?, latch: agentwire.Latch}
---@param timeout_ms number?
---@return any ... what the latch was set to, or nil, message, and "timeout",
--- "lost" or "closed"
function Questions:_ask(question, timeout_ms)
  local ok, message, code = put(self, question)
  if not ok then
    return nil, message, code
  end
  self._questions[question] = true
  local first
  ok, first, message, code = pcall(question.latch.wait, question.latch,
    timeout_ms)
  self._questions[question] = nil
  if not ok then
    error(first, 0)
  end
  return first, message, code
end

function Questions:_ask_again()
  for question in pairs(self._questions) do
    local ok, message, code = put(self, question)
    if not ok then
      question.latch:set(nil, message, code)
    end
  end
end

function Questions:_lose_questions(message, code)
  for question in pairs(self._questions) do
    question.latch:set(nil, message, code)
  end
end

return Questions
