--- The command `agentwire` (docs/command.md): finds the subcommand, reads its
--- words, runs it in a task and says with what status the process ends.
---
--- A subcommand is a module that returns a table: `summary`, `takes`, `options`
--- (agentwire.command._arguments), `more` for its help, and `run(given, screen)`,
--- which returns true, a status of its own, or nil, message, code.
local arguments = require("agentwire.command._arguments")
local exits = require("agentwire.command._exit")
local help = require("agentwire.command._help")
local host = require("agentwire.host")
local misuse = require("agentwire._misuse")
local screens = require("agentwire.command._screen")
local task = require("agentwire.task")

local M = {}

local NAMES = { "demo", "chat", "serve", "tools", "call", "models", "doctor",
  "version", "help" }

local commands = {}

local function find(name)
  for _, each in ipairs(NAMES) do
    if each == name then
      return require("agentwire.command." .. name)
    end
  end
end

local function fail(screen, name, message, code)
  screen:tell(name and name .. ": " .. message or message)
  return exits.of(message, code)
end

local function unknown(screen, name)
  local meant = misuse.nearest(name, NAMES)
  return fail(screen, nil, ("unknown command %s; %s"):format(name,
    meant and "did you mean " .. meant .. "?" or "agentwire help lists them"),
    "usage")
end

function commands.help(screen, name)
  if name then
    local command = find(name)
    if not command then
      return unknown(screen, name)
    end
    screen:print(help.of(name, command, screen))
    return exits.OK
  end
  local all = {}
  for _, each in ipairs(NAMES) do
    all[each] = find(each)
  end
  screen:print(help.overview(all, NAMES, screen))
  return exits.OK
end

-- A failure that is told begins with the position of whoever is to blame, which
-- is of no use where that is this file.
local function brief(problem)
  local text = tostring(problem):match("^[^\n]*")
  return (text:gsub("^%S*agentwire[^%s:]*:%d+: ", ""))
end

-- What stands on the terminal when it ends, in whatever way.
local function supervise(command, given, screen)
  local me = task.current()
  task.defer(function()
    screen:leave((me:failure() or ""):find("SIGINT", 1, true) ~= nil)
  end)
  return command.run(given, screen)
end

local function run(name, command, given, screen)
  screen.json = given.json == true
  local result, message, code = host.run(supervise, command, given, screen)
  if result == true then
    return exits.OK
  elseif result then
    return result
  end
  return fail(screen, name, brief(message), code)
end

--- Runs a command line.
---@param words string[]
---@return integer status for os.exit
function M.main(words)
  local screen, name = screens.new(), words[1]
  if name == nil then
    commands.help(screen)
    return exits.USAGE
  elseif name == "--help" or name == "-h" or name == "--version" then
    name = name == "--version" and "version" or "help"
  end
  local command = find(name)
  if not command then
    return unknown(screen, name)
  end
  local rest = {}
  for index = 2, #words do
    rest[index - 1] = words[index]
  end
  local given, problem = arguments.read(command, rest)
  if not given then
    return fail(screen, name, problem, "usage")
  elseif given.help or name == "help" then
    return commands.help(screen, not given.help and given.COMMAND or
      name ~= "help" and name or nil)
  end
  return run(name, command, given, screen)
end

return M
