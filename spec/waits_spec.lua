-- No wait costs processor time, whatever it waits for and whoever drives the
-- loop. Each way is a process of its own, the ways of one loop at the same time.
local foreign = require("spec.support.foreign")
local process = require("spec.support.process")

local MOST_MS_A_SECOND = 5

local WAYS = {
  "sleep", "timer", "join", "queue", "latch", "line_of_tasks", "waiter",
  "signal", "stdin", "websocket", "pair", "child", "stdio", "reconnecting",
  "detached", "no_credit", "stream", "tool", "drain",
}

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
        started[way]:wait()
        local said = started[way]:errors()
        assert(not said:find("it did not wait", 1, true), said)
        local ms = tonumber(said:match("processor time: ([%d.]+) ms"))
        assert(ms and ms <= MOST_MS_A_SECOND, said)
      end)
    end
  end)
end
