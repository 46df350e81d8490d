--- Text of tools for a model: whatever bytes a tool has printed, what is text
--- in them arrives.
local json = require("agentwire.json")

local M = {}

local REPLACEMENT = "\239\191\189" -- U+FFFD

--- How many bytes the character at `at` has (RFC 3629); nil for none.
local function character(text, at)
  local a, b, c, d = text:byte(at, at + 3)
  local function rest(byte, low, high)
    return byte and byte >= (low or 0x80) and byte <= (high or 0xBF)
  end
  if a < 0x80 then
    return 1
  elseif a >= 0xC2 and a <= 0xDF then
    return rest(b) and 2
  elseif a >= 0xE0 and a <= 0xEF then
    return rest(b, a == 0xE0 and 0xA0, a == 0xED and 0x9F) and rest(c) and 3
  elseif a >= 0xF0 and a <= 0xF4 then
    return rest(b, a == 0xF0 and 0x90, a == 0xF4 and 0x8F) and rest(c)
      and rest(d) and 4
  end
end

---@return string text with a sign for each byte that is none of it
---@return integer bad those bytes
local function replace(text)
  local out, bad, at = {}, 0, 1
  while at <= #text do
    local plain = text:match("^[%z\1-\127]+", at)
    local count = plain and #plain or character(text, at)
    out[#out + 1] = count and text:sub(at, at + count - 1) or REPLACEMENT
    bad = bad + (count and 0 or 1)
    at = at + (count or 1)
  end
  return table.concat(out), bad
end

--- Controls that no text has, or hardly a character that is one.
local function is_binary(text, bad)
  return text:find("[%z\1-\6\14-\26\28-\31\127]") ~= nil
    or bad >= 8 and bad * 3 > #text
end

--- Text as a model can be given it: bytes that are no UTF-8 become U+FFFD, and
--- a note says so; of what is no text at all only the size is told.
---@param text string
---@return string
function M.repair(text)
  if json.encode(text) then
    return text
  end
  local repaired, bad = replace(text)
  if is_binary(text, bad) then
    return ("[%d bytes of binary]"):format(#text)
  end
  return ("%s\n[%d %s no UTF-8, shown as %s]"):format(repaired, bad,
    bad == 1 and "byte is" or "bytes are", REPLACEMENT)
end

--- The same on one line, without the note: for messages of errors.
---@param text string
---@return string
function M.line(text)
  return json.encode(text) and text or (replace(text))
end

local function repair_all(value, depth)
  if type(value) == "string" then
    return M.repair(value)
  elseif type(value) ~= "table" or depth == 0 then
    return value
  end
  local out = json.is_array(value) and json.array {} or {}
  for key, each in pairs(value) do
    out[type(key) == "string" and M.line(key) or key] =
      repair_all(each, depth - 1)
  end
  return out
end

--- JSON with members by name; strings that are no UTF-8 are repaired.
---@param value any
---@return string? text
---@return string? message
---@return string? code
function M.encode(value)
  local text, why, code = json.encode_sorted(value)
  if not text and code == "json_utf8" then
    return json.encode_sorted(repair_all(value, 130))
  end
  return text, why, code
end

--- A value whose strings have a JSON form.
function M.repaired(value)
  return json.encode(value) and value or repair_all(value, 130)
end

return M
