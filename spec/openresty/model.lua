-- The model server of the specs with nginx. Its model does what the last message
-- says, and writes down how each call ended:
--   say COUNT [DELAY]     so many words, each its own event
--   call TOOL JSON        calls a tool, then tells the result
--   wait                  says nothing and does not end
--
--   lua model.lua URL LOG
local aw = require("agentwire")
local protocol = require("agentwire.provider.protocol")

local function log(text)
  local file = assert(io.open(arg[2], "a"))
  file:write(text, "\n")
  file:close()
end

local ACTS = {}

function ACTS.say(rest, emit)
  local count, delay_ms = rest:match("^(%d+) ?(%d*)$")
  emit { type = "text_start", content_index = 0 }
  for i = 1, tonumber(count) do
    emit { type = "text_delta", content_index = 0, delta = i .. " " }
    if delay_ms ~= "" then
      aw.sleep(tonumber(delay_ms))
    end
  end
  emit { type = "text_end", content_index = 0 }
end

function ACTS.call(rest, emit)
  local name, json = rest:match("^(%S+) (.*)$")
  emit {
    type = "toolcall_start", content_index = 0, id = "call-1", name = name,
  }
  emit { type = "toolcall_delta", content_index = 0, delta = json }
  emit { type = "toolcall_end", content_index = 0 }
end

function ACTS.wait()
  aw.sleep(math.huge)
end

local function tell(text, emit)
  emit { type = "text_start", content_index = 0 }
  emit { type = "text_delta", content_index = 0, delta = text }
  emit { type = "text_end", content_index = 0 }
end

local model = { name = "words", api = "words" }

function model.stream(_, request, emit)
  aw.task.defer(function()
    log(aw.task.current():status() == "cancelling" and "cancelled" or "done")
  end)
  local messages = request.context.messages
  local last = messages[#messages]
  if last.role == "tool" then
    return tell("It says: " .. protocol.text_of(last), emit)
  end
  local verb, rest = protocol.text_of(last):match("^(%a+) ?(.*)$")
  return ACTS[verb](rest, emit)
end

aw.run(function()
  local server = assert(aw.serve {
    listen = arg[1], provider = model, ping_interval_ms = 600000,
  })
  print("ready")
  io.stdout:flush()
  server:wait_closed()
end)
