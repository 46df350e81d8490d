-- The chain's client: runs what it is told, prints all that it sees.
--
--   lua client.lua AGENT PLAN
--
-- PLAN is JSON: for each session its runs, {prompt=, cancel_on=type}. Sessions
-- run at once, runs one after the other. Prints one JSON object a line: events
-- with `session` and `run`, at the end of each run one of type "outcome".
local aw = require("agentwire")

local function say(session, run, fields)
  local line = { session = session, run = run }
  for key, value in pairs(fields) do
    line[key] = value
  end
  print(assert(aw.json.encode(line)))
  io.stdout:flush()
end

local function kind_of(event)
  return event.type == "message_update" and event.event.type or event.type
end

local function perform(conn, number, runs)
  local session = assert(conn:agent():start {})
  for index, run in ipairs(runs) do
    local cancelled = false
    for event in session:prompt(run.prompt) do
      say(number, index, event)
      if kind_of(event) == run.cancel_on and not cancelled then
        cancelled = true
        session:cancel("by the spec")
      end
    end
    local result, why, code = session:result()
    say(number, index, {
      type = "outcome", result = result, why = why, code = code,
    })
  end
  session:stop()
end

aw.run(function()
  local conn = assert(aw.connect("ws://127.0.0.1:" .. arg[1]))
  local tasks = {}
  for number, runs in ipairs(assert(aw.json.decode(arg[2]))) do
    tasks[number] = aw.spawn(perform, conn, number, runs)
  end
  for _, each in ipairs(tasks) do
    each:join()
  end
  conn:close()
end)
