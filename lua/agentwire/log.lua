--- What the library has to say to whoever runs it: one hook, with levels.
---
--- An entry is `{ level = "warn", event = "reconnecting", message = "…", … }`;
--- its other members belong to the event (docs/log.md lists them). Secrets are
--- never in it. Without a hook, a terminal on stderr gets a short line for each
--- of "info" and above, and a pipe gets nothing but what failed ("error").
local class = require("agentwire._class")
local misuse = require("agentwire._misuse")

local M = {}

local RANK = { debug = 1, info = 2, warn = 3, error = 4, off = 5 }
local LEVELS = { "debug", "info", "warn", "error", "off" }

-- The whole state: one hook for a Lua state, as there is one host.
local state = { hook = nil, level = nil, tty = nil }

local function is_terminal()
  if state.tty == nil then
    state.tty = require("agentwire.core").is_terminal(2)
  end
  return state.tty
end

local function least()
  return RANK[state.level or (state.hook or is_terminal()) and "info" or "error"]
end

local function rank_of(title, level)
  return RANK[level] or misuse.raise("log.%s: expected one of %s", title,
    table.concat(LEVELS, ", "))
end

--- Whether an entry of this level would reach anybody; for callers whose entry
--- is dear to make.
---@param level "debug"|"info"|"warn"|"error"
---@return boolean
function M.wants(level)
  return rank_of("wants", level) >= least()
end

local function write_line(entry)
  io.stderr:write("agentwire: ", entry.message, "\n")
end

--- Tells the hook, or the terminal.
---@param level "debug"|"info"|"warn"|"error"
---@param event string what happened, as a stable word
---@param message string one line for people
---@param fields table? further members of the entry; becomes the entry
function M.write(level, event, message, fields)
  if rank_of("write", level) < least() then
    return
  end
  local entry = fields or {}
  entry.level, entry.event, entry.message = level, event, message
  local hook = state.hook
  if hook then
    local ok, why = pcall(hook, entry)
    if ok then
      return
    end
    io.stderr:write("agentwire: the log hook failed: ", tostring(why), "\n")
  end
  write_line(entry)
end

--- Sets the hook. It must not wait, and must not be afraid of being called in
--- the middle of anything.
---@param hook (fun(entry: agentwire.LogEntry))|nil nil: back to the default
function M.set(hook)
  if hook ~= nil and type(hook) ~= "function" then
    misuse.raise("log.set: expected a function, got %s", misuse.describe(hook))
  end
  state.hook = hook
end

--- Sets the lowest level that is told; nil is the default of the page.
---@param level "debug"|"info"|"warn"|"error"|"off"|nil
function M.set_level(level)
  if level ~= nil then
    rank_of("set_level", level)
  end
  state.level = level
end

---@class agentwire.LogEntry
---@field level "debug"|"info"|"warn"|"error"
---@field event string
---@field message string

return class.module(M, "aw.log")
