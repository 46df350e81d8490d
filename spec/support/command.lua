-- The command `agentwire` as specs run it: in pipes, at a terminal, as a server.
local process = require("spec.support.process")

local M = {}

local quote = process.quote

-- Secrets and colours of whoever runs the specs are none of theirs.
local CLEAN = "env -u AGENTWIRE_TOKEN -u NO_COLOR TERM=xterm "

local function line_of(words)
  local quoted = {}
  for index, word in ipairs(words) do
    quoted[index] = quote(tostring(word))
  end
  return table.concat(quoted, " ")
end

--- The words that start the command with the interpreter of the spec.
local function started(words)
  return ("%s bin/agentwire %s"):format(process.interpreter(), line_of(words))
end

local function read_file(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

---@class spec.Outcome
---@field out string
---@field err string
---@field status integer

--- Runs it to its end in pipes. `options`: `input`, text for stdin; `env`, shell
--- words before the command; `whole`, a shell command in its place, %s is it.
---@return spec.Outcome
function M.run(words, options)
  options = options or {}
  local folder = process.folder()
  local file = assert(io.open(folder .. "/in", "wb"))
  file:write(options.input or "")
  file:close()
  local command = (options.env or "") .. " " .. started(words)
  if options.whole then
    command = options.whole:format(command)
  end
  local text = process.shell(("cd . && LUA_PATH=%s LUA_CPATH=%s %s sh -c %s "
    .. "<%s/in >%s/out 2>%s/err; echo $?"):format(
    quote("./lua/?.lua;./lua/?/init.lua;./?.lua;" .. package.path),
    quote(package.cpath), CLEAN, quote(command), folder, folder, folder))
  local outcome = { out = read_file(folder .. "/out"),
    err = read_file(folder .. "/err"), status = tonumber(text) }
  process.remove(folder)
  return outcome
end

--- Starts it, to be spoken to and waited for.
---@return spec.Process
function M.start(words, prefix)
  local all = { process.interpreter(), "bin/agentwire" }
  for _, word in ipairs(words) do
    all[#all + 1] = word
  end
  return process.start(all, { prefix = prefix or CLEAN })
end

--- A server at a free port; `url` is where.
---@return spec.Process
function M.serve(words)
  local all = { "serve", "--url", "0" }
  for _, word in ipairs(words) do
    all[#all + 1] = word
  end
  local server = M.start(all)
  server.url = server:expect("^listening at (ws://%S+)$")
  return server
end

--- At a terminal so many columns wide; the steps are those of person.py.
---@return string text of the screen
---@return integer status
function M.at_terminal(columns, steps, words, env)
  local text = process.shell(("LUA_PATH=%s LUA_CPATH=%s %s %s python3 "
    .. "spec/support/person.py %d %s -- %s"):format(
    quote("./lua/?.lua;./lua/?/init.lua;./?.lua;" .. package.path),
    quote(package.cpath), CLEAN, env or "", columns, line_of(steps),
    started(words)))
  local screen, status = text:match("^(.*)status (%-?%d+)$")
  return screen or text, tonumber(status)
end

return M
