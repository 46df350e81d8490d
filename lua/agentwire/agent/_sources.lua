--- The tool sources of a loop, asked for their lists at the same time. One that
--- fails or is silent decides about its own tools alone: the list it gave last
--- stands in for it.

local host = require("agentwire.host")
local log = require("agentwire.log")
local problems = require("agentwire._problem")
local task = require("agentwire.task")

local M = {}

-- How long a source may take to list its tools.
local TIMEOUT_MS = 5000

-- And one that did not answer the last time: a question to the model does not
-- wait for what is probably still away.
local PATIENCE_MS = 250

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

--- What became of a question: a list, or why there is none.
local function answer_of(asked, waited_ms)
  if not asked:is_done() then
    asked:cancel("took too long to list its tools")
    return nil, ("it gave no list within %.0f ms"):format(waited_ms), "timeout"
  end
  local list, why, code, raised = asked:join()
  if code == "task_error" then
    return nil, problems.brief(raised), "internal_error"
  end
  return list, why, code
end

local function note(entry, list, why, code, on_change)
  local was_out = entry.out ~= nil
  if list then
    entry.list, entry.out = list, nil
  else
    entry.out = { message = why, code = code }
  end
  if was_out == (entry.out ~= nil) then
    return
  end
  local event = {
    type = list and "tool_source_back" or "tool_source_out",
    source = entry.name, message = why, code = code,
  }
  if entry.out then
    log.write("warn", "tool_source_out", ("%s is out: %s (%s)"):format(
      entry.name, why, code), { source = entry.name, code = code })
  end
  if on_change then
    on_change(event)
  end
end

local function join_those(asked, entries, out)
  for index, each in ipairs(asked) do
    if (entries[index].out ~= nil) == out then
      each:join()
    end
  end
end

--- The tools of all sources; of two with one name the earlier source's counts.
---@async
---@param on_change? fun(event: table) told of a source that went or came back
---@return table[] tools metadata
---@return table routes source by tool name
function Sources:list(on_change)
  local entries, asked, waits = self._entries, {}, {}
  for index, entry in ipairs(entries) do
    asked[index] = task.spawn(ask, entry)
    waits[index] = entry.out and PATIENCE_MS or self._timeout_ms
  end
  local clock = host.current()
  local start = clock:now()
  task.timeout(self._timeout_ms, join_those, asked, entries, false)
  local left = PATIENCE_MS - (clock:now() - start)
  if left > 0 then
    task.timeout(left, join_those, asked, entries, true)
  end
  local tools, routes = {}, {}
  for index, entry in ipairs(entries) do
    local list, why, code = answer_of(asked[index], waits[index])
    note(entry, list, why, code, on_change)
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
