-- An agent session whose tool runs here, in the client's process.
--
--   lua examples/02_agent.lua [FILE]
local aw = require("agentwire")

local file = arg[1] or arg[0]

local tools = aw.tool.registry()
tools:add {
  name = "read_file",
  description = "Read a text file",
  parameters = {
    type = "object",
    properties = { path = { type = "string" } },
    required = { "path" },
  },
  handler = function(args, call)
    call:update { text = "opening " .. args.path }
    local opened, why = io.open(args.path)
    if not opened then
      return nil, why -- a tool error that the model sees
    end
    local text = opened:read("*a")
    opened:close()
    return text
  end,
}

--- A connection whose other end serves an agent with the scripted model.
local function connect()
  local near, far = aw.pair()
  local provider_near, provider_far = aw.pair()
  require("agentwire.provider.server").attach(provider_far,
    require("agentwire.providers.scripted").new())
  aw.agent.attach(far, aw.agent.service {
    provider = provider_near:provider(),
    model = "scripted/scripted",
  })
  return near, provider_near
end

local show = {}

function show.message_update(event)
  if event.event.type == "text_delta" then
    io.write(event.event.delta)
  elseif event.event.type == "text_end" then
    io.write("\n")
  end
end

function show.tool_execution_start(event)
  print("  -> " .. event.tool_name .. " " .. event.args_json)
end

function show.tool_execution_update(event)
  print("     " .. event.partial_json)
end

function show.tool_execution_end(event)
  print(("  <- %d bytes"):format(#event.result_json))
end

aw.run(function()
  local conn, provider = connect()
  local session = assert(conn:agent():start { tools = tools })
  for event in session:prompt("What is in " .. file .. "?") do
    if show[event.type] then
      show[event.type](event)
    end
  end
  local result = assert(session:result())
  print(("%d turns, %s"):format(result.iterations, result.stop_reason))
  session:stop()
  conn:close()
  provider:close()
end)
