--- What an entry point takes: names, kinds and shapes of its options, declared
--- once and checked the same way everywhere. A wrong one raises at the caller's
--- line: `connect: unknown option tokne; did you mean token?`
---
--- A kind is `{ name = "a string", accepts = function(value) -> boolean }`; a
--- spec is a kind too, so options tables nest.
local misuse = require("agentwire._misuse")

local M = {}

---@class agentwire.OptionKind
---@field name string what is expected, for messages
---@field accepts fun(value: any): boolean

---@param name string
---@param accepts fun(value: any): boolean
---@return agentwire.OptionKind
function M.kind(name, accepts)
  return { name = name, accepts = accepts }
end

local kind = M.kind

local function of_type(name, lua_type)
  return kind(name, function(value)
    return type(value) == lua_type
  end)
end

local function is_number(value, least, most)
  return type(value) == "number" and value == value
    and value >= (least or -math.huge) and value <= (most or math.huge)
end

local function is_integer(value, least, most)
  return is_number(value, least, most) and value % 1 == 0
end

M.string = of_type("a string", "string")
M.boolean = of_type("true or false", "boolean")
M.func = of_type("a function", "function")
M.table = of_type("a table", "table")
M.any = kind("a value", function(value)
  return value ~= nil
end)
M.filled = kind("a string that is not empty", function(value)
  return type(value) == "string" and value ~= ""
end)

--- Milliseconds; `math.huge` is no limit.
M.duration_ms = kind("a duration in milliseconds", function(value)
  return is_number(value, 0)
end)

M.number = kind("a number", is_number)

---@param least number?
---@param most number?
function M.integer(least, most)
  local name = "an integer"
  if least and most then
    name = ("an integer from %.0f to %.0f"):format(least, most)
  elseif least then
    name = ("an integer of %.0f or more"):format(least)
  end
  return kind(name, function(value)
    return is_integer(value, least, most)
  end)
end

--- How many of something, at least one.
M.count = M.integer(1, 2 ^ 31 - 1)

--- A size in bytes.
M.bytes = M.integer(1, 2 ^ 53 - 1)

---@param list string[]
function M.one_of(list)
  local known = {}
  for _, name in ipairs(list) do
    known[name] = true
  end
  return kind("one of " .. table.concat(list, ", "), function(value)
    return type(value) == "string" and known[value] == true
  end)
end

---@param item agentwire.OptionKind
function M.list_of(item)
  return kind("a list, each " .. item.name, function(value)
    if type(value) ~= "table" then
      return false
    end
    local count = 0
    for index, member in pairs(value) do
      if not is_integer(index, 1) or not item.accepts(member) then
        return false
      end
      count = count + 1
    end
    return count == #value
  end)
end

--- Any of several kinds; one of them may be a spec.
---@param ... agentwire.OptionKind
function M.either(...)
  local kinds, names, spec = { ... }, {}, nil
  for index, each in ipairs(kinds) do
    names[index] = each.name
    spec = each.problem and each or spec
  end
  local either = kind(table.concat(names, ", or "), function(value)
    for _, each in ipairs(kinds) do
      if each.accepts(value) then
        return true
      end
    end
    return false
  end)
  either.spec = spec
  return either
end

--- How ids are written: 8-4-4-4-12 hexadecimal digits.
M.uuid = kind("a UUID", function(value)
  return type(value) == "string" and #value == 36
    and value:find("^%x+%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x+$") == 1
    and value:sub(9, 9) == "-"
end)

--- The one value given.
function M.constant(value)
  return kind(tostring(value), function(given)
    return given == value
  end)
end

--- An object with a method of this name, as our own classes have.
---@param name string what is expected
---@param method string
function M.having(name, method)
  return kind(name, function(value)
    local ok, found = pcall(function()
      return value[method]
    end)
    return type(value) ~= "string" and ok and found ~= nil
  end)
end

--- An end of a connection.
M.connection = M.having("a connection", "send_control")

---@class agentwire.OptionSpec: agentwire.OptionKind
---@field title string
local Spec = {}
Spec.__index = Spec

---@param title string the entry point, or the option that this table is
---@param fields table<string, agentwire.OptionKind>
---@param ... agentwire.OptionSpec specs whose options are taken as well
---@return agentwire.OptionSpec
function M.spec(title, fields, ...)
  local self = setmetatable({
    title = title,
    name = "a table",
    _fields = {},
    _names = {},
    _open = false,
  }, Spec)
  for _, base in ipairs { ... } do
    for name, each in pairs(base._fields) do
      self._fields[name] = each
    end
  end
  for name, each in pairs(fields) do
    self._fields[name] = each
  end
  for name in pairs(self._fields) do
    table.insert(self._names, name)
  end
  table.sort(self._names)
  self.accepts = function(value)
    return type(value) == "table" and self:problem(value) == nil
  end
  return self
end

--- Lets names pass that it does not know, unless they look like one it does:
--- for tables that a peer reads as well.
---@return agentwire.OptionSpec self
function Spec:open()
  self._open = true
  return self
end

---@param name string
---@return boolean
function Spec:has(name)
  return self._fields[name] ~= nil
end

--- The names it knows, sorted.
---@return string[]
function Spec:names()
  return self._names
end

--- Of a table of options those that this spec knows: what is handed on, without
--- a list of names that one could be missing from.
---@param given table
---@return table picked a new one
function Spec:pick(given)
  local picked = {}
  for _, name in ipairs(self._names) do
    picked[name] = given[name]
  end
  return picked
end

local function spec_of(each)
  return each.problem and each or each.spec
end

--- Options are often put one table too high: the option whose table knows the
--- name.
local function find_home(self, name)
  for _, other in ipairs(self._names) do
    local inner = spec_of(self._fields[other])
    if inner and inner:has(name) then
      return other
    end
  end
end

local function unknown(self, name)
  if type(name) ~= "string" then
    return ("options are named; %s is none"):format(misuse.describe(name))
  end
  local home = find_home(self, name)
  if home then
    return ("unknown option %s; it belongs in %s = { … }"):format(name, home)
  end
  local meant = misuse.nearest(name, self._names)
  if meant then
    return ("unknown option %s; did you mean %s?"):format(name, meant)
  end
  return ("unknown option %s; there are %s"):format(name,
    table.concat(self._names, ", "))
end

local function wrong(name, expected, value)
  return ("option %s: expected %s, got %s"):format(name, expected.name,
    misuse.describe(value))
end

local function passes(self, name)
  return self._open and type(name) == "string"
    and not misuse.nearest(name, self._names)
end

---@return string? problem the first, by name
function Spec:problem(given)
  local problems = {}
  for name, value in pairs(given) do
    local expected = self._fields[name]
    if not expected then
      if not passes(self, name) then
        table.insert(problems, unknown(self, name))
      end
    elseif not expected.accepts(value) then
      local inner = type(value) == "table" and spec_of(expected)
      local deeper = inner and inner:problem(value)
      table.insert(problems, deeper and ("option %s: %s"):format(name, deeper)
        or wrong(name, expected, value))
    end
  end
  table.sort(problems)
  return problems[1]
end

--- Raises what is wrong at the caller's line.
---@param given table? nil: no options
---@return table given
function Spec:check(given)
  if given == nil then
    return {}
  elseif type(given) ~= "table" then
    misuse.raise("%s: options: expected a table, got %s", self.title,
      misuse.describe(given))
  end
  local problem = self:problem(given)
  if problem then
    misuse.raise("%s: %s", self.title, problem)
  end
  return given
end

--- Checks one argument of an entry point.
---@generic T
---@param title string the entry point
---@param name string the argument
---@param expected agentwire.OptionKind
---@param value T
---@return T value
function M.argument(title, name, expected, value)
  if not expected.accepts(value) then
    misuse.raise("%s: %s: expected %s, got %s", title, name, expected.name,
      misuse.describe(value))
  end
  return value
end

--- The same for an argument that may be left out.
---@generic T
---@param title string the entry point
---@param name string the argument
---@param expected agentwire.OptionKind
---@param value T?
---@return T? value
function M.optional(title, name, expected, value)
  if value ~= nil then
    M.argument(title, name, expected, value)
  end
  return value
end

-- What is left of a deadline may be negative, and is no time then.
local TIMEOUT = kind("a duration in milliseconds", is_number)

--- Checks an entry point's last argument, how long it may wait.
---@param title string the entry point
---@param value number?
---@return number? value
function M.timeout(title, value)
  return M.optional(title, "timeout_ms", TIMEOUT, value)
end

return M
