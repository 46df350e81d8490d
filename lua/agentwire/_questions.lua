--- What a connection asks outside the numbering of its scopes (`ping`, a
--- stream's `sync`): a part of its class. Nothing guarantees an answer, for a
--- cut swallows both ways alike: so a question is asked again over each new
--- transport, and fails when the connection ends or what was open is lost.
---@class agentwire.Connection
local Questions = {}

---@class agentwire.Question
---@field ask fun(self, conn: agentwire.Connection): boolean|nil, string?, string?
--- sends it, perhaps several times
---@field over fun(self, conn: agentwire.Connection) takes back what was noted for
--- the answer; called once, however it ends
---@field latch agentwire.Latch takes the answer

local function put(self, question)
  local ok, message, code = question:ask(self)
  if ok or code == "closed" and self._state ~= "closed" then
    return true -- while it is away: asked when it is back
  end
  return nil, message, code
end

--- Asks something whose answer nothing guarantees: a cut swallows question and
--- answer alike, so it is asked again over each new transport.
---@async
---@param question agentwire.Question
---@param timeout_ms number?
---@return any ... what the latch was set to, or nil, message, and "timeout",
--- "lost" or "closed"
function Questions:_ask(question, timeout_ms)
  local put_out, why, problem = put(self, question)
  if not put_out then
    question:over(self)
    return nil, why, problem
  end
  self._questions[question] = true
  local ok, first, message, code = pcall(question.latch.wait, question.latch,
    timeout_ms)
  self._questions[question] = nil
  question:over(self)
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
