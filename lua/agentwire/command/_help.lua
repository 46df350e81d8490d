--- The help, made of the commands' tables.
local arguments = require("agentwire.command._arguments")
local wraps = require("agentwire.command._wrap")

local M = {}

local MOST_COLUMNS = 80
local wrap = wraps.indented

-- Names left, what they are right of them.
local function list(rows, columns)
  local widest, out = 0, {}
  for _, row in ipairs(rows) do
    widest = math.max(widest, #row[1])
  end
  for _, row in ipairs(rows) do
    out[#out + 1] = ("  %s%s  %s"):format(row[1], (" "):rep(widest - #row[1]),
      wrap(row[2], widest + 4, columns))
  end
  return table.concat(out, "\n")
end

local function width(screen)
  return math.max(40, math.min(MOST_COLUMNS, screen:columns()))
end

--- All commands.
---@param commands table<string, table>
---@param names string[] in their order
---@param screen agentwire.command.Screen
---@return string
function M.overview(commands, names, screen)
  local rows, columns = {}, width(screen)
  for index, name in ipairs(names) do
    local words = { name, commands[name].takes[1], commands[name].takes[2],
      commands[name].takes[3] }
    rows[index] = { table.concat(words, " "), commands[name].summary }
  end
  return table.concat({
    "usage: agentwire COMMAND [OPTION...]", "", list(rows, columns), "",
    wrap("agentwire COMMAND --help says more. A URL is ws://, wss:// or "
      .. "ws+unix:; a port or HOST:PORT stands for ws://. Exit status: 0 done, "
      .. "1 failed, 2 wrong usage, 3 no connection, 4 refused, 5 the tool "
      .. "failed.", 0, columns),
  }, "\n")
end

--- One command.
---@param name string
---@param command table
---@param screen agentwire.command.Screen
---@return string
function M.of(name, command, screen)
  local rows, columns = {}, width(screen)
  for _, option in ipairs(command.options) do
    rows[#rows + 1] = option
  end
  rows[#rows + 1] = arguments.HELP
  local usage = { "usage: agentwire", name, "[OPTION...]" }
  for _, word in ipairs(command.takes) do
    usage[#usage + 1] = word
  end
  local parts = { table.concat(usage, " "), "", wrap(command.summary .. ".", 0, columns) }
  for _, paragraph in ipairs(command.more or {}) do
    parts[#parts + 1] = ""
    parts[#parts + 1] = wrap(paragraph, 0, columns)
  end
  parts[#parts + 1] = ""
  parts[#parts + 1] = list(rows, columns)
  return table.concat(parts, "\n")
end

return M
