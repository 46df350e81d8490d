---The host of this Lua state: who owns the clock and the sockets.
local host = {}

-- The one piece of state there is.
local state = { current = nil }

---This version knows one host; where others apply is decided here.
local function choose()
  return require("agentwire.host.standalone").new()
end

---The current host, made when first asked for.
---@return table
function host.current()
  local current = state.current
  if not current or current._closed then
    current = choose()
    state.current = current
  end
  return current
end

---Replaces the current host. The old one is not closed.
---@param new table? nil: choose again when next asked
---@return table? old
function host.use(new)
  local old = state.current
  state.current = new
  return old
end

---Runs `fn(...)` as the main task of the current host.
---@param fn function
---@return any ... its results; what it raises is raised
function host.run(fn, ...)
  if type(fn) ~= "function" then
    error("a function is expected", 2)
  end
  return host.current():run(fn, ...)
end

return host
