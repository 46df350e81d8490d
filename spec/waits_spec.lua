-- No wait costs processor time, whatever it waits for and whoever drives the
-- loop. Each way is a process of its own, all at the same time.
local process = require("spec.support.process")

local MOST_MS_A_SECOND = 5

local WAYS = { "sleep", "reconnecting" }

describe("a second of waiting", function()
  local started = {}

  setup(function()
    for _, way in ipairs(WAYS) do
      started[way] = process.lua("spec/support/waits.lua", way)
    end
  end)

  teardown(process.stop_all)

  for _, way in ipairs(WAYS) do
    it("costs next to nothing: " .. way, function()
      local ms = tonumber((started[way]:expect("^[%d.]+$")))
      assert(ms <= MOST_MS_A_SECOND, ("%.1f ms"):format(ms))
    end)
  end
end)
