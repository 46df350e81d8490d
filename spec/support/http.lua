-- A server of requests that are no upgrades, on the core alone, and clients for
-- it: curl, and bare sockets.
local aw = require("agentwire")
local events_of = require("agentwire._events")
local host = require("agentwire.host")
local process = require("spec.support.process")
local task = require("agentwire.task")

local M = {}

--- What is wrong with the machine, or nil.
function M.missing(command)
  if process.shell("command -v " .. command) == "" then
    return command .. " is not here"
  end
end

---@class spec.Exchange
---@field core userdata
local Exchange = {}
Exchange.__index = Exchange

local function wrap(core, current)
  local self = setmetatable({
    core = core,
    head = core:describe(),
    news = task.signal(),
    events = {}, -- that it has had
  }, Exchange)
  current:watch(core:handle(), function(_, events)
    for name, bit in pairs(events_of.exchange) do
      self.events[name] = self.events[name] or events_of.has(events, bit)
    end
    self.news:wake_all()
  end)
  return self
end

--- The next bytes, "" at the end.
function Exchange:read()
  while true do
    local bytes, message, code = self.core:read()
    if bytes or code then
      return bytes, message, code
    end
    assert(self.news:wait(10000))
  end
end

function Exchange:read_all()
  local parts = {}
  while true do
    local bytes, message, code = self:read()
    if not bytes then
      return nil, message, code
    elseif bytes == "" then
      return table.concat(parts)
    end
    table.insert(parts, bytes)
  end
end

function Exchange:write(bytes)
  while true do
    local room, message, code = self.core:write(bytes)
    if code ~= "would_block" then
      return room, message, code
    end
    self.blocked = true
    assert(self.news:wait(10000))
  end
end

--- Why it is over.
function Exchange:over()
  while not self.core:reason() do
    assert(self.news:wait(10000))
  end
  return self.core:reason()
end

function Exchange:close()
  self.core:close()
end

--- Listens on loopback; each exchange is given to `handler` in a task.
---@param options table as of hub:listen
---@param handler fun(x: spec.Exchange)
function M.serve(options, handler)
  local current = host.current()
  local hub = current:loop():hub()
  options.url, options.exchanges = "ws://127.0.0.1:0", true
  local server = { hub = hub, port = assert(hub:listen(options)), tasks = {} }
  server.url = ("http://127.0.0.1:%d/"):format(server.port)
  current:watch(hub:handle(), function(_, events)
    if events_of.has(events, events_of.hub.EXCHANGE) then
      local core = hub:exchange()
      while core do
        local x = wrap(core, current)
        table.insert(server.tasks, current:spawn(function()
          local ok, problem = pcall(handler, x)
          server.problem = server.problem or not ok and problem
        end))
        core = hub:exchange()
      end
    end
  end)
  --- Raises what a handler has raised.
  function server:close()
    if self.problem then
      error(self.problem, 0)
    end
    for _, one in ipairs(self.tasks) do
      one:cancel("the spec is over")
    end
    current:unwatch(hub:handle())
    hub:close()
  end
  return server
end

local function collect(lines)
  local all = {}
  for line in lines:each() do
    table.insert(all, (line:gsub("\r$", "")))
  end
  return table.concat(all, "\n")
end

--- Starts curl; its lines come as they are printed.
function M.start_curl(...)
  return assert(aw.lines.spawn {
    argv = { "curl", "-sS", "-N", "--max-time", "20", ... },
  })
end

--- What curl prints, and its status.
function M.curl(...)
  local lines = M.start_curl(...)
  local text = collect(lines)
  assert(lines:wait_closed(20000))
  return text, select(3, lines:reason())
end

--- A bare socket: says `text`, and nothing more; its lines are what comes.
function M.start_raw(port, text)
  return assert(aw.lines.spawn {
    argv = { "bash", "-c", ("exec 3<>/dev/tcp/127.0.0.1/%d; printf %%b \"$1\" >&3; "
      .. "exec timeout 10 cat <&3"):format(port), "raw",
      (text:gsub("\r", "\\r"):gsub("\n", "\\n")) },
  })
end

--- All that comes until the connection ends.
function M.raw(port, text)
  local lines = M.start_raw(port, text)
  local answer = collect(lines)
  assert(lines:wait_closed(20000))
  return answer
end

return M
