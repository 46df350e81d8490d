--- JSON Schemas in one form, whichever process writes them: what reaches a
--- model again and again has to be the same bytes, or no cache of prompts hits.
--- Used where tools are registered; what was given is copied, never changed.
local json = require("agentwire.json")

local M = {}

-- The members of a schema whose empty tables are lists, or objects.
local LISTS = { required = true, enum = true, allOf = true, anyOf = true,
  oneOf = true, prefixItems = true, examples = true }
local MAPS = { properties = true, patternProperties = true, ["$defs"] = true,
  definitions = true, dependentSchemas = true, dependentRequired = true }
-- Below these nothing is a keyword.
local DATA = { const = true, enum = true, default = true, examples = true }

-- A codec finds what nests deeper, and names it.
local MAX_DEPTH = 130

local copy

local function copy_list(list, place, depth)
  local out = json.array {}
  for index = 1, #list do
    out[index] = copy(list[index], place, depth)
  end
  return out
end

--- `place`: "schema", "map" (names of any kind, schemas below) or nil (data).
local function place_of(name, place)
  if place == "map" then
    return "schema"
  elseif place == "schema" and not DATA[name] then
    return MAPS[name] and "map" or "schema"
  end
end

function copy(value, place, depth)
  if type(value) ~= "table" or depth > MAX_DEPTH then
    return value
  elseif json.is_array(value) then
    return copy_list(value, place, depth + 1)
  end
  local out = {}
  for name, each in pairs(value) do
    if place == "schema" and type(each) == "table" and next(each) == nil
      and (LISTS[name] or MAPS[name]) then
      out[name] = LISTS[name] and json.array {} or {}
    else
      out[name] = copy(each, place_of(name, place), depth + 1)
    end
  end
  return out
end

--- A copy that is always written the same: members by name, and lists and
--- objects told apart where they are empty (`required = {}` is `[]`).
---@param schema any
---@return any
function M.schema(schema)
  if type(schema) ~= "table" or json.is_array(schema) then
    return schema
  end
  return json.sorted(copy(schema, "schema", 1))
end

return M
