-- The chain's model server. Its model does what the last message says:
--   read NAME...   calls read_fact for each name, then tells the results
--   raise          calls a tool that raises, then tells the error
--   wait NAME      calls a tool that does not end by itself
--   talk COUNT     says so many words, slowly
--   call NAME ARGUMENTS      calls any tool, then tells the result
--
--   lua provider.lua LOG
local aw = require("agentwire")
local compat = require("agentwire._compat")
local protocol = require("agentwire.provider.protocol")
local scripted = require("agentwire.providers.scripted")

local function log(...)
  local file = assert(io.open(arg[1], "a"))
  file:write(table.concat({ ... }, " "), "\n")
  file:close()
end

local function words(count)
  local list = {}
  for i = 1, count do
    list[i] = "w" .. i
  end
  return table.concat(list, " ")
end

local PLANS = {
  read = function(rest)
    local calls = {}
    for name in rest:gmatch("%S+") do
      calls[#calls + 1] = {
        name = "read_fact", arguments_json = aw.json.encode { name = name },
      }
    end
    return { text = "Looking.", calls = calls }
  end,
  raise = function()
    return { calls = { { name = "raise", arguments_json = "{}" } } }
  end,
  wait = function(rest)
    return { calls = { {
      name = "wait", arguments_json = aw.json.encode { name = rest },
    } } }
  end,
  call = function(rest)
    local name, arguments = rest:match("^(%S+) (.*)$")
    return { calls = { { name = name, arguments_json = arguments } } }
  end,
  talk = function(rest)
    return { text = words(tonumber(rest)), calls = {} }
  end,
}

--- The results that follow the last user message, in order.
local function results_of(messages)
  local texts = {}
  for index = #messages, 1, -1 do
    if messages[index].role ~= "tool" then
      break
    end
    local message = messages[index]
    table.insert(texts, 1,
      (message.is_error and "failed: " or "") .. protocol.text_of(message))
  end
  return texts
end

local function decide(request)
  local messages = request.context.messages
  local texts = results_of(messages)
  if #texts > 0 then
    return { text = "It says: " .. table.concat(texts, " | "), calls = {} }
  end
  local verb, rest = protocol.text_of(messages[#messages])
    :match("^(%a+) ?(.*)$")
  return PLANS[verb](rest)
end

local model = scripted.new { decide = decide, word_delay_ms = 5 }

local adapter = setmetatable({}, { __index = model })

--- Writes down how each model call ended.
function adapter.stream(_, request, emit, call)
  local results = { pcall(model.stream, model, request, emit, call) }
  if not results[1] then
    log(aw.task.is_cancelled(results[2]) and "cancelled" or "raised")
    error(results[2], 0)
  end
  log("done")
  return compat.unpack(results, 2, 4)
end

aw.run(function()
  local server = assert(aw.serve {
    listen = "ws://127.0.0.1:0", provider = adapter,
  })
  print("port " .. server.port)
  io.stdout:flush()
  server:wait_closed()
end)
