-- The demo's client: asks the agent server, and shows the answer as it comes.
--
--   lua examples/demo/client.lua AGENT QUESTION...   each argument is a question
--   lua examples/demo/client.lua AGENT --chat        questions from stdin
--
-- AGENT is a port or a URL. Colours only on a terminal, and not with NO_COLOR.
local aw = require("agentwire")

local function is_terminal()
  local ok = os.execute("test -t 1")
  return (ok == true or ok == 0) and os.getenv("NO_COLOR") == nil
end

local COLOURS = { dim = 2, bold = 1, green = 32, red = 31, cyan = 36 }
local colours_on = is_terminal()

local function paint(colour, text)
  if not colours_on then
    return text
  end
  return ("\27[%dm%s\27[0m"):format(COLOURS[colour], text)
end

local function write(text)
  io.write(text)
  io.stdout:flush()
end

--- The beginning of a result, on one line.
local function summary(event)
  local parts = aw.json.decode(event.result_json) or {}
  local text = parts[1] and parts[1].text or ""
  local _, lines = text:gsub("\n", "\n")
  local first = text:match("^[^\n]*")
  if #first > 60 then
    first = first:sub(1, 60):gsub("[\128-\255]+$", "") .. "..."
  end
  return lines > 0 and ("%s (+%d lines)"):format(first, lines) or first
end

local show = {}

function show.message_update(event)
  local kind, delta = event.event.type, event.event.delta
  if kind == "text_delta" then
    write(delta)
  elseif kind == "thinking_delta" then
    write(paint("dim", delta))
  elseif kind == "text_end" or kind == "thinking_end" then
    write("\n")
  end
end

function show.tool_execution_start(event)
  write(paint("cyan", ("  -> %s %s\n"):format(event.tool_name,
    event.args_json)))
end

function show.tool_execution_update(event)
  if event.status then
    write(paint("dim", ("     %d %% %s\n"):format(event.progress or 0,
      event.status)))
  end
end

function show.tool_execution_end(event)
  local colour = event.is_error and "red" or "green"
  write(paint(colour, ("  <- %s\n"):format(summary(event))))
end

local function ask(session, question)
  write(paint("bold", "\n> " .. question) .. "\n")
  for event in session:prompt(question) do
    if show[event.type] then
      show[event.type](event)
    end
  end
  local _, why, code = session:result()
  if code then
    write(paint("red", ("failed: %s (%s)\n"):format(why, code)))
    return false
  end
  return true
end

local function url_of(place)
  return place:find("^%d+$") and "ws://127.0.0.1:" .. place or place
end

--- Questions from the arguments or, with --chat, from stdin.
local function questions()
  if arg[2] == "--chat" then
    return function()
      write(paint("bold", "? "))
      return aw.stdin:line()
    end
  end
  local index = 1
  return function()
    index = index + 1
    return arg[index]
  end
end

if not arg[2] then
  io.stderr:write("usage: client.lua AGENT QUESTION... | --chat\n")
  os.exit(2)
end

local ok = aw.run(function()
  local conn = assert(aw.connect(url_of(arg[1])))
  local session = assert(conn:agent():start {})
  local all_answered = true
  for question in questions() do
    if question:find("%S") then
      all_answered = ask(session, question) and all_answered
    end
  end
  session:stop()
  conn:close()
  return all_answered
end)
os.exit(ok and 0 or 1)
