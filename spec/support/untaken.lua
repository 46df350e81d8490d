-- What spec/untaken_spec.lua serves: a model and tools, each with a small answer
-- and one of 2 MiB. Run by itself it serves them on stdin and stdout:
--
--   lua untaken.lua LIMITS      JSON
local aw = require("agentwire")

local M = {}

local BIG = ("x"):rep(2 * 1024 * 1024)

function M.adapter()
  return aw.providers.scripted.new { script = function(request, emit)
    local text = request.context.messages[1].content
    emit { type = "text_start", content_index = 0 }
    emit { type = "text_delta", content_index = 0,
      delta = text == "big" and BIG or "small" }
    emit { type = "text_end", content_index = 0 }
    return { stop_reason = "stop" }
  end }
end

function M.tools()
  local tools = aw.tool.registry()
  tools:add { name = "small", handler = function()
    return "s"
  end }
  tools:add { name = "big", handler = function()
    return BIG
  end }
  return tools
end

--- Options of `aw.serve` with both and these limits.
function M.served(limits)
  local options = { provider = M.adapter(), tools = M.tools() }
  for name, value in pairs(limits) do
    options[name] = value
  end
  return options
end

if arg and arg[0] and arg[0]:find("untaken%.lua$") then
  aw.run(function()
    local options = M.served(aw.json.decode(arg[1]))
    options.stdio = true
    assert(aw.serve(options)):wait_closed()
  end)
end

return M
