--- What the scripted provider reads out of tool results: listings, file
--- contents, search hits, measures; as plain text or JSON. Pure.
local json = require("agentwire.json")

local M = {}

-- JSON objects and arrays only: the text `12` is a text.
local function decoded(text)
  if text:find("^%s*[%[{]") then
    local value = json.decode(text)
    if type(value) == "table" then
      return value
    end
  end
  return nil
end

local function lines_of(text)
  local lines = {}
  if text == "" then
    return lines
  end
  if text:sub(-1) ~= "\n" then
    text = text .. "\n"
  end
  for line in text:gmatch("([^\n]*)\n") do
    lines[#lines + 1] = (line:gsub("\r$", ""))
  end
  return lines
end
M.lines_of = lines_of

--- The number of words in a text.
---@param text string
---@return integer
function M.count_words(text)
  local count = 0
  for _ in text:gmatch("%S+") do
    count = count + 1
  end
  return count
end

local NAME_KEYS = { "name", "path", "file", "filename" }
local SIZE_KEYS = { "size", "bytes", "size_bytes" }
local LIST_KEYS = {
  "files", "entries", "items", "paths", "results", "matches", "hits", "content",
}

local function first_of(object, keys, kind)
  for _, key in ipairs(keys) do
    if type(object[key]) == kind then
      return object[key]
    end
  end
  return nil
end

-- A tool may say `name`, `name/`, `- name (12 bytes)`, `name<tab>12` or
-- `[DIR] name`.
local function entry_of_line(line)
  local tag, rest = line:match("^%s*%[(%u+)%]%s+(.*)$")
  if tag then
    return { name = rest, is_directory = tag:sub(1, 3) == "DIR" }
  end
  line = line:gsub("^%s*[%-*]%s+", ""):gsub("^%s+", ""):gsub("%s+$", "")
  if line == "" or line:find(":$") then
    return nil
  end
  local size = line:match("(%d+)%s*[Bb]ytes?") or line:match("\t(%d+)")
  local name = line:match("^([^\t]+)\t") or line:match("^(.-)%s+%(")
    or line:match("^(.-)%s%s+%S") or line
  return {
    name = name, size = tonumber(size), is_directory = name:sub(-1) == "/",
  }
end

local function entry_of_value(value)
  if type(value) == "string" then
    return entry_of_line(value)
  elseif type(value) ~= "table" then
    return nil
  end
  local name = first_of(value, NAME_KEYS, "string")
  if not name then
    return nil
  end
  local kind = value.type or value.kind
  return {
    name = name,
    size = first_of(value, SIZE_KEYS, "number"),
    is_directory = value.is_directory == true or value.is_dir == true
      or kind == "directory" or kind == "dir" or name:sub(-1) == "/",
  }
end

--- The entries of a listing.
---@param text string
---@return { name: string, size: integer?, is_directory: boolean }[]
function M.listing(text)
  local value = decoded(text)
  local items, read = nil, entry_of_value
  if value then
    items = value[1] ~= nil and value or first_of(value, LIST_KEYS, "table")
  end
  if not items then
    items, read = lines_of(value and "" or text), entry_of_line
  end
  local entries = {}
  for _, item in ipairs(items) do
    entries[#entries + 1] = read(item)
  end
  return entries
end

local CONTENT_KEYS = { "content", "text", "body", "data" }

--- The text of a file from the result of reading it.
---@param text string
---@return string
function M.content(text)
  local value = decoded(text)
  return value and first_of(value, CONTENT_KEYS, "string") or text
end

local UNITS = {
  line = "lines", word = "words", byte = "bytes", character = "characters",
  char = "characters",
}
local UNIT_OF_KEY = {
  lines = "lines", line_count = "lines", words = "words", word_count = "words",
  bytes = "bytes", size = "bytes", size_bytes = "bytes",
  characters = "characters", chars = "characters",
}

local function measures_of_text(text)
  local found = {}
  for number, unit in text:gmatch("(%d+)%s*(%a+)") do
    unit = UNITS[(unit:lower():gsub("s$", ""))]
    if unit then
      found[unit] = found[unit] or tonumber(number)
    end
  end
  for unit, number in text:gmatch("(%a+)%s*[:=]%s*(%d+)") do
    unit = unit:lower()
    unit = UNIT_OF_KEY[unit] or UNITS[(unit:gsub("s$", ""))]
    if unit then
      found[unit] = found[unit] or tonumber(number)
    end
  end
  if next(found) == nil then
    local lines, words, bytes = text:match("^%s*(%d+)%s+(%d+)%s+(%d+)")
    found.lines, found.words = tonumber(lines), tonumber(words)
    found.bytes = tonumber(bytes)
  end
  return found
end

--- Measures that a tool reported: lines, words, bytes, characters.
---@param text string
---@return table<string, integer>
function M.measures(text)
  local value = decoded(text)
  if not value then
    return measures_of_text(text)
  end
  local found = {}
  for key, number in pairs(value) do
    local unit = UNIT_OF_KEY[key]
    if unit and type(number) == "number" then
      found[unit] = number
    end
  end
  return found
end

--- Measures and headline of a file's content.
---@param content string
---@return table facts lines, words, bytes, first (line), headings
function M.describe(content)
  local lines = lines_of(content)
  local facts = {
    lines = #lines, words = M.count_words(content), bytes = #content,
    headings = {},
  }
  local fenced = false
  for _, line in ipairs(lines) do
    if line:find("^```") then
      fenced = not fenced
    end
    local heading = not fenced and line:match("^##*%s+(.-)%s*#*%s*$")
    if heading then
      facts.headings[#facts.headings + 1] = heading
    end
    if not facts.first and line:find("%S") then
      facts.first = heading or line:match("^%s*(.-)%s*$")
    elseif facts.first and not facts.second and not heading
      and line:find("%w") and not fenced and not line:find("^```") then
      facts.second = line:match("^%s*(.-)%s*$")
    end
  end
  return facts
end

local LINE_KEYS = { "line", "line_number", "lineno" }
local TEXT_KEYS = { "text", "match", "content", "snippet" }

local function hit_of_line(line)
  local path, number, text = line:match("^%s*([^:]+):(%d+):%s*(.*)$")
  if path then
    return { path = path, line = tonumber(number), text = text }
  end
  path, text = line:match("^%s*([%w_%-%./]+%.%w+):%s*(.*)$")
  if path then
    return { path = path, text = text }
  end
  path = line:match("^%s*([%w_%-%./]+%.%w+)%s*$")
  return path and { path = path }
end

--- Hits of a search.
---@param text string
---@return { path: string, line: integer?, text: string? }[]
function M.hits(text)
  local value = decoded(text)
  local hits = {}
  if not value then
    for _, line in ipairs(lines_of(text)) do
      hits[#hits + 1] = hit_of_line(line)
    end
    return hits
  end
  local items = value[1] ~= nil and value
    or first_of(value, LIST_KEYS, "table") or {}
  for _, item in ipairs(items) do
    if type(item) == "string" then
      hits[#hits + 1] = hit_of_line(item)
    elseif type(item) == "table" and first_of(item, NAME_KEYS, "string") then
      hits[#hits + 1] = {
        path = first_of(item, NAME_KEYS, "string"),
        line = first_of(item, LINE_KEYS, "number"),
        text = first_of(item, TEXT_KEYS, "string"),
      }
    end
  end
  return hits
end

--- Lines of a content that have a term in them, without regard to case.
---@param path string
---@param content string
---@param term string
---@return table[] hits
function M.search(path, content, term)
  local hits = {}
  for number, line in ipairs(lines_of(content)) do
    if line:lower():find(term:lower(), 1, true) then
      hits[#hits + 1] = { path = path, line = number, text = line }
    end
  end
  return hits
end

--- Whether a tool said that its output is not all there is.
---@param text string
---@return boolean
function M.is_truncated(text)
  local value = decoded(text)
  if value then
    return value.truncated == true
  end
  return text:sub(-200):lower():find("truncated", 1, true) ~= nil
end

return M
