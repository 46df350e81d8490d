-- A fake of the HTTP port that adapters' requests go through: no network, it
-- plays answers that a spec wrote, and says so in each (`server: fake`). In the
-- place of real time it sleeps in the spec's host.
local sse = require("spec.support.sse")
local task = require("agentwire.task")

local M = {}

local Response = {}
Response.__index = Response

-- A step: bytes of the body, {delay_ms}, {fail, code}. Silence is counted from
-- the last byte, as the port promises.
local function play(self, step, left_ms)
  if type(step) == "string" then
    self._splitter:push(step)
    return "bytes"
  elseif step.fail then
    return nil, step.fail, step.code
  end
  local pause = math.min(step.delay_ms, left_ms)
  step.delay_ms = step.delay_ms - pause
  task.sleep(pause)
  if step.delay_ms > 0 then
    table.insert(self._steps, 1, step)
    return nil, "no byte came", "timeout"
  end
  return "pause", pause
end

function Response:next(timeout_ms)
  local left_ms = timeout_ms or math.huge
  while not self._events[1] do
    if self.closed then
      return nil, "closed", "closed"
    end
    local step = table.remove(self._steps, 1)
    if not step then
      return nil
    end
    local kind, text, code = play(self, step, left_ms)
    if not kind then
      return nil, text, code
    end
    left_ms = kind == "pause" and left_ms - text or timeout_ms or math.huge
  end
  return table.remove(self._events, 1)
end

function Response:read(max_bytes)
  return (table.concat(self._steps):sub(1, max_bytes))
end

function Response:close()
  self.closed = true
end

--- The port. `answers`: one for each request in turn, each {status?, headers?,
--- steps} or {fail, code}: no connection. `port.requests` has what was asked,
--- `port.responses` what was answered.
function M.new(answers)
  local port = { is_fake = true, requests = {}, responses = {} }
  function port.stream(request)
    port.requests[#port.requests + 1] = request
    local answer = answers[#port.requests] or { fail = "out of answers" }
    if answer.fail then
      return nil, answer.fail, answer.code
    end
    local response = setmetatable({ status = answer.status or 200,
      headers = answer.headers or {}, closed = false, _events = {},
      _steps = {} }, Response)
    response.headers.server = "fake"
    for _, step in ipairs(answer.steps or {}) do
      table.insert(response._steps, type(step) == "table" and
        { delay_ms = step.delay_ms, fail = step.fail, code = step.code } or step)
    end
    local make = request.format == "lines" and sse.lines or sse.new
    response._splitter = make(function(data, name)
      table.insert(response._events, { data = data, event = name })
    end)
    port.responses[#port.responses + 1] = response
    return response
  end
  return port
end

return M
