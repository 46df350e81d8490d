-- The fault lab's client as a process of its own: reads streams, checks them.
--
--   lua client.lua URL STREAMS COUNT SIZE
--
-- Prints "open", then "going" when every stream has begun, then "done N" with
-- the number of connections that it took, or raises.
local aw = require("agentwire")
local lab = require("spec.support.lab")

local function say(...)
  print(...)
  io.stdout:flush()
end

aw.run(function()
  local opened = 1
  local conn = assert(aw.connect(arg[1], {
    reconnect = { min_ms = 10, max_ms = 50 },
    on_state = function(event)
      opened = opened + (event.type == "resuming" and 1 or 0)
    end,
  }))
  say("open")
  local tasks, begun = lab.read_all(conn, tonumber(arg[2]), {
    count = tonumber(arg[3]), size = tonumber(arg[4]),
  })
  begun:wait()
  say("going")
  lab.join_all(tasks)
  conn:close()
  say("done " .. opened)
end)
