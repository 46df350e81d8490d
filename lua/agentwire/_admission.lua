--- The requests that a server decides on, each in a task of its own where a
--- hook is asked. `server` hands it what the hub has, `access` says who may
--- come in. A decision ends with whoever waits for it, and only so many are
--- under way: further requests wait in the core, no longer than their
--- handshake.
local identity = require("agentwire._identity")
local log = require("agentwire.log")
local task = require("agentwire.task")
local wait = require("agentwire._wait")

local M = {}

-- Decisions under way at once.
local MAX = 256

---@class agentwire.Admission
local Admission = {}
Admission.__index = Admission

---@param hub userdata
---@param host agentwire.Host
---@param admit fun(request: table): any, table? agentwire.access
---@param options table `authenticate` (then decisions may wait),
--- `authenticating_max`
---@return agentwire.Admission
function M.new(hub, host, admit, options)
  return setmetatable({
    _hub = hub,
    _host = host,
    _admit = admit,
    _waits = options.authenticate ~= nil,
    _max = options.authenticating_max or MAX,
    _asking = {}, -- upgrade -> task
    _count = 0,
    _keeper = nil,
  }, Admission)
end

local function describe(upgrade)
  local request = upgrade:describe()
  if not request then
    return nil
  end
  request.headers = {}
  for _, field in ipairs(request.fields) do
    local name, value = field[1]:lower(), field[2]
    local before = request.headers[name]
    request.headers[name] = before and before .. ", " .. value or value
  end
  request.fields = nil
  request.path, request.query = request.target:match("^([^?]*)%??(.*)$")
  return request
end

local function accept(self, upgrade, request, allowed)
  local who, problem = identity.read(allowed, request.tls_subject)
  local text
  if who then
    text, problem = identity.encode(who)
  end
  if problem then
    self._host:report(problem, "authenticate")
    return upgrade:refuse(500, "authentication failed")
  end
  return upgrade:accept(who and who.id, text)
end

local function refuse(upgrade, request, why)
  local status = why and why.status or 401
  log.write("debug", "refused", ("a request from %s is refused with %d")
    :format(request.peer, status), { peer = request.peer, status = status })
  upgrade:refuse(status, why and why.message or "unauthenticated")
end

--- A hook that raises refuses.
local function decide(self, upgrade)
  local request = describe(upgrade)
  if not request then
    return
  end
  local ok, allowed, why = pcall(self._admit, request)
  if not ok and task.is_cancelled(allowed) then
    error(allowed, 0)
  elseif not ok then
    self._host:report(wait.error_text(allowed), "authenticate")
    upgrade:refuse(500, "authentication failed")
  elseif allowed then
    accept(self, upgrade, request, allowed)
  else
    refuse(upgrade, request, why)
  end
end

--- Decides on what waits, as far as there is room.
---@param keeper agentwire.Task the server's; decisions end with it
function Admission:take(keeper)
  self._keeper = keeper
  while self._count < self._max do
    local upgrade = self._hub:request()
    if not upgrade then
      return
    elseif self._waits then
      self:_ask(upgrade)
    else
      decide(self, upgrade)
      upgrade:close()
    end
  end
end

function Admission:_ask(upgrade)
  self._count = self._count + 1
  local decision = self._host:spawn_under(self._keeper, decide, self,
    upgrade)
  self._asking[upgrade] = decision
  decision:defer(function()
    self._asking[upgrade] = nil
    self._count = self._count - 1
    upgrade:close()
    self:take(self._keeper)
  end)
end

--- Ends the decisions for which nobody waits any more.
function Admission:withdraw()
  for upgrade, decision in pairs(self._asking) do
    if not upgrade:waits() then
      decision:cancel("the client no longer waits")
    end
  end
end

---@return integer decisions under way
function Admission:count()
  return self._count
end

return M
