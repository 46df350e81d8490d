--- Checks values by JSON Schema, draft 2020-12 and draft 7.
---
--- What a keyword says is true, false or unknown: a format, a pattern or a
--- reference that cannot be followed here neither lets a value pass under
--- `oneOf` nor keeps one out under `not`. A value is refused only if it is
--- certainly wrong, or too costly to check.

local document = require("agentwire.tool._schema_document")
local json = require("agentwire.json")
local options = require("agentwire._options")
local rules = require("agentwire.tool._schema_rules")
local values = require("agentwire.tool._schema_values")

local M = {}

local SCHEMA = options.kind("a JSON Schema as a table, true or false",
  function(value)
    return type(value) == "table" or type(value) == "boolean"
  end)

-- Steps of one check: a keyword, an item, a character under a pattern.
local MAX_STEPS = 1000000

-- Schemas inside of schemas on the way to one value.
local MAX_DEPTH = 400

local Run = {}
Run.__index = Run

local Budget = {}
Budget.__index = Budget

function Budget:spend(steps)
  self.left = self.left - steps
  if self.left < 0 then
    error(self, 0)
  end
end

local function new_run(compiled, path, lenient)
  return setmetatable({
    document = compiled.document,
    budget = setmetatable({ left = compiled.max_steps }, Budget),
    scope = nil, -- the resources on the way here, the innermost first
    lenient = lenient,
    integers = {}, -- {container, key}: floats that shall be integers
    dropped = {}, -- {container, key}: nulls that stand for nothing
    _path = path,
    _keys = {},
    _level = 0,
    _container = nil,
    _depth = 0,
    _active = {}, -- referred schema -> level where that began
    _names = {},
  }, Run)
end

local function show_key(container, key)
  if type(key) == "number" and values.is_array(container) then
    return ("[%d]"):format(key - 1)
  elseif type(key) == "string" and not key:find("^[%w_$-]+$") then
    return "[" .. values.show(key) .. "]"
  end
  return "." .. tostring(key)
end

function Run:where()
  local parts = { self._path }
  for level = 1, self._level do
    parts[level + 1] = self._keys[level]
  end
  return table.concat(parts)
end

function Run:fail(text, ...)
  return false, self:where() .. ": " .. text:format(...)
end

--- A failure one member further down.
function Run:fail_at(key, text, ...)
  return false, self:where() .. show_key(nil, key) .. ": " .. text:format(...)
end

--- The names of a schema's object, sorted, so that messages do not change.
function Run:names(object)
  local names = self._names[object]
  if not names then
    names = {}
    for name in pairs(object) do
      names[#names + 1] = name
    end
    table.sort(names, function(a, b)
      return tostring(a) < tostring(b)
    end)
    self._names[object] = names
  end
  return names
end

function Run:matches(pattern, text)
  if type(pattern) ~= "string" then
    return nil
  end
  local regex = self.document:regex(pattern)
  if not regex then
    return nil
  end
  return regex:find(text, self.budget)
end

function Run:note_integer(value)
  if self._container and tostring(value):find("[.eE]") then
    table.insert(self.integers, { self._container, self._key, value })
  end
end

--- Whether a null stands for an optional member that is not there.
function Run:drops(schema, value, name)
  if not self.lenient or value[name] ~= json.null then
    return false
  end
  for _, required in ipairs(type(schema.required) == "table" and schema.required
    or {}) do
    if required == name then
      return false
    end
  end
  table.insert(self.dropped, { value, name })
  return true
end

--- A member or an item by a schema.
function Run:child(schema, container, key, why_false)
  if schema == false then
    return self:fail_at_key(container, key, why_false)
  end
  local level, outer, outer_key = self._level + 1, self._container, self._key
  self._level, self._keys[level] = level, show_key(container, key)
  self._container, self._key = container, key
  local verdict, why = self:eval(schema, container[key])
  self._level, self._container, self._key = level - 1, outer, outer_key
  return verdict, why
end

function Run:fail_at_key(container, key, why)
  return false, self:where() .. show_key(container, key) .. ": "
    .. (why or "nothing is allowed here")
end

local function truncate(list, count)
  for index = #list, count + 1, -1 do
    list[index] = nil
  end
end

--- The same value by another schema; what it looked at counts here.
function Run:inside(schema, value, marks)
  local integers, dropped = #self.integers, #self.dropped
  local verdict, why, other = self:eval(schema, value, marks ~= nil)
  if verdict == false then
    truncate(self.integers, integers)
    truncate(self.dropped, dropped)
  end
  rules.merge(marks, other, verdict)
  return verdict, why
end

--- A schema that is referred to. One that comes back to itself without any step
--- into the value says nothing.
function Run:refer(schema, value, marks)
  if type(schema) ~= "table" then
    return self:inside(schema, value, marks)
  end
  local before = self._active[schema]
  if before == self._level then
    return nil
  end
  self._active[schema] = self._level
  local verdict, why = self:inside(schema, value, marks)
  self._active[schema] = before
  return verdict, why
end

local function apply(run, list, schema, value, marks)
  local verdict = true
  for index = 1, #list do
    local keyword = list[index][1]
    local also = rules.ALSO[keyword]
    if schema[keyword] ~= nil or also and schema[also] ~= nil then
      run.budget:spend(1)
      local ok, why = list[index][2](run, schema, value, marks)
      if ok == false then
        return false, why
      end
      verdict = rules.both(verdict, ok)
    end
  end
  return verdict
end

local function apply_all(run, schema, value, marks)
  if run.document.dialect == "draft7" and schema["$ref"] ~= nil then
    return apply(run, { rules.REF }, schema, value, marks)
  end
  local kind = values.type_of(value)
  local verdict = true
  for _, list in ipairs {
    rules.ANY, rules.BY_TYPE[kind] or {}, rules.COMBINED,
    marks and rules.LAST[kind] or {},
  } do
    local ok, why = apply(run, list, schema, value, marks)
    if ok == false then
      return false, why
    end
    verdict = rules.both(verdict, ok)
  end
  return verdict
end

function Run:eval(schema, value)
  if schema == false then
    return self:fail("nothing is allowed here")
  elseif type(schema) ~= "table" then
    return schema == true or nil
  end
  self.budget:spend(1)
  self._depth = self._depth + 1
  if self._depth > MAX_DEPTH then
    error(self.budget, 0)
  end
  local scope, base = self.scope, self.document:base(schema)
  if not scope or scope.base ~= base then
    self.scope = { base = base, outer = scope }
  end
  local marks = self.document.tracks and {} or nil
  local verdict, why = apply_all(self, schema, value, marks)
  self.scope = scope
  self._depth = self._depth - 1
  return verdict, why, marks
end

---@class agentwire.Schema
---@field document agentwire.SchemaDocument
---@field max_steps integer
local Schema = {}
Schema.__index = Schema

---@param schema table|boolean decoded JSON Schema, or a Lua table of its shape
---@param given? {dialect: string?, max_steps: integer?}
---@return agentwire.Schema
function M.new(schema, given)
  return setmetatable({
    document = document.new(schema, given and given.dialect),
    max_steps = given and given.max_steps or MAX_STEPS,
  }, Schema)
end

local function has_keyword(root)
  for name in pairs(root) do
    if document.KEYWORDS[name] or name == "description" or name == "title"
      or name == "$schema" or name == "default" or name == "examples" then
      return true
    end
  end
  return next(root) == nil
end

--- What makes it no schema for the arguments of a tool; nil for nothing.
---@return string? problem "properties.path.type: expected one of …"
function Schema:problem()
  local root = self.document.root
  if type(root) ~= "table" or values.is_array(root) and #root > 0 then
    return "expected an object with a JSON Schema, got "
      .. values.type_of(root)
  elseif self.document.problems[1] then
    return self.document.problems[1]
  elseif type(root.type) == "string" and root.type ~= "object" then
    return "type: the arguments of a tool are an object, not " .. root.type
  elseif not has_keyword(root) then
    local name = tostring((next(root)))
    return ("%s is no keyword of JSON Schema; put it in properties = { … }")
      :format(name)
  end
end

local function check(self, value, path, lenient)
  local run = new_run(self, path or "args", lenient)
  local ok, verdict, why = pcall(run.eval, run, self.document.root, value)
  if not ok then
    if verdict ~= run.budget then
      error(verdict, 0)
    end
    return nil, ("%s: too costly to check (more than %.0f steps of max_steps,"
      .. " or schemas nested deeper than %d)"):format(run._path,
      self.max_steps, MAX_DEPTH), run
  elseif verdict == false and run.document.dialect ~= "other" then
    return nil, why, run
  end
  return true, nil, run
end

---@param value any
---@param path? string what the message calls the value, "args" by default
---@return true|nil ok
---@return string? message "args.path: expected string, got number"
---@return string? code invalid_arguments
function Schema:check(value, path)
  local ok, why = check(self, value, path)
  if ok then
    return true
  end
  return nil, why, "invalid_arguments"
end

local function to_integer(value)
  if value < 2 ^ 53 and value > -2 ^ 53 then
    return math.floor(value)
  end
end

--- Checks arguments and makes of them what a handler expects: where the schema
--- says integer, `20.0` is 20, and a null for an optional member that cannot be
--- null is taken away.
---@param args any decoded; changed in place
---@return true|nil ok
---@return string? message
---@return string? code invalid_arguments
---@return table[] inexact {container, key, value}: integers of 2^53 and above
function Schema:accept(args)
  local ok, why, run = check(self, args, "args")
  if not ok then
    local _, _, lenient = check(self, args, "args", true)
    for _, each in ipairs(lenient.dropped) do
      each[1][each[2]] = nil
    end
    if #lenient.dropped > 0 then
      local again
      ok, again, run = check(self, args, "args")
      why = again or why
    end
  end
  if not ok then
    return nil, why, "invalid_arguments", {}
  end
  local inexact = {}
  for _, each in ipairs(run.integers) do
    local integer = to_integer(each[3])
    if integer then
      each[1][each[2]] = integer
    else
      inexact[#inexact + 1] = each
    end
  end
  return true, nil, nil, inexact
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
  options.argument("tool.check", "schema", SCHEMA, schema)
  options.optional("tool.check", "path", options.string, path)
  return M.new(schema):check(value, path)
end

return M
