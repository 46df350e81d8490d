-- A server on stdin and stdout, as a child process has it.
--
--   lua stdio_server.lua [OPTIONS]      JSON; laid over what is served
local aw = require("agentwire")
local scripted = require("agentwire.providers.scripted")

aw.run(function()
  local options = {
    stdio = true,
    provider = scripted.new {
      decide = function(request)
        return { text = request.context.messages[1].content, calls = {} }
      end,
    },
  }
  for key, value in pairs(arg[1] and aw.json.decode(arg[1]) or {}) do
    options[key] = value
  end
  assert(aw.serve(options)):wait_closed()
end)
