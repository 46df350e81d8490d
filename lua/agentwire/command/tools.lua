--- `agentwire tools`: what may be called at the other end.
local json = require("agentwire.json")
local peer = require("agentwire.command._peer")

local M = {
  summary = "List the tools of a server",
  takes = { "URL" },
  options = peer.with {
    { "--agent", "those that its agent has, in place of those that it serves" },
    { "--json", "one JSON list, with the schemas of their arguments" },
  },
}

local function list_of_agent(conn)
  local session, message, code = conn:agent():start {}
  if not session then
    return nil, message, code
  end
  local tools
  tools, message, code = session:tools()
  session:stop(nil, 5000)
  return tools, message, code
end

-- "path, [line]": names of the arguments, those in brackets may be left out.
local function arguments_of(tool)
  local schema = json.decode(tool.parameters_schema_json or "{}")
  local required, names = {}, {}
  for _, name in ipairs(type(schema) == "table" and schema.required or {}) do
    required[name] = true
  end
  for name in pairs(type(schema) == "table" and schema.properties or {}) do
    names[#names + 1] = required[name] and name or "[" .. name .. "]"
  end
  table.sort(names, function(a, b)
    local first, second = a:sub(1, 1) == "[", b:sub(1, 1) == "["
    if first ~= second then
      return second
    end
    return a < b
  end)
  return table.concat(names, ", ")
end

function M.run(given, screen)
  local conn, message, code = peer.connect(given, screen)
  if not conn then
    return nil, message, code
  end
  local tools
  if given.agent then
    tools, message, code = list_of_agent(conn)
  else
    tools, message, code = conn:tool():list()
  end
  conn:close()
  if not tools then
    local hint = not given.agent and message:find("no tool is served", 1, true)
    return nil, hint and message .. "; --agent lists what its agent has"
      or message, code
  elseif screen.json then
    screen:value(json.array(tools))
    return true
  end
  local rows = {}
  for index, tool in ipairs(tools) do
    rows[index] = { tool.name, arguments_of(tool), tool.description or "" }
  end
  screen:rows(rows)
  if #rows == 0 then
    screen:tell("tools: there are none")
  end
  return true
end

return M
