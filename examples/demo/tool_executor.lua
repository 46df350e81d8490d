-- The demo's tool server: dials the agent server, registers its file tools and
-- executes what the agent asks for. Nothing has to be able to dial it.
--
--   lua examples/demo/tool_executor.lua [AGENT] [ROOT]
--
-- AGENT is a port or a URL, 7450 by default; ROOT is the folder that the tools
-- may look at, the current one by default. Prints a line when it is ready.
local aw = require("agentwire")
local file_tools = require("agentwire.command.files")

local function url_of(place)
  return place:find("^%d+$") and "ws://127.0.0.1:" .. place or place
end

aw.run(function()
  local conn = assert(aw.connect(url_of(arg[1] or "7450")))
  local tools = assert(file_tools.new(arg[2] or "."))
  while conn:state() ~= "closed" do
    local registration = assert(aw.tool.register(conn, tools))
    print(("registered %d tools"):format(#tools:list()))
    io.stdout:flush()
    registration:wait_ended() -- an agent server that was restarted has none
  end
end)
