--- The keywords of JSON Schema, each with three answers: true, false with the
--- reason, and nil where it is not known.
local values = require("agentwire.tool._schema_values")

local M = {}

local is_array, type_of, show = values.is_array, values.type_of, values.show

--- Both hold: false decides, then what is unknown.
local function both(a, b)
  if a == false or b == false then
    return false
  elseif a == nil or b == nil then
    return nil
  end
  return true
end

M.both = both

-- Evaluated members: what unevaluatedProperties and unevaluatedItems leave
-- alone. `marks` is a table key -> true or "maybe"; `rest` stands for all keys.

local function mark(marks, key, how)
  if marks and marks[key] ~= true then
    marks[key] = how
  end
end

local REST = {}

--- Takes over what a subschema of the same value has looked at.
function M.merge(marks, other, verdict)
  if not marks or verdict == false then
    return
  end
  for key, how in pairs(other or {}) do
    mark(marks, key, verdict == nil and "maybe" or how)
  end
end

local function has_type(value, name)
  local actual = type_of(value)
  if name == "integer" then
    return actual == "number" and value % 1 == 0
  end
  return actual == name
end

local function check_type(run, schema, value)
  local wanted = schema.type
  if type(wanted) == "string" then
    wanted = { wanted }
  elseif type(wanted) ~= "table" then
    return nil
  end
  local integer, other
  for _, name in ipairs(wanted) do
    if type(name) ~= "string" then
      return nil
    elseif has_type(value, name) then
      integer = integer or name == "integer"
      other = other or name ~= "integer"
    end
  end
  if integer and not other then
    run:note_integer(value)
  end
  if integer or other then
    return true
  elseif schema.nullable == true and type_of(value) == "null" then
    return nil -- as OpenAPI says it
  end
  return run:fail("expected %s, got %s", table.concat(wanted, " or "),
    type_of(value))
end

local function check_const(run, schema, value)
  if values.equal(schema.const, value, run.budget) then
    return true
  end
  return run:fail("expected %s", show(schema.const))
end

local function check_enum(run, schema, value)
  if type(schema.enum) ~= "table" then
    return nil
  end
  local shown = {}
  for index, allowed in ipairs(schema.enum) do
    if values.equal(allowed, value, run.budget) then
      return true
    end
    shown[index] = index <= 20 and show(allowed) or nil
  end
  if #schema.enum > 20 then
    shown[21] = "…"
  end
  return run:fail("expected one of %s, got %s", table.concat(shown, ", "),
    show(value))
end

---@param holds fun(limit: number, size: number): boolean
local function bound(keyword, text, measure, holds, unit)
  return function(run, schema, value)
    local limit = schema[keyword]
    if type(limit) ~= "number" then
      return nil
    elseif holds(limit, measure(value)) then
      return true
    end
    local shown = limit % 1 == 0 and math.abs(limit) < 2 ^ 53
      and ("%.0f"):format(limit) or tostring(limit)
    return run:fail(text, shown .. (unit and " " .. unit or ""))
  end
end

local function itself(value)
  return value
end

local function least(limit, size)
  return size >= limit
end

local function most(limit, size)
  return size <= limit
end

local function above(limit, size)
  return size > limit
end

local function under(limit, size)
  return size < limit
end

local function items_of(value)
  return #value
end

local function members_of(value)
  local count = 0
  for _ in pairs(value) do
    count = count + 1
  end
  return count
end

local function check_multiple(run, schema, value)
  local of = schema.multipleOf
  if type(of) ~= "number" or of <= 0 or of == math.huge then
    return nil
  end
  local is_multiple = values.is_multiple(value, of)
  if is_multiple == false then
    return run:fail("must be a multiple of %s", tostring(of))
  end
  return is_multiple
end

local function check_pattern(run, schema, value)
  local matches = run:matches(schema.pattern, value)
  if matches == false then
    return run:fail("does not match the pattern %s", show(schema.pattern))
  end
  return matches
end

local function unknown()
  return nil
end

local function prefix_of(run, schema)
  if is_array(schema.items) then
    return schema.items, schema.additionalItems
  elseif run.document.dialect ~= "draft7" and is_array(schema.prefixItems) then
    return schema.prefixItems, schema.items
  end
  return {}, schema.items
end

local function check_items(run, schema, value, marks)
  local prefix, rest = prefix_of(run, schema)
  local verdict = true
  for index = 1, #value do
    local rule = prefix[index]
    if rule == nil then
      rule = rest
    end
    if rule == nil then
      break
    end
    local ok, why = run:child(rule, value, index)
    if ok == false then
      return false, why
    end
    verdict = both(verdict, ok)
    mark(marks, index, true)
  end
  return verdict
end

local function check_contains(run, schema, value, marks)
  local fewest, most_of = 1, math.huge
  if run.document.dialect ~= "draft7" then
    fewest = tonumber(schema.minContains) or 1
    most_of = tonumber(schema.maxContains) or math.huge
  end
  local certain, possible, reason = 0, 0, nil
  for index = 1, #value do
    local ok, why = run:child(schema.contains, value, index)
    if ok ~= false then
      possible = possible + 1
      certain = certain + (ok and 1 or 0)
      mark(marks, index, ok or "maybe")
    end
    reason = reason or why
  end
  if possible < fewest then
    return run:fail("contains %d of the items that it needs, at least %s%s",
      possible, tostring(fewest), reason and " (" .. reason .. ")" or "")
  elseif certain > most_of then
    return run:fail("contains %d of the items of which %s are allowed", certain,
      tostring(most_of))
  elseif certain >= fewest and possible <= most_of then
    return true
  end
  return nil
end

local function check_unique(run, schema, value)
  if schema.uniqueItems ~= true then
    return true
  end
  local seen, known = {}, true
  for index = 1, #value do
    local key = values.key_of(value[index], run.budget)
    if key == nil then
      known = nil
    elseif seen[key] then
      return run:fail("items %d and %d are the same", seen[key] - 1, index - 1)
    else
      seen[key] = index
    end
  end
  return known
end

--- What no other keyword has looked at.
local function check_unevaluated(keyword, keys)
  return function(run, schema, value, marks)
    local verdict = true
    local rest = marks[REST]
    if rest == true then
      return true
    end
    for _, key in ipairs(keys(value)) do
      local how = marks[key] or rest
      if how ~= true then
        local ok, why = run:child(schema[keyword], value, key)
        if ok == false and not how then
          return false, why
        end
        verdict = both(verdict, ok or nil)
      end
    end
    marks[REST] = true
    return verdict
  end
end

local function indices(value)
  local list = {}
  for index = 1, #value do
    list[index] = index
  end
  return list
end

local function names_of(value)
  local list = {}
  for name in pairs(value) do
    list[#list + 1] = name
  end
  table.sort(list, function(a, b)
    return tostring(a) < tostring(b)
  end)
  return list
end

local function check_required(run, schema, value)
  if type(schema.required) ~= "table" then
    return nil
  end
  for _, name in ipairs(schema.required) do
    if value[name] == nil then
      return run:fail_at(name, "required, but missing")
    end
  end
  return true
end

local function check_properties(run, schema, value, marks)
  if type(schema.properties) ~= "table" then
    return nil
  end
  local verdict = true
  for _, name in ipairs(run:names(schema.properties)) do
    if value[name] ~= nil then
      local ok, why = run:child(schema.properties[name], value, name)
      if ok == false and not run:drops(schema, value, name) then
        return false, why
      end
      verdict = both(verdict, ok == false or ok)
      mark(marks, name, true)
    end
  end
  return verdict
end

--- Whether a name is one that a pattern is for.
local function match_pattern(run, schema, name)
  local found = false
  for pattern in pairs(type(schema.patternProperties) == "table"
    and schema.patternProperties or {}) do
    local matches = run:matches(pattern, tostring(name))
    if matches then
      return true
    elseif matches == nil then
      found = nil
    end
  end
  return found
end

local function check_pattern_properties(run, schema, value, marks)
  if type(schema.patternProperties) ~= "table" then
    return nil
  end
  local verdict = true
  for _, name in ipairs(names_of(value)) do
    for pattern, rule in pairs(schema.patternProperties) do
      local matches = run:matches(pattern, tostring(name))
      if matches ~= false then
        local ok, why = run:child(rule, value, name)
        if ok == false and matches then
          return false, why
        end
        verdict = both(verdict, ok and matches or nil)
        mark(marks, name, matches or "maybe")
      end
    end
  end
  return verdict
end

local function check_additional(run, schema, value, marks)
  local extra = schema.additionalProperties
  local properties = type(schema.properties) == "table" and schema.properties
    or {}
  local verdict = true
  for _, name in ipairs(names_of(value)) do
    local matched = properties[name] ~= nil
      or match_pattern(run, schema, name)
    if matched ~= true then
      local ok, why = run:child(extra, value, name, "unknown property")
      if ok == false and matched == false then
        return false, why
      end
      verdict = both(verdict, matched == false and ok or nil)
      mark(marks, name, matched == false and true or "maybe")
    end
  end
  return verdict
end

local function check_property_names(run, schema, value)
  local verdict = true
  for _, name in ipairs(names_of(value)) do
    local ok, why = run:eval(schema.propertyNames, name)
    if ok == false then
      return run:fail_at(name, "this name is not allowed (%s)", why)
    end
    verdict = both(verdict, ok)
  end
  return verdict
end

local function require_all(run, names, value, because)
  for _, name in ipairs(names) do
    if value[name] == nil then
      return run:fail_at(name, "required because of %s, but missing", because)
    end
  end
  return true
end

local function check_dependent(keyword)
  return function(run, schema, value, marks)
    if type(schema[keyword]) ~= "table" then
      return nil
    end
    local verdict = true
    for _, name in ipairs(run:names(schema[keyword])) do
      if value[name] ~= nil then
        local rule, ok, why = schema[keyword][name], nil, nil
        if is_array(rule) then
          ok, why = require_all(run, rule, value, tostring(name))
        elseif keyword ~= "dependentRequired" then
          ok, why = run:inside(rule, value, marks)
        end
        if ok == false then
          return false, why
        end
        verdict = both(verdict, ok)
      end
    end
    return verdict
  end
end

local function check_all(run, schema, value, marks)
  local verdict = true
  for _, part in ipairs(type(schema.allOf) == "table" and schema.allOf or {}) do
    local ok, why = run:inside(part, value, marks)
    if ok == false then
      return false, why
    end
    verdict = both(verdict, ok)
  end
  return verdict
end

---@return integer certain
---@return integer possible
---@return string? reason of the last that refused
local function count_matches(run, schemas, value, marks, enough)
  local certain, possible, reason = 0, 0, nil
  for _, schema in ipairs(schemas) do
    local ok, why = run:inside(schema, value, marks)
    if ok ~= false then
      possible = possible + 1
      certain = certain + (ok and 1 or 0)
    else
      reason = why
    end
    if enough and certain >= enough and not marks then
      break
    end
  end
  return certain, possible, reason
end

local function check_any(run, schema, value, marks)
  if type(schema.anyOf) ~= "table" then
    return nil
  end
  local certain, possible, why = count_matches(run, schema.anyOf, value, marks,
    1)
  if possible == 0 then
    return run:fail("matches none of anyOf (%s)", tostring(why))
  end
  return certain > 0 or nil
end

local function check_one(run, schema, value, marks)
  if type(schema.oneOf) ~= "table" then
    return nil
  end
  local certain, possible, why = count_matches(run, schema.oneOf, value, marks,
    2)
  if possible == 0 or certain > 1 then
    return run:fail("matches %d of oneOf instead of one%s", certain,
      possible == 0 and why and " (" .. why .. ")" or "")
  end
  return possible == 1 and certain == 1 or nil
end

local function check_not(run, schema, value)
  local ok = run:inside(schema["not"], value)
  if ok then
    return run:fail("matches what `not` excludes")
  elseif ok == false then
    return true
  end
  return nil
end

local function branch(run, rule, value, marks)
  if rule == nil then
    return true
  end
  return run:inside(rule, value, marks)
end

local function check_if(run, schema, value, marks)
  local condition = run:inside(schema["if"], value, marks)
  if condition then
    return branch(run, schema["then"], value, marks)
  elseif condition == false then
    return branch(run, schema["else"], value, marks)
  end
  local first, second = marks and {}, marks and {}
  local a, why = branch(run, schema["then"], value, first)
  local b = branch(run, schema["else"], value, second)
  M.merge(marks, first, nil)
  M.merge(marks, second, nil)
  if a == false and b == false then
    return false, why
  end
  return a and b or nil
end

local function follow(run, target, value, marks)
  if target == nil then
    mark(marks, REST, "maybe")
    return nil
  end
  return run:refer(target, value, marks)
end

local function check_ref(run, schema, value, marks)
  if type(schema["$ref"]) ~= "string" then
    return nil
  end
  return follow(run, run.document:resolve(schema, schema["$ref"]), value, marks)
end

local function check_dynamic_ref(run, schema, value, marks)
  if type(schema["$dynamicRef"]) ~= "string" then
    return nil
  end
  return follow(run, run.document:resolve_dynamic(schema,
    schema["$dynamicRef"], run.scope), value, marks)
end

local function check_recursive_ref(_, _, _, marks)
  mark(marks, REST, "maybe")
  return nil
end

M.REF = { "$ref", check_ref }

M.ANY = {
  { "type", check_type }, { "const", check_const }, { "enum", check_enum },
}

M.COMBINED = {
  M.REF, { "$dynamicRef", check_dynamic_ref },
  { "$recursiveRef", check_recursive_ref },
  { "allOf", check_all }, { "anyOf", check_any }, { "oneOf", check_one },
  { "not", check_not }, { "if", check_if },
}

M.BY_TYPE = {
  number = {
    { "minimum", bound("minimum", "must be at least %s", itself, least) },
    { "maximum", bound("maximum", "must be at most %s", itself, most) },
    { "exclusiveMinimum",
      bound("exclusiveMinimum", "must be above %s", itself, above) },
    { "exclusiveMaximum",
      bound("exclusiveMaximum", "must be below %s", itself, under) },
    { "multipleOf", check_multiple }, { "format", unknown },
  },
  string = {
    { "minLength", bound("minLength", "needs at least %s", values.length,
      least, "characters") },
    { "maxLength", bound("maxLength", "has more than %s", values.length, most,
      "characters") },
    { "pattern", check_pattern }, { "format", unknown },
    { "contentEncoding", unknown }, { "contentMediaType", unknown },
  },
  array = {
    { "minItems", bound("minItems", "needs at least %s", items_of, least,
      "items") },
    { "maxItems", bound("maxItems", "has more than %s", items_of, most,
      "items") },
    { "uniqueItems", check_unique }, { "items", check_items },
    { "contains", check_contains },
  },
  object = {
    { "minProperties", bound("minProperties", "needs at least %s", members_of,
      least, "properties") },
    { "maxProperties", bound("maxProperties", "has more than %s", members_of,
      most, "properties") },
    { "required", check_required }, { "properties", check_properties },
    { "patternProperties", check_pattern_properties },
    { "additionalProperties", check_additional },
    { "propertyNames", check_property_names },
    { "dependentRequired", check_dependent("dependentRequired") },
    { "dependentSchemas", check_dependent("dependentSchemas") },
    { "dependencies", check_dependent("dependencies") },
  },
}

-- Last: they ask what all the others have looked at.
M.LAST = {
  array = { { "unevaluatedItems",
    check_unevaluated("unevaluatedItems", indices) } },
  object = { { "unevaluatedProperties",
    check_unevaluated("unevaluatedProperties", names_of) } },
}

-- prefixItems alone is a rule of `items`, too.
M.ALSO = { items = "prefixItems" }

return M
