--- Signals of the process: waiting for one, and what the first INT or TERM
--- means to a program that agentwire runs.
local host = require("agentwire.host")
local misuse = require("agentwire._misuse")
local options = require("agentwire._options")
local task = require("agentwire.task")
local undo = require("agentwire._undo")
local wait = require("agentwire._wait")

local M = {}

-- Those that end a program by default, and their numbers: an exit code is 128
-- more.
local ENDING = { INT = 2, TERM = 15 }

local NAMES = { "ALRM", "CHLD", "CONT", "HUP", "INT", "QUIT", "TERM", "TSTP",
  "USR1", "USR2", "WINCH" }
local KNOWN = {}
for _, name in ipairs(NAMES) do
  KNOWN[name] = true
end

-- What is to be done before a TERM ends the program, by host.
local farewells = setmetatable({}, { __mode = "k" })

local function read_name(name)
  local short = type(name) == "string" and name:upper():gsub("^SIG", "")
  if not KNOWN[short] then
    misuse.raise("signal: expected one of %s, got %s", table.concat(NAMES, ", "),
      type(name) == "string" and name or misuse.describe(name))
  end
  return short
end

local function watch(current, name, last_resort, fn)
  local core, message, code = current:loop():signal(name, last_resort)
  if not core then
    return nil, "SIG" .. name .. ": " .. message, code
  end
  local handle = core:handle()
  current:watch(handle, fn)
  return function()
    current:unwatch(handle)
    core:close()
  end
end

--- Waits until a signal comes: `aw.signal("HUP")`. While somebody waits for INT
--- or TERM it does not end the run. One that came before this was called has
--- had its effect already.
---@async
---@param name string as in signal(7), with or without "SIG"
---@param timeout_ms number?
---@return string|nil name without "SIG"
---@return string? message
---@return string? code `timeout`, `limit`
function M.wait(name, timeout_ms)
  name = read_name(name)
  options.timeout("signal", timeout_ms)
  wait.waiting_task(2)
  local came = wait.latch("signal " .. name)
  local stop, message, code = watch(host.current(), name, false, function()
    came:set(name)
  end)
  if not stop then
    return nil, message, code
  end
  return undo.always(stop, came.wait, came, timeout_ms)
end

--- Has `fn` run, in a task, when TERM came, before the main task is cancelled.
---@param current table the host
---@param fn fun() may wait; bounded by itself
---@return fun() forget
function M.before_term(current, fn)
  local list = farewells[current] or {}
  farewells[current] = list
  list[fn] = true
  return function()
    list[fn] = nil
  end
end

--- Does what is to be done before the end, and waits for it.
---@async
---@param current table the host
function M.say_farewell(current)
  local leaving = {}
  for fn in pairs(farewells[current] or {}) do
    table.insert(leaving, task.spawn(fn))
  end
  for _, each in ipairs(leaving) do
    each:join()
  end
end

local function leave(current, main, reason)
  M.say_farewell(current)
  main:cancel(reason)
end

--- For hosts that own their process: the first INT or TERM cancels `main`, the
--- second ends the process from inside the handler.
---@param current table the host
---@param main agentwire.Task
---@return fun(): integer? stop gives the exit code if one came
function M.guard(current, main)
  local stops, exit_code = {}, nil
  for name, number in pairs(ENDING) do
    local stop = watch(current, name, true, function()
      exit_code = exit_code or 128 + number
      local reason = "interrupted by SIG" .. name
      if name == "TERM" and next(farewells[current] or {}) then
        current:spawn_under(nil, leave, current, main, reason)
      else
        main:cancel(reason)
      end
    end)
    table.insert(stops, stop) -- none where the signal is ignored
  end
  return function()
    for _, stop in ipairs(stops) do
      stop()
    end
    return exit_code
  end
end

return M
