-- A fake of the HTTP client that adapters' requests go through: no network, it
-- plays answers that a spec wrote, and says so in each (`server: fake`). In the
-- place of real time it sleeps in the spec's host.
local sse = require("spec.support.sse")
local task = require("agentwire.task")

local M = {}

local Response = {}
Response.__index = Response

local function conclude(self, text, code)
  if not self._code then
    self._text, self._code = text, code
  end
end

-- A step: bytes of the body, {delay_ms}, {fail, code}. Silence is counted from
-- the last byte, whatever that is.
local function take_bytes(self)
  while not self._code do
    local step = table.remove(self._steps, 1)
    if not step then
      return conclude(self, "closed", "closed")
    elseif type(step) == "string" then
      self._silent_ms, self._has_byte = 0, true
      return step
    elseif step.fail then
      return conclude(self, step.fail, step.code or "incomplete")
    end
    local limit = self._has_byte and self._request.idle_timeout_ms
      or self._request.first_byte_timeout_ms
    local pause = math.min(step.delay_ms, limit - self._silent_ms)
    self._silent_ms = self._silent_ms + pause
    task.sleep(pause)
    if self._silent_ms >= limit then
      conclude(self, "no byte came", self._has_byte and "timeout_idle"
        or "timeout_first_byte")
    end
  end
end

local function iterate(self, make)
  local waiting = {}
  local splitter = make(function(data, name)
    table.insert(waiting, make == sse.lines and data
      or { data = data, event = name or "message" })
  end)
  return function()
    while not waiting[1] do
      local bytes = take_bytes(self)
      if not bytes then
        return nil
      end
      splitter:push(bytes)
    end
    return table.remove(waiting, 1)
  end
end

function Response:events()
  return iterate(self, sse.new), self
end

function Response:lines()
  return iterate(self, sse.lines), self
end

function Response:read()
  return (take_bytes(self))
end

function Response:reason()
  return self._text, self._code
end

function Response:close()
  self.closed = true
  conclude(self, "closed", "closed")
end

--- The client. `answers`: one for each request in turn, each {status?, headers?,
--- steps} or {fail, code}: no connection. `fake.requests` has what was asked,
--- `fake.responses` what was answered.
function M.new(answers)
  local fake = { is_fake = true, requests = {}, responses = {} }
  function fake.stream(request)
    fake.requests[#fake.requests + 1] = request
    local answer = answers[#fake.requests] or { fail = "out of answers" }
    if answer.fail then
      return nil, answer.fail, answer.code or "connect"
    end
    local response = setmetatable({ status = answer.status or 200,
      headers = { server = "fake" }, closed = false, _request = request,
      _silent_ms = 0, _has_byte = false, _steps = {} }, Response)
    for name, value in pairs(answer.headers or {}) do
      response.headers[name] = value
    end
    for index, step in ipairs(answer.steps or {}) do
      response._steps[index] = step
    end
    fake.responses[#fake.responses + 1] = response
    return response
  end
  return fake
end

return M
