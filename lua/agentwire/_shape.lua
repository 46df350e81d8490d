--- What a peer's message must look like: shapes, made of smaller ones, and one
--- check that names the field which is wrong. A shape is a function(value) that
--- returns nothing when the value fits, else what is the matter and the path
--- below the value. Paths are built on failure only, so that a good message
--- costs no strings.
local json = require("agentwire.json")

local M = {}

local MISSING = "missing"

local function absent(value)
  return value == nil or value == json.null
end

-- A value without parts: `accepts` decides, `name` is what was expected.
local function plain(name, accepts)
  local problem = "expected " .. name
  return function(value)
    if not accepts(value) then
      return absent(value) and MISSING or problem
    end
  end
end

local function of_type(name)
  return plain(name, function(value)
    return type(value) == name
  end)
end

local function is_integer(value)
  return type(value) == "number" and value % 1 == 0
end

M.text = of_type("string")
M.flag = of_type("boolean")
M.number = of_type("number")
M.integer = plain("integer", is_integer)

M.count = plain("integer of 0 or more", function(value)
  return is_integer(value) and value >= 0
end)

M.filled = plain("string that is not empty", function(value)
  return type(value) == "string" and value ~= ""
end)

M.any = plain("a value", function(value)
  return not absent(value)
end)

--- One of a list of strings.
---@param list string[]
function M.one_of(list)
  local known = {}
  for _, name in ipairs(list) do
    known[name] = true
  end
  return plain("one of " .. table.concat(list, ", "), function(value)
    return type(value) == "string" and known[value]
  end)
end

--- May be absent; `null` reads as absent.
---@param shape function
function M.optional(shape)
  return function(value)
    if not absent(value) then
      return shape(value)
    end
  end
end

local function join(name, below)
  if not below or below == "" then
    return name
  end
  return below:sub(1, 1) == "[" and name .. below or name .. "." .. below
end

--- True for a table that reads as a JSON array; the empty table reads as both.
---@param value any
---@return boolean
function M.is_list(value)
  return type(value) == "table"
    and (json.is_array(value) or next(value) == nil or value[1] ~= nil)
end

local array = plain("array", M.is_list)

---@param shape function of each element
function M.array_of(shape)
  return function(value)
    if not M.is_list(value) then
      return array(value)
    end
    for index = 1, #value do
      local problem, below = shape(value[index])
      if problem then
        return problem, join("[" .. (index - 1) .. "]", below)
      end
    end
  end
end

local function is_object(value)
  return type(value) == "table" and value[1] == nil
end

local object = plain("object", is_object)

--- An object; members that are not named may be anything.
---@param fields table pairs of name and shape, in a list: of several wrong
--- fields the first is told
function M.object(fields)
  return function(value)
    if not is_object(value) then
      return object(value)
    end
    for index = 1, #fields, 2 do
      local name = fields[index]
      local problem, below = fields[index + 1](value[name])
      if problem then
        return problem, join(name, below)
      end
    end
  end
end

--- The shape is chosen by a member's value: blocks by `type`, messages by
--- `role`.
---@param member string
---@param shapes table<string, function>
function M.by_member(member, shapes)
  local names = {}
  for name in pairs(shapes) do
    names[#names + 1] = name
  end
  table.sort(names)
  local known = M.one_of(names)
  return function(value)
    if not is_object(value) then
      return object(value)
    end
    local problem = known(value[member])
    if problem then
      return problem, member
    end
    return shapes[value[member]](value)
  end
end

--- Takes the members that are `null` out of a table.
---@generic T
---@param value T
---@return T value
function M.drop_nulls(value)
  if type(value) == "table" then
    for key, member in pairs(value) do
      if member == json.null then
        value[key] = nil
      end
    end
  end
  return value
end

--- Checks a received payload in place; its members that are `null` become
--- absent.
---@param shape function
---@param payload table
---@return true|nil ok
---@return string? message
---@return string? code invalid_request
---@return string? field path of the field, JSON style (`messages[0].role`)
function M.check(shape, payload)
  local problem, field = shape(M.drop_nulls(payload))
  if not problem then
    return true
  end
  field = field or "payload"
  local message = problem == MISSING and "missing field: " .. field
    or field .. ": " .. problem
  return nil, message, "invalid_request", field
end

--- Decodes a member that is a string of JSON holding an object.
---@param text string|nil
---@param name string for the message
---@return table|nil value an empty table when `text` is absent
---@return string? message
---@return string? code invalid_request
function M.decode_object(text, name)
  if text == nil then
    return {}
  end
  local value, why = json.decode(text)
  if value == nil then
    return nil, name .. ": " .. why, "invalid_request"
  end
  if type(value) ~= "table" or json.is_array(value) then
    return nil, name .. ": expected a JSON object", "invalid_request"
  end
  return value
end

--- A member of a decoded object if it is of that type.
---@param decoded table
---@param name string
---@param kind string Lua type
---@return any
function M.member(decoded, name, kind)
  local value = decoded[name]
  if type(value) == kind then
    return value
  end
  return nil
end

--- Checks a received message against the shape of its type.
---@param messages table<string, function> by type
---@param event table flat: payload members and `type`
---@return true|nil ok
---@return string? message names the field
---@return string? code invalid_request
function M.check_message(messages, event)
  local expected = messages[event.type]
  if not expected then
    return nil, "unknown message type: " .. tostring(event.type),
      "invalid_request"
  end
  return M.check(expected, event)
end

return M
