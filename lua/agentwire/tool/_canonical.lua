---JSON in one order of members, whichever process writes it: what reaches a
---model again and again has to be the same bytes, or no cache of prompts hits.
local json = require("agentwire.json")

local M = {}

-- As people write schemas; all other members follow by name.
local FIRST = {}
for index, name in ipairs {
  "$schema", "$id", "type", "title", "description", "properties", "required",
  "additionalProperties",
} do
  FIRST[name] = index
end

local function before(a, b)
  local rank_a, rank_b = FIRST[a], FIRST[b]
  if rank_a and rank_b then
    return rank_a < rank_b
  elseif rank_a or rank_b then
    return rank_a ~= nil
  end
  return a < b
end

-- The members of a schema whose empty tables are lists, or objects.
local LISTS = { required = true, enum = true, allOf = true, anyOf = true,
  oneOf = true, prefixItems = true, examples = true }
local MAPS = { properties = true, patternProperties = true, ["$defs"] = true,
  definitions = true, dependentSchemas = true, dependentRequired = true }
-- Below these nothing is a keyword.
local DATA = { const = true, enum = true, default = true, examples = true }

local write

local function fail(value)
  local _, why = json.encode(value)
  error({ why = why or "no JSON form" }, 0)
end

local function write_plain(out, value)
  out[#out + 1] = json.encode(value) or fail(value)
end

local function write_array(out, value, place)
  out[#out + 1] = "["
  for index = 1, #value do
    if index > 1 then
      out[#out + 1] = ","
    end
    write(out, value[index], place)
  end
  out[#out + 1] = "]"
end

--- `place`: "schema", "map" (names of any kind, schemas below) or nil (data).
local function place_of(name, place)
  if place == "map" then
    return "schema"
  elseif place == "schema" and not DATA[name] then
    return MAPS[name] and "map" or "schema"
  end
end

local function write_member(out, name, value, place)
  write_plain(out, name)
  out[#out + 1] = ":"
  if place == "schema" and type(value) == "table" and next(value) == nil
    and (LISTS[name] or MAPS[name]) then
    out[#out + 1] = LISTS[name] and "[]" or "{}"
  else
    write(out, value, place_of(name, place))
  end
end

local function write_object(out, value, place)
  local names = {}
  for name in pairs(value) do
    if type(name) ~= "string" then
      fail(value)
    end
    names[#names + 1] = name
  end
  table.sort(names, place == "schema" and before or nil)
  out[#out + 1] = "{"
  for index, name in ipairs(names) do
    if index > 1 then
      out[#out + 1] = ","
    end
    write_member(out, name, value[name], place)
  end
  out[#out + 1] = "}"
end

function write(out, value, place)
  if type(value) ~= "table" or next(value) == nil then
    write_plain(out, value)
  elseif json.is_array(value) then
    write_array(out, value, place)
  else
    write_object(out, value, place)
  end
end

local function encode(value, place)
  -- The codec knows what has no JSON form, cycles among it.
  local text, why, code = json.encode(value)
  if not text or type(value) ~= "table" then
    return text, why, code
  end
  local out = {}
  local ok, problem = pcall(write, out, value, place)
  if not ok then
    return nil, type(problem) == "table" and problem.why or problem,
      "invalid_argument"
  end
  return table.concat(out)
end

---Members by name.
---@param value any
---@return string? text
---@return string? message
---@return string? code
function M.encode(value)
  return encode(value)
end

---A JSON Schema: keywords in their usual order, and lists and objects told
---apart where they are empty (`required = {}` is `[]`).
---@param schema table|boolean
---@return string? text
---@return string? message
---@return string? code
function M.schema(schema)
  return encode(schema, "schema")
end

return M
