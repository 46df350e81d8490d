-- What a process holds, as numbers: to be the same after something as before.
local host = require("agentwire.host")
local task = require("agentwire.task")

local M = {}

local function count(list)
  local n = 0
  for _ in pairs(list) do
    n = n + 1
  end
  return n
end

--- How many descriptors are open. What they are of is not opened anew: a named
--- pipe would wait for its other end.
function M.descriptors()
  local open = 0
  for fd = 0, 255 do
    local file = io.open("/proc/self/fdinfo/" .. fd)
    if file then
      open = open + 1
      file:close()
    end
  end
  return open
end

--- References of C in the registry; their free places are chained by numbers.
function M.registry()
  local entries = 0
  for key, value in pairs(debug.getregistry()) do
    if type(key) == "number" and type(value) ~= "number" then
      entries = entries + 1
    end
  end
  return entries
end

--- Resident kilobytes of this process.
function M.resident_kb()
  local file = io.open("/proc/self/status")
  local text = file and file:read("*a") or ""
  if file then
    file:close()
  end
  return tonumber(text:match("VmRSS:%s*(%d+)")) or 0
end

--- What hangs on a host, and on connections and servers of it.
---@param parts {conns: table?, servers: table?, pool: table?, runs: table?, services: table?}
function M.take(parts)
  local current = host.current()
  local numbers = {
    tasks = current:live_tasks(),
    watched = count(current._handlers or {}),
    descriptors = M.descriptors(),
    registry = M.registry(),
  }
  for index, conn in ipairs(parts.conns or {}) do
    local name = "connection " .. index .. " "
    numbers[name .. "scopes"] = conn:stats().open_scopes
    numbers[name .. "channels"] = count(conn._cores)
    numbers[name .. "questions"] = count(conn._questions) + count(conn._pings)
    numbers[name .. "listeners"] = conn._state_listeners:count()
    numbers[name .. "streams"] = conn:provider():stats().active
    numbers[name .. "sessions"] = conn:agent():stats().known
      - conn:agent():stats().ended
  end
  for index, server in ipairs(parts.servers or {}) do
    numbers["server " .. index .. " connections"] = server:count()
  end
  if parts.pool then
    numbers["tools of peers"] = #parts.pool:list()
  end
  for index, service in ipairs(parts.services or {}) do
    numbers["service " .. index .. " sessions"] = count(service._sessions)
  end
  return numbers
end

local function differences(before, after)
  local found = {}
  for name, number in pairs(after) do
    if number > (before[name] or 0) then
      table.insert(found, ("%s: %d, was %d"):format(name, number,
        before[name] or 0))
    end
  end
  table.sort(found)
  return table.concat(found, "\n")
end

--- Waits until nothing has grown since `before`; what has, when the time is up.
---@return string difference "" for none
function M.settled(before, parts, timeout_ms)
  local deadline = host.current():now() + (timeout_ms or 20000)
  local difference
  repeat
    collectgarbage()
    collectgarbage()
    task.sleep(2)
    difference = differences(before, M.take(parts))
  until difference == "" or host.current():now() > deadline
  return difference
end

return M
