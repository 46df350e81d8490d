--- The tool sources of a loop, asked for their lists at the same time. One that
--- fails or is silent decides about its own tools alone: the list it gave last
--- stands in for it.

local log = require("agentwire.log")
local survey = require("agentwire._survey")

local M = {}

-- How long a source may take to list its tools.
local TIMEOUT_MS = 5000

---@class agentwire.AgentSources
local Sources = {}
Sources.__index = Sources

---@param tools table|nil
---@return table[]
function M.list_of(tools)
  if tools == nil then
    return {}
  elseif type(tools.execute) == "function" then
    return { tools }
  end
  return tools
end

---@param tools table|nil a tool source or a list of them
---@param timeout_ms number?
---@return agentwire.AgentSources
function M.new(tools, timeout_ms)
  local entries = {}
  for index, source in ipairs(M.list_of(tools)) do
    local name = source.name
    entries[index] = {
      source = source,
      name = type(name) == "string" and name
        or ("tool source %d"):format(index),
      list = {}, -- the last one known
      out = nil, -- why it is not there
    }
  end
  return setmetatable({
    _entries = entries,
    _timeout_ms = timeout_ms or TIMEOUT_MS,
  }, Sources)
end

--- What a source lists that can be offered.
local function read_list(list)
  local tools = {}
  for _, tool in ipairs(list) do
    if type(tool) == "table" and type(tool.name) == "string"
      and tool.name ~= "" then
      tools[#tools + 1] = tool
    end
  end
  return tools
end

local function ask(entry)
  local list, why, code = entry.source:list()
  if type(list) == "table" then
    return read_list(list)
  end
  return nil, type(why) == "string" and why or "it returned no list",
    type(code) == "string" and code or "internal_error"
end

local function note(entry, list, why, code, on_change)
  if list then
    entry.list = list
  end
  if (entry.out == nil) == (list ~= nil) then
    return
  end
  local event = {
    type = list and "tool_source_back" or "tool_source_out",
    source = entry.name, message = why, code = code,
  }
  if not list then
    log.write("warn", "tool_source_out", ("%s is out: %s (%s)"):format(
      entry.name, why, code), { source = entry.name, code = code })
  end
  if on_change then
    on_change(event)
  end
end

--- The tools of all sources; of two with one name the earlier source's counts.
---@async
---@param on_change? fun(event: table) told of a source that went or came back
---@return table[] tools metadata
---@return table routes source by tool name
function Sources:list(on_change)
  survey.ask(self._entries, ask, self._timeout_ms,
    function(entry, list, why, code)
      note(entry, list, why, code, on_change)
    end)
  local tools, routes = {}, {}
  for _, entry in ipairs(self._entries) do
    for _, tool in ipairs(entry.list) do
      if not routes[tool.name] then
        routes[tool.name] = entry.source
        tools[#tools + 1] = tool
      end
    end
  end
  return tools, routes
end

return M
