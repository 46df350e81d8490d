--- What the scripted provider understands of a conversation: the question, the
--- names in it, the tools on offer and what they have said so far. Pure.
local facts = require("agentwire.providers._scripted_facts")
local json = require("agentwire.json")
local protocol = require("agentwire.provider.protocol")

local M = {}

-- A tool's role is told by its name, most telling first.
local ROLES = {
  { "search", { "search", "grep", "find" } },
  { "info", { "count", "info", "stat", "wc", "size", "lines", "measure" } },
  { "list", { "list", "ls", "dir", "tree", "glob" } },
  { "read", { "read", "cat", "open", "view", "show", "load", "get" } },
}

-- Whatever else its name says, such a tool is not for looking.
local CHANGING = {
  "write", "delete", "remove", "rm", "create", "move", "rename", "edit",
  "append", "update", "set", "put", "exec", "execute", "run", "send", "kill",
}

local PATH_KEYS = { "path", "file", "filename", "file_path", "name", "uri" }
local FOLDER_KEYS = { "path", "dir", "directory", "folder", "root" }
local TERM_KEYS = {
  "pattern", "query", "text", "term", "needle", "regex", "keyword", "q",
}

local function schema_of(tool)
  local schema = tool.parameters_schema_json
  if type(schema) == "string" then
    schema = json.decode(schema)
  end
  return type(schema) == "table" and schema or {}
end

local function takes_text(property)
  return type(property) == "table"
    and (property.type == nil or property.type == "string")
end

-- By name, else the first in the alphabet that has such a name in its own.
local function pick(properties, keys)
  for _, key in ipairs(keys) do
    if takes_text(properties[key]) then
      return key
    end
  end
  local found
  for _, key in ipairs(keys) do
    for name, property in pairs(properties) do
      if #key > 3 and name:lower():find(key, 1, true) and takes_text(property)
        and (not found or name < found) then
        found = name
      end
    end
  end
  return found
end

-- Only a tool whose required arguments can all be given is of use.
local function is_callable(schema, given)
  for _, name in ipairs(schema.required or {}) do
    if not given[name] then
      return false
    end
  end
  return true
end

-- Whole words of the name first: `list_files` is a list, whatever `file` is.
local function has_word(name, word)
  local words = name:gsub("(%l)(%u)", "%1 %2"):lower():gsub("[^a-z0-9]+", " ")
  return (" " .. words .. " "):find(" " .. word .. " ", 1, true) ~= nil
end

local function role_of(tool)
  for _, word in ipairs(CHANGING) do
    if has_word(tool.name, word) then
      return nil
    end
  end
  for _, role in ipairs(ROLES) do
    for _, word in ipairs(role[2]) do
      if has_word(tool.name, word) then
        return role[1]
      end
    end
  end
  return nil
end

local function describe_tool(tool, role)
  local schema = schema_of(tool)
  local properties = type(schema.properties) == "table" and schema.properties
    or {}
  local known = { name = tool.name, role = role }
  if role == "search" then
    known.term_key = pick(properties, TERM_KEYS)
    known.folder_key = pick(properties, FOLDER_KEYS)
  elseif role == "list" then
    known.folder_key = pick(properties, FOLDER_KEYS)
  else
    known.path_key = pick(properties, PATH_KEYS)
  end
  local given = {}
  for _, key in pairs { known.term_key, known.folder_key, known.path_key } do
    given[key] = true
  end
  if role == "search" and not known.term_key
    or (role == "read" or role == "info") and not known.path_key
    or not is_callable(schema, given) then
    return nil
  end
  return known
end

--- The offered tools by role; the first of a role wins.
---@param tools table[]|nil
---@return table<string, table> by_role
---@return table<string, table> by_name
function M.tools(tools)
  local by_role, by_name = {}, {}
  for _, tool in ipairs(tools or {}) do
    local role = role_of(tool)
    local known = role and describe_tool(tool, role)
    if known then
      by_name[tool.name] = known
      by_role[role] = by_role[role] or known
    end
  end
  return by_role, by_name
end

-- "5.4" and "e.g." look like files and are none.
local function is_file_name(word)
  local stem, extension = word:match("^(.*)%.(%w+)$")
  return stem ~= nil and extension:find("%a") ~= nil and #extension <= 8
    and (stem == "" and #extension > 2 or stem:find("%w%w") ~= nil
      or stem:find("%w/?$") ~= nil and #extension > 1)
end

local function add_once(list, value)
  for _, known in ipairs(list) do
    if known == value then
      return
    end
  end
  list[#list + 1] = value
end

--- File names in a text, in order.
---@param text string
---@return string[]
function M.files(text)
  local files = {}
  for word in text:gmatch("[%w_%-%./\128-\255]+") do
    word = word:gsub("[%.%-]+$", "")
    if is_file_name(word) then
      add_once(files, word)
    end
  end
  return files
end

local STEMS = { readme = true, license = true, changelog = true,
  makefile = true, todo = true, notice = true }

-- Names without an extension ("the README") that a listing may resolve.
local function stems(text)
  local found = {}
  for word in text:gmatch("[%a_]+") do
    local is_shouted = #word >= 4 and word == word:upper()
    if STEMS[word:lower()] or is_shouted then
      add_once(found, word:lower())
    end
  end
  return found
end

local function quoted(text)
  return text:match('"([^"]+)"') or text:match("`([^`]+)`")
    or text:match("\226\128\156(.-)\226\128\157") or text:match("%s'([^']+)'")
end

-- What precedes and follows a term that stands without quotes.
local TERMS = {
  "where%s+is%s+(.-)%s+%a+ed%f[%A]", "where%s+are%s+(.-)%s+%a+ed%f[%A]",
  "where%s+does%s+(.-)%s+[ao][pc]%a+", "where%s+do%s+(.-)%s+[ao][pc]%a+",
  "search%s+for%s+(.+)", "look%s+for%s+(.+)", "grep%s+for%s+(.+)",
  "grep%s+(.+)", "search%s+(.+)", "occurrences?%s+of%s+(.+)",
  "mentions?%s+of%s+(.+)", "mentions?%s+(.+)", "contains?%s+(.+)",
  "who%s+uses%s+(.+)", "find%s+(.+)", "where%s+is%s+(.+)",
  "where%s+are%s+(.+)",
}

local function clean_term(term)
  term = term:gsub("[%?%!%.,;:]+%s*$", ""):gsub("%s+in%s+[^%s]+.*$", "")
  term = term:gsub("^the%s+word%s+", ""):gsub("^the%s+", "")
  term = term:match("^%s*(.-)%s*$")
  return term ~= "" and #term <= 80 and term or nil
end

-- The term keeps the case in which it was asked for.
local function search_term(text)
  local lower = text:lower()
  local is_search = false
  for _, pattern in ipairs(TERMS) do
    local from = lower:find(pattern)
    if from then
      is_search = true
      local _, _, term = lower:find(pattern)
      local at = lower:find(term, from, true)
      local found = quoted(text) or clean_term(text:sub(at, at + #term - 1))
      if found then
        return found
      end
    end
  end
  return is_search and quoted(text) or nil
end

local function folder_of(text)
  local folder = (text .. " "):match("([%w_%-%.][%w_%-%./]*)/[%s%?%.,!]")
    or text:match("[Ff]older%s+`?([%w_%-%./]+)")
    or text:match("[Dd]irectory%s+`?([%w_%-%./]+)")
    or text:match("([%w_%-%./]+)%s+folder")
    or text:match("([%w_%-%./]+)%s+directory")
  local SKIP = { the = true, this = true, that = true, a = true, each = true,
    current = true, working = true, which = true, what = true, are = true,
    is = true }
  if not folder or SKIP[folder:lower()] then
    return "."
  end
  return folder
end

local function last_user(messages)
  for index = #messages, 1, -1 do
    if messages[index].role == "user" then
      return index
    end
  end
  return nil
end

-- "How many words has it?" means the files of an earlier question.
local function earlier_files(messages, before)
  for index = before - 1, 1, -1 do
    local message = messages[index]
    if message.role == "user" then
      local files = M.files(protocol.text_of(message))
      if #files > 0 then
        return files
      end
    end
  end
  return {}
end

local BACK = { "it", "its", "that", "them", "they", "both", "and" }

local function refers_back(lower)
  local words = " " .. lower:gsub("%A+", " ") .. " "
  for _, word in ipairs(BACK) do
    if words:find(" " .. word .. " ", 1, true) then
      return true
    end
  end
  return false
end

local function calls_of(messages)
  local calls = {}
  for _, message in ipairs(messages) do
    if message.role == "assistant" then
      for _, call in ipairs(protocol.tool_calls(message)) do
        calls[call.id] = call
      end
    end
  end
  return calls
end

local function result_of(message, call, by_name)
  local arguments = call and json.decode(call.arguments_json)
  if type(arguments) ~= "table" then
    arguments = {}
  end
  local tool = by_name[message.tool_name] or call and by_name[call.name] or {}
  return {
    key = call and call.name .. call.arguments_json,
    role = tool.role,
    path = arguments[tool.path_key or tool.folder_key or ""],
    term = arguments[tool.term_key or ""],
    is_error = message.is_error == true,
    text = protocol.text_of(message),
  }
end

local function results_after(messages, from, by_name)
  local calls, results = calls_of(messages), {}
  for index = from + 1, #messages do
    local message = messages[index]
    if message.role == "tool" then
      local call = calls[message.tool_call_id]
      results[#results + 1] = result_of(message, call, by_name)
    end
  end
  return results
end

local function listing_of(results)
  for _, result in ipairs(results) do
    if result.role == "list" and not result.is_error then
      return facts.listing(result.text)
    end
  end
  return nil
end

local function resolve_stems(context)
  for _, entry in ipairs(context.listing or {}) do
    local base = entry.name:match("([^/]+)$") or entry.name
    local stem = (base:match("^(.+)%.%w+$") or base):lower()
    for _, wanted in ipairs(context.stems) do
      if stem == wanted then
        add_once(context.files, entry.name)
      end
    end
  end
end

--- All that the rules look at.
---@param request table
---@return table context
function M.read(request)
  local messages = request.context.messages
  local at = last_user(messages) or 0
  local text = at > 0 and protocol.text_of(messages[at]) or ""
  local choice = request.options and request.options.tool_choice
  local offered = not (choice and choice.type == "none")
    and request.context.tools or nil
  local by_role, by_name = M.tools(offered)
  local context = {
    text = text,
    lower = text:lower(),
    files = M.files(text),
    stems = stems(text),
    term = search_term(text),
    folder = folder_of(text),
    tools = by_role,
    results = results_after(messages, at, by_name),
  }
  context.listing = listing_of(context.results)
  if #context.files == 0 and #context.stems == 0
    and refers_back(context.lower) then
    context.files = earlier_files(messages, at)
  end
  resolve_stems(context)
  return context
end

return M
