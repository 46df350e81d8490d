--- One JSON Schema, looked through once: what has a name in it (`$id`,
--- `$anchor`), what stands at a place where a keyword of that kind cannot
--- stand, and what will not be checked.
local json = require("agentwire.json")
local misuse = require("agentwire._misuse")
local regex = require("agentwire.tool._regex")
local uri = require("agentwire.tool._uri")

local M = {}

local TYPES = { "array", "boolean", "integer", "null", "number", "object",
  "string" }

---@class agentwire.SchemaDocument
---@field root table|boolean
---@field dialect "draft7"|"2020"|"other" other: its keywords may mean anything
---@field tracks boolean some keyword asks what others have looked at
---@field problems string[] keywords whose value has no meaning
---@field unchecked string[] what is not checked, and where
local Document = {}
Document.__index = Document

local function is_list(value)
  return type(value) == "table" and (json.is_array(value) or next(value) == nil)
end

local function is_map(value)
  return type(value) == "table" and not (json.is_array(value) and #value > 0)
end

local function is_schema(value)
  return type(value) == "boolean" or is_map(value)
end

local function list_of(accepts)
  return function(value)
    if not is_list(value) then
      return false
    end
    for _, each in ipairs(value) do
      if not accepts(each) then
        return false
      end
    end
    return true
  end
end

local function is_string(value)
  return type(value) == "string"
end

local function is_number(value)
  return type(value) == "number"
end

local function is_count(value)
  return type(value) == "number" and value >= 0 and value % 1 == 0
end

local function is_type(value)
  for _, name in ipairs(TYPES) do
    if value == name then
      return true
    end
  end
  return false
end

local SCHEMA = { "a schema", is_schema, "one" }
local SCHEMAS = { "a list of schemas", list_of(is_schema), "list" }
local MAP = { "an object of schemas", is_map, "map" }
local NUMBER = { "a number", is_number }
local COUNT = { "an integer of 0 or more", is_count }
local TEXT = { "a string", is_string }
local NAMES = { "a list of strings", list_of(is_string) }
local OBJECT = { "an object", is_map }
local FLAG = { "true or false", function(value)
  return type(value) == "boolean"
end }

local KEYWORDS = {
  type = { "one of " .. table.concat(TYPES, ", ") .. ", or a list of them",
    function(value)
      return is_type(value) or list_of(is_type)(value) and value[1] ~= nil
    end },
  enum = { "a list", is_list },
  const = { "a value", function() return true end },
  properties = MAP, patternProperties = MAP, dependentSchemas = MAP,
  ["$defs"] = MAP, definitions = MAP,
  dependencies = { "an object", is_map, "dependencies" },
  dependentRequired = OBJECT,
  required = NAMES,
  allOf = SCHEMAS, anyOf = SCHEMAS, oneOf = SCHEMAS, prefixItems = SCHEMAS,
  items = { "a schema", function(value)
    return is_schema(value) or list_of(is_schema)(value)
  end, "items" },
  additionalItems = SCHEMA, additionalProperties = SCHEMA, contains = SCHEMA,
  ["not"] = SCHEMA, ["if"] = SCHEMA, ["then"] = SCHEMA, ["else"] = SCHEMA,
  propertyNames = SCHEMA, unevaluatedItems = SCHEMA,
  unevaluatedProperties = SCHEMA, contentSchema = SCHEMA,
  minimum = NUMBER, maximum = NUMBER,
  exclusiveMinimum = NUMBER, exclusiveMaximum = NUMBER,
  multipleOf = { "a number above 0", function(value)
    return is_number(value) and value > 0
  end },
  minLength = COUNT, maxLength = COUNT, minItems = COUNT, maxItems = COUNT,
  minProperties = COUNT, maxProperties = COUNT, minContains = COUNT,
  maxContains = COUNT,
  uniqueItems = FLAG,
  pattern = TEXT, format = TEXT,
  ["$ref"] = TEXT, ["$id"] = TEXT, ["$anchor"] = TEXT,
  ["$dynamicRef"] = TEXT, ["$dynamicAnchor"] = TEXT,
}

M.KEYWORDS = KEYWORDS

local NAMES_SORTED = {}
for name in pairs(KEYWORDS) do
  NAMES_SORTED[#NAMES_SORTED + 1] = name
end
table.sort(NAMES_SORTED)

local scan

local function note(list, where, text)
  list[#list + 1] = (where ~= "" and where .. ": " or "") .. text
end

local function below(where, name)
  return where == "" and tostring(name) or where .. "." .. tostring(name)
end

local function scan_list(self, list, base, where)
  for index, each in ipairs(list) do
    scan(self, each, base, ("%s[%d]"):format(where, index - 1))
  end
end

local SCANS = {
  list = scan_list,
  map = function(self, map, base, where)
    local names = {}
    for name in pairs(map) do
      names[#names + 1] = tostring(name)
    end
    table.sort(names)
    for _, name in ipairs(names) do
      scan(self, map[name], base, below(where, name))
    end
  end,
  items = function(self, items, base, where)
    local each = json.is_array(items) and scan_list or scan
    each(self, items, base, where)
  end,
  dependencies = function(self, map, base, where)
    for name, each in pairs(map) do
      if not json.is_array(each) then
        scan(self, each, base, below(where, name))
      end
    end
  end,
}

local function add_anchor(self, base, name, node)
  self._anchors[base .. "#" .. name] = node
end

--- Takes in a schema's names; returns the base of what is below.
local function name_node(self, node, base)
  local id = node["$id"]
  local ref_hides = self.dialect == "draft7" and node["$ref"] ~= nil
  if type(id) == "string" and not ref_hides then
    local fragment
    base, fragment = uri.resolve(base, id)
    if fragment ~= "" then
      add_anchor(self, base, fragment, node)
    end
    if not self._resources[base] and not id:find("^#") then
      self._resources[base] = node
    end
  end
  if type(node["$anchor"]) == "string" then
    add_anchor(self, base, node["$anchor"], node)
  end
  local dynamic = node["$dynamicAnchor"]
  if type(dynamic) == "string" then
    add_anchor(self, base, dynamic, node)
    self._dynamic[base .. "#" .. dynamic] = node
  end
  return base
end

local function check_keyword(self, node, name, where)
  local keyword, value = KEYWORDS[name], node[name]
  if keyword[2](value) then
    return true
  end
  local got = type(value) == "string" and json.encode(value)
    or misuse.describe(value)
  note(self.problems, below(where, name),
    ("expected %s, got %s"):format(keyword[1], got or "a string"))
  return false
end

local function note_unchecked(self, node, where)
  if type(node.format) == "string" then
    note(self.unchecked, where, ('format "%s" is not checked'):format(node.format))
  end
  if node["$recursiveRef"] ~= nil then
    note(self.unchecked, where, "$recursiveRef is not checked")
  end
  for _, name in ipairs { "$ref", "$dynamicRef" } do
    if type(node[name]) == "string" then
      self._references[#self._references + 1] = { node, name, where }
    end
  end
  if type(node.pattern) == "string" then
    self._patterns[#self._patterns + 1] = { node.pattern, where }
  end
  if is_map(node.patternProperties) then
    for pattern in pairs(node.patternProperties) do
      self._patterns[#self._patterns + 1] =
        { pattern, below(where, "patternProperties") }
    end
  end
end

---@param base string the URI that references are relative to
function scan(self, node, base, where)
  if type(node) ~= "table" then
    if type(node) ~= "boolean" then
      note(self.problems, where,
        "expected a schema, got " .. misuse.describe(node))
    end
    return
  elseif self._bases[node] then
    return
  end
  base = name_node(self, node, base)
  self._bases[node] = base
  if node.unevaluatedProperties ~= nil or node.unevaluatedItems ~= nil then
    self.tracks = true
  end
  note_unchecked(self, node, where)
  for _, name in ipairs(NAMES_SORTED) do
    if node[name] ~= nil and check_keyword(self, node, name, where) then
      local walk = SCANS[KEYWORDS[name][3]]
      if walk then
        walk(self, node[name], base, below(where, name))
      end
    end
  end
end

SCANS.one = scan

local function step_into(node, token)
  if type(node) ~= "table" then
    return nil
  end
  token = token:gsub("~1", "/"):gsub("~0", "~")
  if json.is_array(node) then
    local index = tonumber(token)
    return index and node[index + 1]
  end
  return node[token]
end

local function follow_pointer(self, resource, base, pointer)
  local node = resource
  for token in pointer:gmatch("/([^/]*)") do
    node = step_into(node, token)
    base = self._bases[node or false] or base
  end
  if type(node) == "table" then
    scan(self, node, base, pointer) -- it may stand where nothing is expected
  end
  return node
end

local function find(self, base, reference)
  local address, fragment = uri.resolve(base, reference)
  local resource = self._resources[address]
  fragment = uri.unescape(fragment)
  if resource == nil then
    return nil
  elseif fragment == "" then
    return resource
  elseif fragment:sub(1, 1) == "/" then
    return follow_pointer(self, resource, address, fragment)
  end
  return self._anchors[address .. "#" .. fragment], address, fragment
end

--- The schema that `reference` in `node` names; nil for one that is not here.
---@param node table
---@param reference string
---@return table|boolean|nil target
function Document:resolve(node, reference)
  local known = self._targets[node]
  if not known then
    known = {}
    self._targets[node] = known
  end
  local found = known[reference]
  if not found then
    found = { find(self, self._bases[node] or "", reference) }
    known[reference] = found
  end
  return found[1]
end

--- The same for `$dynamicRef`: of the resources on the way here, the outermost
--- that has the anchor decides.
---@param scope {base: string, outer: table?} the innermost resource
function Document:resolve_dynamic(node, reference, scope)
  local target = self:resolve(node, reference)
  local found = self._targets[node][reference]
  local base, name = found[2], found[3]
  if not name or self._dynamic[base .. "#" .. name] ~= target then
    return target
  end
  while scope do
    target = self._dynamic[scope.base .. "#" .. name] or target
    scope = scope.outer
  end
  return target
end

---@return string base of the resource that `node` belongs to
function Document:base(node)
  return self._bases[node] or ""
end

---@param pattern string
---@return agentwire.Regex|false regex false: not one that can be checked
---@return string? why
function Document:regex(pattern)
  local known = self._regexes[pattern]
  if known == nil then
    local made, why = regex.compile(pattern)
    known = { made or false, why }
    self._regexes[pattern] = known
  end
  return known[1], known[2]
end

local function find_dialect(root)
  local named = type(root) == "table" and root["$schema"]
  if type(named) == "string" then
    if not named:find("^https?://json%-schema%.org/") then
      return "other"
    end
    return named:find("draft%-0[3467]/") and "draft7" or "2020"
  end
  -- Unnamed: what has the old word for definitions means the old rules.
  return type(root) == "table" and root.definitions ~= nil
    and root["$defs"] == nil and "draft7" or "2020"
end

---@param root table|boolean
---@param dialect "draft7"|"2020"|nil nil: as the schema says
---@return agentwire.SchemaDocument
function M.new(root, dialect)
  local self = setmetatable({
    root = root,
    dialect = dialect or find_dialect(root),
    tracks = false,
    problems = {},
    unchecked = {},
    _bases = {}, -- node -> URI
    _resources = { [""] = root },
    _anchors = {}, -- "URI#name" -> node
    _dynamic = {},
    _targets = {}, -- node -> reference -> what it names
    _regexes = {},
    _references = {},
    _patterns = {},
  }, Document)
  scan(self, root, "", "")
  return self
end

--- Looks at what may turn out to be beyond this checker, too: patterns and
--- references. Completes `unchecked`.
---@return string[] unchecked
function Document:find_unchecked()
  if self.dialect == "other" then
    note(self.unchecked, "$schema", ('"%s" is not known here: nothing is checked')
      :format(self.root["$schema"]))
  end
  for _, each in ipairs(self._references) do
    if self:resolve(each[1], each[1][each[2]]) == nil then
      note(self.unchecked, each[3], ('%s "%s" is not here'):format(each[2],
        each[1][each[2]]))
    end
  end
  for _, each in ipairs(self._patterns) do
    local made, why = self:regex(each[1])
    if not made then
      note(self.unchecked, each[2],
        ('pattern "%s" is not checked: %s'):format(each[1], why))
    elseif made.partial then
      note(self.unchecked, each[2],
        ('pattern "%s" is checked for ASCII alone'):format(each[1]))
    end
  end
  self._references, self._patterns = {}, {}
  return self.unchecked
end

return M
