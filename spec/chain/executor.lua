-- The chain's tool server: reads facts below one folder.
--
--   lua executor.lua FOLDER           serves; prints its port
--   lua executor.lua FOLDER AGENT     dials out to the agent's port: NAT
local aw = require("agentwire")

local folder = arg[1]

local function log(...)
  local file = assert(io.open(folder .. "/log", "a"))
  file:write(table.concat({ ... }, " "), "\n")
  file:close()
end

local NAME = {
  type = "object", properties = { name = { type = "string" } },
  required = { "name" },
}

local tools = aw.tool.registry()

tools:add {
  name = "read_fact", description = "Reads a fact", parameters = NAME,
  handler = function(args, call)
    log("read", args.name)
    local file, why = io.open(folder .. "/" .. args.name .. ".fact")
    if not file then
      return nil, why
    end
    local text = file:read("*a")
    file:close()
    for percent = 25, 100, 25 do
      call:progress(percent, "reading " .. args.name)
      aw.sleep(2)
    end
    return text
  end,
}

tools:add {
  name = "raise", description = "Raises",
  handler = function()
    log("raise")
    error("the tool broke on purpose")
  end,
}

tools:add {
  name = "wait", description = "Waits until it is cancelled",
  parameters = NAME,
  handler = function(args, call)
    log("wait", args.name)
    aw.task.defer(function()
      log("cancelled", args.name)
    end)
    call:update { text = "waiting" }
    aw.sleep(60000)
    log("waited", args.name)
  end,
}

aw.run(function()
  if arg[2] then
    local conn = assert(aw.connect("ws://127.0.0.1:" .. arg[2]))
    local registration = assert(aw.tool.register(conn, tools))
    print("registered")
    io.stdout:flush()
    registration:wait_ended()
    return
  end
  local server = assert(aw.serve { listen = "ws://127.0.0.1:0", tools = tools })
  print("port " .. server.port)
  io.stdout:flush()
  server:wait_closed()
end)
