-- Streams one answer of a model, event by event.
--
--   lua examples/01_stream.lua                       both ends in this process
--   lua examples/01_stream.lua ws://127.0.0.1:7450   a provider server's answer
local aw = require("agentwire")

--- A connection to a provider: the one that was named, or one end of a pair
--- whose other end serves the scripted model.
local function connect(url)
  if url then
    return assert(aw.connect(url))
  end
  local near, far = aw.pair()
  local model = require("agentwire.providers.scripted").new()
  require("agentwire.provider.server").attach(far, model)
  return near
end

aw.run(function()
  local conn = connect(arg[1])
  local stream = assert(conn:provider():start_stream {
    model = "scripted/scripted",
    messages = { { role = "user", content = "Who are you?" } },
  })
  for event in stream:events() do
    if event.type == "text_delta" then
      io.write(event.delta)
    end
  end
  io.write("\n")
  -- The loop above ends with the stream, well or badly: this tells which.
  local message, why, code = stream:result()
  if message then
    print("stop reason: " .. message.stop_reason)
    print(("tokens: %d in, %d out"):format(
      message.usage.input, message.usage.output))
  else
    print("failed: " .. why .. " (" .. code .. ")")
  end
  conn:close()
end)
