-- A process that waits in one way, says how much processor time that took, and
-- ends: `waits.lua WAY HOST`. What a way begins has come to rest before the
-- clock runs, and its wait goes on until the process ends.
local aw = require("agentwire")

local REST_MS, MEASURED_MS = 300, 1000

local ways = {}

function ways.sleep()
  aw.sleep(math.huge)
end

--- A client whose server has gone, between two attempts to come back.
function ways.reconnecting()
  local server = assert(aw.serve {
    listen = "ws://127.0.0.1:0",
    provider = aw.providers.scripted.new(),
  })
  local conn = assert(aw.connect(server.url, {
    reconnect = { min_ms = 5000, max_ms = 5000 },
  }))
  server:close()
  conn:wait_closed()
end

local function measure()
  aw.sleep(REST_MS)
  local before = os.clock()
  aw.sleep(MEASURED_MS)
  print(("%.3f"):format((os.clock() - before) * 1000))
  os.exit(0)
end

aw.run(function()
  aw.spawn(ways[arg[1]])
  measure()
end)
