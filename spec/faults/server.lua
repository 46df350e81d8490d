-- The fault lab's server: streams that can be checked, and counters.
--
--   lua server.lua [OPTIONS]      JSON, as for aw.serve, and `overflow` as for
--                                 its provider. Prints its port.
--
-- The prompt of a stream is JSON: {who=, count=, size=, hold=}. Delta n of it
-- is lab.delta(who, n, size); after delta `hold` it waits for a release.
local aw = require("agentwire")
local host = require("agentwire.host")
local lab = require("spec.support.lab")
local wait = require("agentwire._wait")

local released = wait.signal("a release")

local model = { name = "lab", api = "lab" }

function model:stream(request, emit)
  local plan = assert(aw.json.decode(request.context.messages[1].content))
  emit { type = "text_start", content_index = 0 }
  for n = 1, plan.count do
    emit {
      type = "text_delta", content_index = 0,
      delta = lab.delta(plan.who, n, plan.size),
    }
    if n == plan.hold then
      released:wait()
    end
    -- A model is slower than a loop: others have their turn.
    if n % 16 == 0 then
      aw.task.yield()
    end
  end
  emit { type = "text_end", content_index = 0 }
end

local server

local connections = setmetatable({}, { __mode = "k" })

local function folded()
  local sum = 0
  for conn in pairs(connections) do
    sum = sum + conn:stats().folded
  end
  return sum
end

--- Answers every message of an agent scope with what this process has open.
local function serve_counters(channel)
  for message in function() return channel:receive() end do
    if message.release then
      released:wake_all()
    end
    channel:send("session_info", {
      tasks = host.current():live_tasks(), connections = server:count(),
      sessions = (server._hub:sessions()), memory_kb = collectgarbage("count"),
      folded = folded(),
    })
  end
end

aw.run(function()
  local options = {
    listen = "ws://127.0.0.1:0", provider = model,
    -- Folded deltas come merged, and what is checked is each of them.
    provider_options = { max_streams = 20000, overflow = "pause" },
    on_connection = function(conn)
      connections[conn] = true
      conn:serve("agent", serve_counters)
    end,
  }
  for key, value in pairs(arg[1] and assert(aw.json.decode(arg[1])) or {}) do
    options[key] = value
  end
  options.provider_options.overflow = options.overflow
    or options.provider_options.overflow
  options.overflow = nil
  server = assert(aw.serve(options))
  print("port " .. server.port)
  io.stdout:flush()
  server:wait_closed()
end)
