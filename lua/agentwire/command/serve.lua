--- `agentwire serve`: a server whose parts a Lua file gives.
local aw = require("agentwire")
local compat = require("agentwire._compat")
local peer = require("agentwire.command._peer")
local problems = require("agentwire._problem")
local tables = require("agentwire._tables")

local URL = "ws://127.0.0.1:7450"

local M = {
  summary = "Serve what a Lua file returns: models, an agent, tools",
  takes = { "FILE", "[ARGUMENT...]" },
  options = {
    { "--url URL", "where to listen (the file's listen, else " .. URL
      .. "); port 0 is any" },
    { "--stdio", "serve stdin and stdout, for who has started this" },
    { "--token-env NAME", "the variable with the token that clients have to "
      .. "bring; without it and --token-file: AGENTWIRE_TOKEN, if that is set" },
    { "--token-file FILE", "the file with that token, in its first line" },
    { "--json", "say where it listens as one JSON value" },
  },
  more = {
    "FILE returns the options of aw.serve (docs/server.md): provider, agent, "
      .. "tools, ... in a table, or a function that returns one; the function "
      .. "is called in a task, with the ARGUMENTs, and may connect and wait. "
      .. "What stands beside FILE can be required.",
    "TERM lets what is under way end first; a second one does not wait.",
  },
}

local function fail(path, problem)
  local message = tostring(problem):match("^[^\n]*")
  return nil, message:find(path, 1, true) and message
    or path .. ": " .. message, "failed"
end

--- Calls what a file gives; what it raises is its failure, told with its line.
local function call(path, fn, ...)
  local ok, value, why = pcall(fn, ...)
  if not ok then
    if aw.task.is_cancelled(value) then
      error(value, 0)
    end
    return fail(path, value)
  elseif value == nil and why ~= nil then
    return fail(path, why)
  end
  return value
end

local function load_parts(path, words)
  local folder = path:match("^(.*)/[^/]*$") or "."
  package.path = ("%s/?.lua;%s/?/init.lua;%s"):format(folder, folder, package.path)
  local chunk, why = loadfile(path)
  if not chunk then
    return fail(path, why)
  end
  local parts, message, code = call(path, chunk, compat.unpack(words))
  if type(parts) == "function" then
    parts, message, code = call(path, parts, compat.unpack(words))
  end
  if message then
    return nil, message, code
  elseif type(parts) ~= "table" then
    return fail(path, "returns neither a table of what to serve nor a function "
      .. "that gives one, but " .. type(parts))
  end
  return parts
end

--- What the command line says goes before what the file says.
local function lay_over(parts, given)
  local options = tables.copy(parts)
  if given.stdio then
    options.stdio, options.listen = true, nil
    return options
  end
  options.listen = given.url and peer.url(given.url) or options.listen
  if options.listen == nil and not options.stdio then
    options.listen = URL
  end
  local token, where, code = peer.token(given)
  if code then
    return nil, where, code
  elseif token and (options.authenticate or options.tokens) then
    return nil, ("the file decides who may come in; the token of %s would not "
      .. "count"):format(where), "usage"
  end
  options.tokens = token or options.tokens
  return options, where
end

local SERVED = { "provider", "agent", "tools", "pool" }

local function tell(screen, server, options, where)
  local served = {}
  for _, name in ipairs(SERVED) do
    served[#served + 1] = options[name] and name or nil
  end
  if screen.json then
    screen:value { url = server.url, port = server.port,
      serves = aw.json.array(served), token = where }
    return
  end
  screen:print("listening at " .. server.url)
  if screen.out_terminal then
    screen:print(screen:paint("dim", ("serves %s%s; Ctrl-C ends it"):format(
      #served > 0 and table.concat(served, ", ") or "what the file attaches",
      where and " to who has the token of " .. where or "")))
  end
end

function M.run(given, screen)
  local parts, message, code = load_parts(given.FILE, given.rest)
  if not parts then
    return nil, message, code
  end
  local options, where
  options, where, code = lay_over(parts, given)
  if not options then
    return nil, where, code
  end
  local ok, server
  ok, server, message, code = pcall(aw.serve, options)
  if not ok then
    return fail(given.FILE, (problems.brief(server):gsub("^serve: ", "")))
  elseif not server then
    return nil, message, code == "invalid_argument" and "usage" or "failed"
  elseif not options.stdio then
    tell(screen, server, options, where)
  end
  server:wait_closed()
  return true
end

return M
