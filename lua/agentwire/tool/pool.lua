--- Tools that peers have registered: a tool source on the side that is dialled.
--- A tool goes when its peer takes it back or its connection ends. A name
--- belongs to who registered it first, until it is free again.

local authorized = require("agentwire.tool._authorized")
local class = require("agentwire._class")
local clock = require("agentwire._clock")
local identity = require("agentwire._identity")
local options_of = require("agentwire._options")
local protocol = require("agentwire.tool.protocol")
local shares = require("agentwire._shares")
local sources = require("agentwire.tool._source")

local M = {}

-- Registered tools of all peers together.
local MAX_TOOLS = 1024

local OPTIONS = options_of.spec("tool.pool", {
  max_tools = options_of.count,
  authorize = options_of.func,
})

-- What a call says whose scope is no more.
local GONE = { closed = true, ended = true, lost = true }

---@class agentwire.ToolPool
local Pool = {}
Pool.__index = Pool

---@class agentwire.ToolPoolOptions
---@field max_tools integer? tools of all peers together, 1024
---@field authorize (fun(connection: agentwire.Connection, tool: table): any, string?)|nil
--- whether a peer may register this tool, by its metadata; may wait. Everybody
--- may register any name that is free, when there is none

---@param options? agentwire.ToolPoolOptions
---@return agentwire.ToolPool
function M.new(options)
  options = OPTIONS:check(options)
  return setmetatable({
    _by_name = {}, -- name -> entries of one owner, the newest last
    _names = {},
    _count = 0,
    _serial = 0,
    _max_tools = options.max_tools or MAX_TOOLS,
    _authorize = options.authorize,
  }, Pool)
end

local function remove_where(self, matches)
  local removed = 0
  for at = #self._names, 1, -1 do
    local name = self._names[at]
    local entries = self._by_name[name]
    for index = #entries, 1, -1 do
      if matches(entries[index]) then
        table.remove(entries, index).release()
        removed = removed + 1
      end
    end
    if #entries == 0 then
      self._by_name[name] = nil
      table.remove(self._names, at)
    end
  end
  self._count = self._count - removed
  return removed
end

local RESTARTED = "the tool's server was started again"

local function owner_of(connection)
  return identity.proven(connection) or connection
end

local function is_gone(entry)
  return not entry.calls:connection():is_open()
end

--- Whether what registers now may stand for what registered an entry. Peers
--- without an identity cannot prove that they are the same, so that none of
--- them may while the other's link stands.
local function may_succeed(new, entry)
  return entry.owner == new.owner
    or entry.owner == entry.calls:connection() and is_gone(entry)
end

--- Whether an entry is of the life before this one of the server that
--- registers. Servers with a name are told apart by it. Of others it is only
--- known that they have a tool of one name: the older one counts as gone if it
--- has no link.
local function is_predecessor(entry, new)
  if entry.calls:connection() == new.calls:connection()
    or not may_succeed(new, entry) then
    return false
  elseif new.server_name or entry.server_name then
    return entry.server_name == new.server_name
      and (new.instance == nil or entry.instance ~= new.instance)
  end
  return entry.metadata.name == new.metadata.name and is_gone(entry)
end

--- Ends the calls that a registering server still owes from before. One without
--- a name may yet come back, to its own identity.
local function end_predecessors(self, new)
  local over, alike = {}, {}
  for _, name in ipairs(self._names) do
    for _, entry in ipairs(self._by_name[name]) do
      if is_predecessor(entry, new) then
        local certain = new.server_name or entry.owner ~= new.owner;
        (certain and over or alike)[entry.calls] = true
      end
    end
  end
  for calls in pairs(over) do
    calls:give_up(nil, RESTARTED, "restarted")
    self:remove_all(calls)
  end
  for calls in pairs(alike) do
    calls:give_up(new.metadata.name, RESTARTED, "restarted")
  end
end

--- Whether the name is free for the one that registers; what its scope had of
--- this name gives way.
local function clear_name(self, new)
  local name = new.metadata.name
  for _, entry in ipairs(self._by_name[name] or {}) do
    if entry.owner ~= new.owner then
      return false
    end
  end
  remove_where(self, function(entry)
    return entry.metadata.name == name and entry.calls == new.calls
  end)
  return true
end

local function insert(self, entry)
  local name = entry.metadata.name
  self._serial = self._serial + 1
  self._count = self._count + 1
  entry.id = ("%s#%d"):format(name, self._serial)
  local entries = self._by_name[name]
  if not entries then
    entries = {}
    self._by_name[name] = entries
    self._names[#self._names + 1] = name
  end
  entries[#entries + 1] = entry
end

--- A place in the pool for an entry.
local function take_place(self, new)
  local connection = new.calls:connection()
  end_predecessors(self, new)
  if not clear_name(self, new) then
    return nil, "the name is taken: " .. new.metadata.name, "permission_denied"
  elseif self._count >= self._max_tools then
    return nil, ("%d tools are registered, all that max_tools allows")
      :format(self._count), "rate_limited"
  end
  local why, code
  new.release, why, code = shares.take(connection, "tools")
  if not new.release then
    return nil, why, code
  end
  return true
end

--- Takes a tool in. A name that somebody else has is refused. Its owner
--- overlays it: a tool server that reconnects registers while its old link may
--- still look alive.
---@async
---@param tool table metadata
---@param calls agentwire.ToolCalls the scope it came from
---@param from? table {server_name, instance} of the server's life
---@return table|nil registered {tool_id, registered_at}
---@return string? message
---@return string? code
function Pool:add(tool, calls, from)
  local ok, why, code = protocol.check_metadata(tool)
  if not ok then
    return nil, "tool." .. why, code
  end
  ok, why = authorized.ask(self._authorize, calls:connection(), tool)
  if not ok then
    return nil, why or "you may not register " .. tool.name,
      "permission_denied"
  end
  local entry = {
    id = nil,
    metadata = tool,
    calls = calls,
    owner = owner_of(calls:connection()),
    server_name = from and from.server_name,
    instance = from and from.instance,
    release = nil,
  }
  ok, why, code = take_place(self, entry)
  if not ok then
    return nil, why, code
  end
  insert(self, entry)
  return { tool_id = entry.id, registered_at = clock.now_ms() }
end

--- Takes a tool out; only the scope that registered it may.
---@param tool_id string
---@param calls agentwire.ToolCalls
---@return boolean removed
function Pool:remove(tool_id, calls)
  return remove_where(self, function(entry)
    return entry.id == tool_id and entry.calls == calls
  end) > 0
end

--- Takes out all tools of a scope.
---@param calls agentwire.ToolCalls
function Pool:remove_all(calls)
  remove_where(self, function(entry)
    return entry.calls == calls
  end)
end

---@param prefix? string
---@return table[] metadata
function Pool:list(prefix)
  local list = {}
  for _, name in ipairs(self._names) do
    if not prefix or name:sub(1, #prefix) == prefix then
      local entries = self._by_name[name]
      list[#list + 1] = entries[#entries].metadata
    end
  end
  return list
end

--- The entry of the newest server whose link stands, else of the newest.
local function choose(entries)
  for index = #entries, 1, -1 do
    if entries[index].calls:connection():is_open() then
      return entries[index]
    end
  end
  return entries[#entries]
end

--- Runs a tool at the peer that registered it last.
---@async
---@param call agentwire.ToolCall
---@return agentwire.ToolResult|nil result
---@return string? message
---@return string? code
function Pool:execute(call)
  sources.check_call("pool:execute", call)
  local entries = self._by_name[call.name]
  if not entries then
    return nil, "no such tool: " .. tostring(call.name), "tool_not_found"
  end
  local result, why, code = choose(entries).calls:execute(call)
  if GONE[code] then
    return nil, "the tool's server has left: " .. why, "tool_unavailable"
  end
  return result, why, code
end

class.seal(Pool, "pool")

return M
