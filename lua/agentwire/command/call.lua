--- `agentwire call`: one execution of a tool at the other end.
local exits = require("agentwire.command._exit")
local json = require("agentwire.json")
local misuse = require("agentwire._misuse")
local peer = require("agentwire.command._peer")
local screens = require("agentwire.command._screen")
local stdin = require("agentwire.stdin")

-- As much as a message may have.
local INPUT_MAX = 16 * 1024 * 1024

local M = {
  summary = "Run a tool of a server and print what it gives",
  takes = { "URL", "TOOL", "[JSON]" },
  options = peer.with {
    { "--wait SECONDS", "for the result; without it, as long as it takes" },
    { "--json", "the whole result as one JSON value" },
  },
  more = { "JSON is the arguments, {} if there are none; - reads them from "
    .. "stdin. A tool that fails ends with 5." },
}

local function read_all()
  local parts, size = {}, 0
  while true do
    local bytes, message, code = stdin:read()
    if not bytes then
      if code ~= "closed" then
        return nil, "stdin: " .. message, "failed"
      end
      return table.concat(parts)
    end
    size = size + #bytes
    if size > INPUT_MAX then
      return nil, "stdin: more than 16 MiB of arguments", "limit"
    end
    parts[#parts + 1] = bytes
  end
end

local function read_arguments(text)
  local message, code
  if text == "-" then
    text, message, code = read_all()
    if not text then
      return nil, message, code
    end
  end
  local value, why = json.decode(text or "{}")
  if type(value) ~= "table" or json.is_array(value) then
    return nil, "JSON: " .. (value == nil and why or "it is no object"), "usage"
  end
  return text or "{}"
end

-- What does not exist was perhaps misspelt.
local function name_nearest(conn, name, message)
  local tools = conn:tool():list()
  local names = {}
  for index, tool in ipairs(tools or {}) do
    names[index] = tool.name
  end
  local meant = misuse.nearest(name, names)
  return meant and ("%s; did you mean %s?"):format(message, meant)
    or message .. "; agentwire tools lists them"
end

local function show_part(screen, part)
  if part.type == "text" then
    local text = screen.out_terminal and screens.harmless(part.text) or part.text
    screen:write(text)
    screen:finish_line()
  else
    screen:print(("[%s: %d bytes of base64; --json has them]"):format(
      screens.one_line(part.mime_type or part.type), #(part.data or "")))
  end
end

local function show(given, screen, result)
  if screen.json then
    screen:value {
      parts = json.array(result.parts), is_error = result.is_error,
      error_message = result.error_message, duration_ms = result.duration_ms,
      details = result.details_json and json.decode(result.details_json),
    }
  end
  if result.is_error then
    local first = result.parts[1] and result.parts[1].text
    screen:tell(("call: %s: %s"):format(given.TOOL,
      result.error_message or first or "it failed"))
    return exits.TOOL
  end
  for _, part in ipairs(screen.json and {} or result.parts) do
    show_part(screen, part)
  end
  return true
end

local function execute(conn, given, args_json, screen)
  screen:status(given.TOOL .. " runs")
  return conn:tool():execute {
    name = given.TOOL, args_json = args_json,
    timeout_ms = given.wait and math.ceil(1000 * given.wait),
    on_update = function(update)
      local percent = update.progress and ("%d %% "):format(update.progress) or ""
      screen:status(("%s: %s%s"):format(given.TOOL, percent, update.status or ""))
    end,
  }
end

function M.run(given, screen)
  local args_json, message, code = read_arguments(given.JSON)
  if not args_json then
    return nil, message, code
  end
  local conn
  conn, message, code = peer.connect(given, screen)
  if not conn then
    return nil, message, code
  end
  local result
  result, message, code = execute(conn, given, args_json, screen)
  screen:status(nil)
  if not result and code == "tool_not_found" then
    message = name_nearest(conn, given.TOOL, message)
  end
  conn:close()
  if not result then
    return nil, ("%s: %s"):format(given.TOOL, message), code
  end
  return show(given, screen, result)
end

return M
