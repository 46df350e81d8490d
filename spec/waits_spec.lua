-- No wait costs processor time, whatever it waits for and whoever drives the
-- loop. Each way is a process of its own, the ways of one loop at the same time.
local foreign = require("spec.support.foreign")
local process = require("spec.support.process")

local MOST_MS_A_SECOND = 5

-- What polls does so each time; a busy machine makes all dear now and then.
local ATTEMPTS = 3

local WAYS = {
  "sleep", "timer", "join", "queue", "latch", "line_of_tasks", "waiter",
  "signal", "stdin", "websocket", "pair", "lines", "child", "stdio",
  "reconnecting", "detached", "no_credit", "stream", "tool", "drain",
}
if require("agentwire").http.about() then
  for _, way in ipairs { "http_answer", "http_body", "http_idle" } do
    table.insert(WAYS, way)
  end
end

local loops = { "own" }
for name in pairs(foreign.loops) do
  table.insert(loops, name)
end

for _, loop in ipairs(loops) do
  describe("a second of waiting, the loop being " .. loop, function()
    local started = {}

    setup(function()
      for _, way in ipairs(WAYS) do
        started[way] = process.lua("spec/support/waits.lua", way, loop)
      end
    end)

    teardown(process.stop_all)

    for _, way in ipairs(WAYS) do
      it("costs next to nothing: " .. way, function()
        local attempt, ms, said = 0
        local child = started[way]
        repeat
          child:wait()
          said = child:errors()
          assert(not said:find("it did not wait", 1, true), said)
          ms = tonumber(said:match("processor time: ([%d.]+) ms"))
          attempt = attempt + 1
          child = ms and ms > MOST_MS_A_SECOND and attempt < ATTEMPTS
            and process.lua("spec/support/waits.lua", way, loop)
        until not child
        assert(ms and ms <= MOST_MS_A_SECOND, said)
      end)
    end
  end)
end
