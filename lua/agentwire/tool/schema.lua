--- A checker for the part of JSON Schema that tool parameters use.
---
--- Understood: type (also as a list), enum, const, properties, required,
--- additionalProperties, items, minItems, maxItems, minLength, maxLength,
--- minimum, maximum, exclusiveMinimum, exclusiveMaximum, anyOf, oneOf, allOf,
--- not, and true/false as schemas. Everything else is ignored, `pattern`,
--- `format` and `$ref` among it: Lua has no ECMA regular expressions, and half
--- a check would promise more than it keeps.

local json = require("agentwire.json")

local M = {}

local check

local function is_array(value)
  return type(value) == "table" and json.is_array(value)
end

--- The JSON type of a decoded value. An empty table without the array mark is
--- an object, as the decoder makes it.
local function type_of(value)
  if value == nil or value == json.null then
    return "null"
  end
  local kind = type(value)
  if kind == "table" then
    return is_array(value) and "array" or "object"
  end
  return kind
end

local function has_type(value, name)
  local actual = type_of(value)
  if name == "integer" then
    return actual == "number" and value % 1 == 0
  end
  return actual == name
end

local function fail(path, text, ...)
  return nil, path .. ": " .. text:format(...)
end

local function equal(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then
    return a == b
  end
  if is_array(a) ~= is_array(b) then
    return false
  end
  for key, value in pairs(a) do
    if not equal(value, b[key]) then
      return false
    end
  end
  for key in pairs(b) do
    if a[key] == nil then
      return false
    end
  end
  return true
end

local function show(value)
  return json.encode(value) or tostring(value)
end

local function check_type(schema, value, path)
  local wanted = schema.type
  if type(wanted) == "string" then
    wanted = { wanted }
  elseif type(wanted) ~= "table" then
    return true
  end
  for _, name in ipairs(wanted) do
    if has_type(value, name) then
      return true
    end
  end
  return fail(path, "expected %s, got %s", table.concat(wanted, " or "), type_of(value))
end

local function check_enum(schema, value, path)
  if schema.const ~= nil and not equal(schema.const, value) then
    return fail(path, "expected %s", show(schema.const))
  end
  if type(schema.enum) ~= "table" then
    return true
  end
  local shown = {}
  for _, allowed in ipairs(schema.enum) do
    if equal(allowed, value) then
      return true
    end
    shown[#shown + 1] = show(allowed)
  end
  return fail(path, "expected one of %s, got %s", table.concat(shown, ", "), show(value))
end

--- One bound of a keyword that counts or compares.
local function check_bound(limit, accepts, path, text)
  if type(limit) == "number" and not accepts(limit) then
    return fail(path, text, tostring(limit))
  end
  return true
end

local function check_number(schema, value, path)
  local bounds = {
    { schema.minimum, function(l) return value >= l end, "must be at least %s" },
    { schema.maximum, function(l) return value <= l end, "must be at most %s" },
    { schema.exclusiveMinimum, function(l) return value > l end, "must be above %s" },
    { schema.exclusiveMaximum, function(l) return value < l end, "must be below %s" },
  }
  for i = 1, 4 do
    local ok, why = check_bound(bounds[i][1], bounds[i][2], path, bounds[i][3])
    if not ok then
      return nil, why
    end
  end
  return true
end

local function check_size(size, minimum, maximum, path, what)
  local ok, why = check_bound(minimum, function(l) return size >= l end, path,
    "needs at least %s " .. what)
  if not ok then
    return nil, why
  end
  return check_bound(maximum, function(l) return size <= l end, path,
    "has more than %s " .. what)
end

local function check_string(schema, value, path)
  if schema.minLength == nil and schema.maxLength == nil then
    return true
  end
  local _, characters = value:gsub("[^\128-\191]", "")
  return check_size(characters, schema.minLength, schema.maxLength, path, "characters")
end

local function check_array(schema, value, path)
  local ok, why = check_size(#value, schema.minItems, schema.maxItems, path, "items")
  if not ok then
    return nil, why
  end
  if schema.items == nil or is_array(schema.items) then
    return true
  end
  for i = 1, #value do
    ok, why = check(schema.items, value[i], ("%s[%d]"):format(path, i - 1))
    if not ok then
      return nil, why
    end
  end
  return true
end

local function check_extra(schema, value, properties, path)
  local extra = schema.additionalProperties
  if extra == nil or extra == true then
    return true
  end
  for name, item in pairs(value) do
    if properties[name] == nil then
      local where = path .. "." .. tostring(name)
      if extra == false then
        return fail(where, "unknown property")
      end
      local ok, why = check(extra, item, where)
      if not ok then
        return nil, why
      end
    end
  end
  return true
end

local function check_object(schema, value, path)
  for _, name in ipairs(type(schema.required) == "table" and schema.required or {}) do
    if value[name] == nil then
      return fail(path .. "." .. tostring(name), "required, but missing")
    end
  end
  local properties = type(schema.properties) == "table" and schema.properties or {}
  for name, property in pairs(properties) do
    if value[name] ~= nil then
      local ok, why = check(property, value[name], path .. "." .. tostring(name))
      if not ok then
        return nil, why
      end
    end
  end
  return check_extra(schema, value, properties, path)
end

local BY_TYPE = {
  number = check_number,
  string = check_string,
  array = check_array,
  object = check_object,
}

--- How many of `schemas` accept, and why the last that did not refused.
local function count_matches(schemas, value, path)
  local matches, reason = 0, nil
  for _, schema in ipairs(schemas) do
    local ok, why = check(schema, value, path)
    if ok then
      matches = matches + 1
    else
      reason = why
    end
  end
  return matches, reason
end

local function check_combined(schema, value, path)
  for _, part in ipairs(type(schema.allOf) == "table" and schema.allOf or {}) do
    local ok, why = check(part, value, path)
    if not ok then
      return nil, why
    end
  end
  if type(schema.anyOf) == "table" then
    local matches, why = count_matches(schema.anyOf, value, path)
    if matches == 0 then
      return fail(path, "matches none of anyOf (%s)", tostring(why))
    end
  end
  if type(schema.oneOf) == "table" then
    local matches, why = count_matches(schema.oneOf, value, path)
    if matches ~= 1 then
      return fail(path, "matches %d of oneOf instead of one%s", matches,
        matches == 0 and why and " (" .. why .. ")" or "")
    end
  end
  if schema["not"] ~= nil and check(schema["not"], value, path) then
    return fail(path, "matches what `not` excludes")
  end
  return true
end

function check(schema, value, path)
  if schema == false then
    return fail(path, "nothing is allowed here")
  end
  if type(schema) ~= "table" then
    return true
  end
  local ok, why = check_type(schema, value, path)
  if ok then
    ok, why = check_enum(schema, value, path)
  end
  local by_type = BY_TYPE[type_of(value)]
  if ok and by_type then
    ok, why = by_type(schema, value, path)
  end
  if not ok then
    return nil, why
  end
  return check_combined(schema, value, path)
end

--- Checks a decoded JSON value. Positions in arrays are counted from 0, as in
--- JSON, since the message is for the model.
---@param schema table|boolean decoded JSON Schema, or a Lua table of its shape
---@param value any
---@param path? string what the message calls the value, "args" by default
---@return true|nil ok
---@return string? message "args.path: expected string, got number"
---@return string? code invalid_arguments
function M.check(schema, value, path)
  local ok, why = check(schema, value, path or "args")
  if ok then
    return true
  end
  return nil, why, "invalid_arguments"
end

return M
