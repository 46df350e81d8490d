--- JSON values as JSON Schema sees them: types, equality, one text for each.
local json = require("agentwire.json")

local M = {}

function M.is_array(value)
  return type(value) == "table" and json.is_array(value)
end

--- The JSON type of a decoded value. An empty table without the array mark is
--- an object, as the decoder makes it.
---@return string
function M.type_of(value)
  if value == nil or value == json.null then
    return "null"
  end
  local kind = type(value)
  if kind == "table" then
    return json.is_array(value) and "array" or "object"
  end
  return kind
end

function M.equal(a, b, budget)
  budget:spend(1)
  if type(a) ~= "table" or type(b) ~= "table" then
    return a == b
  end
  if M.is_array(a) ~= M.is_array(b) then
    return false
  end
  for key, value in pairs(a) do
    if b[key] == nil or not M.equal(value, b[key], budget) then
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

--- A key that is the same for equal values and for no others.
---@return any key nil: the value has no JSON form
function M.key_of(value, budget)
  if type(value) ~= "table" then
    return value
  end
  local text = json.encode_sorted(value)
  budget:spend(text and math.floor(#text / 16) + 1 or 1)
  return text and "\0" .. text
end

--- A value for a message, cut where it gets long.
function M.show(value)
  local text = json.encode(value) or tostring(value)
  if #text > 120 then
    text = text:sub(1, 120):gsub("[\192-\255]?[\128-\191]*$", "") .. "…"
  end
  return text
end

--- Characters, which is what lengths are counted in.
function M.length(text)
  local _, count = text:gsub("[^\128-\191]", "")
  return count
end

--- Whether `value` is a multiple: nil where doubles cannot tell.
---@return boolean|nil
function M.is_multiple(value, of)
  if value % of == 0 or math.fmod(value, of) == 0 then
    return true
  end
  local quotient = value / of
  if math.abs(quotient) >= 2 ^ 50 then
    return nil
  end
  local nearest = math.floor(quotient + 0.5)
  return math.abs(quotient - nearest) <= math.abs(quotient) * 2 ^ -50
end

return M
