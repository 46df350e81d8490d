-- A server on stdin and stdout, as a child process has it.
--
--   lua stdio_server.lua [OPTIONS]      JSON; laid over what is served, but for
--                                       word_delay_ms, which is the model's
local aw = require("agentwire")
local scripted = require("agentwire.providers.scripted")

aw.run(function()
  local given = arg[1] and aw.json.decode(arg[1]) or {}
  local options = {
    stdio = true,
    provider = scripted.new {
      word_delay_ms = given.word_delay_ms,
      decide = function(request)
        return { text = request.context.messages[1].content, calls = {} }
      end,
    },
  }
  given.word_delay_ms = nil
  for key, value in pairs(given) do
    options[key] = value
  end
  assert(aw.serve(options)):wait_closed()
end)
