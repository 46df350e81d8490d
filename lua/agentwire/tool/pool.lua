--- Tools that peers have registered: a tool source on the side that is dialled.
--- A tool goes when its peer takes it back or its connection ends.

local clock = require("agentwire._clock")
local options_of = require("agentwire._options")
local protocol = require("agentwire.tool.protocol")

local M = {}

-- Registered tools of all peers together.
local MAX_TOOLS = 1024

local OPTIONS = options_of.spec("tool.pool", { max_tools = options_of.count })

-- What a call says whose scope is no more.
local GONE = { closed = true, ended = true, lost = true }

---@class agentwire.ToolPool
local Pool = {}
Pool.__index = Pool

---@class agentwire.ToolPoolOptions
---@field max_tools integer? tools of all peers together, 1024

---@param options? agentwire.ToolPoolOptions
---@return agentwire.ToolPool
function M.new(options)
  options = OPTIONS:check(options)
  return setmetatable({
    _by_name = {}, -- name -> entries, the newest last
    _names = {},
    _count = 0,
    _serial = 0,
    _max_tools = options.max_tools or MAX_TOOLS,
  }, Pool)
end

--- Takes a tool in. A name that is there already is overlaid, not refused: a
--- tool server that reconnects registers while its old link may still look
--- alive.
---@param tool table metadata
---@param calls agentwire.ToolCalls the scope it came from
---@return table|nil registered {tool_id, registered_at}
---@return string? message
---@return string? code
function Pool:add(tool, calls)
  local ok, why, code = protocol.check_metadata(tool)
  if not ok then
    return nil, "tool." .. why, code
  elseif self._count >= self._max_tools then
    return nil, ("%d tools are registered"):format(self._count), "rate_limited"
  end
  self._serial = self._serial + 1
  self._count = self._count + 1
  local entry = {
    id = ("%s#%d"):format(tool.name, self._serial),
    metadata = tool,
    calls = calls,
  }
  local entries = self._by_name[tool.name]
  if not entries then
    entries = {}
    self._by_name[tool.name] = entries
    self._names[#self._names + 1] = tool.name
  end
  entries[#entries + 1] = entry
  return { tool_id = entry.id, registered_at = clock.now_ms() }
end

local function remove_where(self, matches)
  local removed = 0
  for at = #self._names, 1, -1 do
    local name = self._names[at]
    local entries = self._by_name[name]
    for index = #entries, 1, -1 do
      if matches(entries[index]) then
        table.remove(entries, index)
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

--- Runs a tool at the peer that registered it last.
---@async
---@param call agentwire.ToolCall
---@return agentwire.ToolResult|nil result
---@return string? message
---@return string? code
function Pool:execute(call)
  local entries = self._by_name[call.name]
  if not entries then
    return nil, "no such tool: " .. tostring(call.name), "tool_not_found"
  end
  local result, why, code = entries[#entries].calls:execute(call)
  if GONE[code] then
    return nil, "the tool's server has left: " .. why, "tool_unavailable"
  end
  return result, why, code
end

return M
