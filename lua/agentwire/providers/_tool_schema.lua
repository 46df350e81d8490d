--- The JSON Schema of a tool's parameters as each provider takes it. The one
--- place where schemas are rewritten; what is given stays as it is. Pure.
local canonical = require("agentwire._canonical")
local json = require("agentwire.json")

local M = {}

-- References are put in place so deep; a schema that refers to itself is cut.
local MAX_DEPTH = 16

-- And so many schemas in all: references in place may multiply.
local MAX_SCHEMAS = 4096

-- What Gemini's OpenAPI subset has; all else is dropped.
local OPENAPI = { type = true, format = true, title = true, description = true,
  nullable = true, enum = true, items = true, properties = true,
  required = true, minimum = true, maximum = true, minItems = true,
  maxItems = true, minLength = true, maxLength = true, pattern = true,
  anyOf = true, default = true, example = true, minProperties = true,
  maxProperties = true, propertyOrdering = true }

-- Formats that it knows; another one is refused.
local FORMATS = { ["date-time"] = true, enum = true, int32 = true, int64 = true,
  float = true, double = true }

--- A tool's schema as a table, whatever form it came in.
---@param tool table of a checked request
---@return table schema an object's
function M.of(tool)
  local schema = tool.parameters_schema_json
  if type(schema) == "string" then
    schema = json.decode(schema)
  end
  if type(schema) ~= "table" or schema == json.null or json.is_array(schema) then
    schema = {}
  end
  schema = canonical.schema(schema)
  schema.type = schema.type or "object"
  if schema.type == "object" and not schema.properties then
    schema.properties = {}
  end
  return schema
end

local function resolve(root, pointer)
  local found = root.schema
  if pointer:sub(1, 1) ~= "#" then
    return nil
  end
  for step in pointer:gmatch("/([^/]*)") do
    step = step:gsub("~1", "/"):gsub("~0", "~")
    found = type(found) == "table" and found[step]
  end
  return type(found) == "table" and found or nil
end

local subset

-- `type: ["string", "null"]` is one type and `nullable`.
local function single_type(out, types)
  local kinds = {}
  for _, name in ipairs(types) do
    if name == "null" then
      out.nullable = true
    else
      kinds[#kinds + 1] = name
    end
  end
  if #kinds == 1 then
    return kinds[1]
  end
  local any = json.array {}
  for index, name in ipairs(kinds) do
    any[index] = { type = name }
  end
  out.anyOf = any
end

local function is_null(schema)
  return type(schema) == "table" and schema.type == "null"
end

local function alternatives(out, list, root, depth)
  local any = json.array {}
  for _, each in ipairs(list) do
    if is_null(each) then
      out.nullable = true
    else
      any[#any + 1] = subset(each, root, depth)
    end
  end
  if #any == 1 then
    for name, value in pairs(any[1]) do
      out[name] = out[name] == nil and value or out[name]
    end
  else
    out.anyOf = any
  end
end

local COPY = {}

function COPY.type(out, value)
  out.type = type(value) == "table" and single_type(out, value) or value
end

function COPY.properties(out, value, root, depth)
  out.properties = {}
  for name, each in pairs(value) do
    out.properties[name] = subset(each, root, depth)
  end
end

function COPY.items(out, value, root, depth)
  out.items = subset(json.is_array(value) and value[1] or value, root, depth)
end

function COPY.anyOf(out, value, root, depth)
  alternatives(out, value, root, depth)
end

COPY.oneOf = COPY.anyOf

function COPY.allOf(out, value, root, depth)
  for _, each in ipairs(value) do
    for name, member in pairs(subset(each, root, depth)) do
      if name == "properties" and out.properties then
        for property, schema in pairs(member) do
          out.properties[property] = schema
        end
      elseif name == "required" and out.required then
        for _, required in ipairs(member) do
          out.required[#out.required + 1] = required
        end
      else
        out[name] = member
      end
    end
  end
end

local PLAIN = { string = true, number = true, boolean = true }

function COPY.const(out, value)
  out.enum = json.array { value }
  out.type = out.type or PLAIN[type(value)] and type(value) or nil
end

function COPY.format(out, value)
  out.format = FORMATS[value] and value or nil
end

function COPY.required(out, value)
  out.required = json.array {}
  for index, each in ipairs(value) do
    out.required[index] = each
  end
end

-- In this order, and only where they are what they should be.
local REWRITTEN = { "type", "properties", "items", "required", "allOf", "anyOf",
  "oneOf", "const", "format" }
local TABLES = { properties = true, items = true, required = true, allOf = true,
  anyOf = true, oneOf = true }

-- What was cut, or is `true` in place of a schema: anything fits.
local ANYTHING = { type = "object" }

function subset(schema, root, depth)
  root.left = root.left - 1
  if type(schema) ~= "table" or depth > MAX_DEPTH or root.left < 0 then
    return ANYTHING
  end
  if type(schema["$ref"]) == "string" then
    local target = resolve(root, schema["$ref"])
    return target and subset(target, root, depth + 1) or ANYTHING
  end
  local out = {}
  for _, name in ipairs(REWRITTEN) do
    local value = schema[name]
    if value ~= nil and (not TABLES[name] or type(value) == "table") then
      COPY[name](out, value, root, depth + 1)
    end
  end
  for name, value in pairs(schema) do
    if OPENAPI[name] and not COPY[name] then
      out[name] = value
    end
  end
  if out.required and #out.required == 0 then
    out.required = nil
  end
  return out
end

--- The subset of OpenAPI that Gemini's `parameters` takes: one type, `nullable`,
--- references in place, no `const`, `oneOf` or `additionalProperties`.
---@param schema table
---@return table
function M.openapi(schema)
  return json.sorted(subset(schema, { schema = schema, left = MAX_SCHEMAS }, 1))
end

return M
