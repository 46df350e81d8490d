-- A model server that says what it is asked for, as fast as it is read: so many
-- deltas, and then, asked for "wait N", no end.
local aw = require("agentwire")

aw.run(function()
  local server = assert(aw.serve {
    listen = "ws://127.0.0.1:0",
    provider = {
      name = "flood", api = "flood",
      stream = function(_, request, emit)
        local messages = request.context.messages
        local content = messages[#messages].content
        local text = type(content) == "string" and content or content[1].text
        emit { type = "text_start", content_index = 0 }
        for i = 1, tonumber(text:match("%d+")) do
          emit { type = "text_delta", content_index = 0, delta = i .. " " }
          if i % 500 == 0 then
            aw.task.yield()
          end
        end
        if text:find("wait") then
          aw.sleep(math.huge)
        end
        emit { type = "text_end", content_index = 0 }
      end,
    },
  })
  print("port " .. server.port)
  io.stdout:flush()
  server:wait_closed()
end)
