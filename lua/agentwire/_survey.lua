--- Several parties asked one thing at the same time: the sources of a loop for
--- their tools, the providers of a router for their models. One that fails or
--- is silent holds up no other, and the next time no longer than a moment.

local host = require("agentwire.host")
local problems = require("agentwire._problem")
local task = require("agentwire.task")

local M = {}

-- How long one that did not answer the last time is waited for: whoever asks
-- does not wait for what is probably still away.
local PATIENCE_MS = 250

local function join_all(asked)
  for _, each in ipairs(asked) do
    each:join()
  end
end

--- What became of a question: an answer, or why there is none.
local function answer_of(asked, waited_ms)
  if not asked:is_done() then
    asked:cancel("took too long")
    return nil, ("no answer within %.0f ms"):format(waited_ms), "timeout"
  end
  local answer, why, code, raised = asked:join()
  if code == "task_error" then
    return nil, problems.brief(raised), "internal_error"
  end
  return answer, why, code
end

--- Asks. A party is a table whose member `out` is kept here: why it gave no
--- answer the last time.
---@async
---@param parties table[]
---@param ask fun(party: table): any, string?, string? runs in a task of its own
---@param timeout_ms number? nil: no limit
---@param on_answer fun(party: table, answer: any, why: string?, code: string?) called
--- for each in order, before `out` is set anew
function M.ask(parties, ask, timeout_ms, on_answer)
  local asked, prompt, slow, waits = {}, {}, {}, {}
  for index, party in ipairs(parties) do
    asked[index] = task.spawn(ask, party)
    local out = party.out ~= nil and timeout_ms ~= nil
    table.insert(out and slow or prompt, asked[index])
    waits[index] = out and PATIENCE_MS or timeout_ms
  end
  local clock = host.current()
  local start = clock:now()
  task.timeout(timeout_ms, join_all, prompt)
  local left = PATIENCE_MS - (clock:now() - start)
  if left > 0 then
    task.timeout(left, join_all, slow)
  end
  for index, party in ipairs(parties) do
    local answer, why, code = answer_of(asked[index], waits[index])
    on_answer(party, answer, why, code)
    party.out = answer == nil and { message = why, code = code } or nil
  end
end

return M
