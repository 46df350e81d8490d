--- What a peer's message must look like: a table of fields for each message
--- type, and one check that names the field which is wrong.

local json = require("agentwire.json")

local M = {}

local function is_integer(value)
  return type(value) == "number" and value % 1 == 0
end

local function is_list_of(kind)
  return function(value)
    if type(value) ~= "table" then
      return false
    end
    for _, item in ipairs(value) do
      if type(item) ~= kind then
        return false
      end
    end
    return next(value) == nil or json.is_array(value)
  end
end

local KINDS = {
  string = function(value)
    return type(value) == "string"
  end,
  boolean = function(value)
    return type(value) == "boolean"
  end,
  integer = is_integer,
  object = function(value)
    return type(value) == "table"
  end,
  strings = is_list_of("string"),
  objects = is_list_of("table"),
}

--- A field that has to be there, of `kind` (string, boolean, integer, object,
--- strings, objects).
---@param kind string
---@return table
function M.required(kind)
  return { accepts = assert(KINDS[kind]), kind = kind, required = true }
end

--- A field that may be absent.
---@param kind string
---@return table
function M.optional(kind)
  return { accepts = assert(KINDS[kind]), kind = kind, required = false }
end

local function problem_of(field, value)
  if value == nil then
    return field.required and "missing field: %s" or nil
  elseif not field.accepts(value) then
    return "%s: expected " .. field.kind
  end
end

--- Checks a received message in place; `null` becomes absent. Of several wrong
--- fields the first by name is told.
---@param spec table<string, table>
---@param message table
---@return true|nil ok
---@return string? message
---@return string? code invalid_request
function M.check(spec, message)
  local worst, text
  for name, field in pairs(spec) do
    if message[name] == json.null then
      message[name] = nil
    end
    local problem = problem_of(field, message[name])
    if problem and (not worst or name < worst) then
      worst, text = name, problem
    end
  end
  if worst then
    return nil, text:format(worst), "invalid_request"
  end
  return true
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

--- The member `name` of a decoded object, with `null` read as absent.
---@param object table
---@param name string
---@param kind string Lua type
---@return any
function M.member(object, name, kind)
  local value = object[name]
  if type(value) == kind then
    return value
  end
  return nil
end

return M
