--- Misuse of the API: raised at the line of whoever called it, with what is
--- wrong, where, and what was probably meant.
local null = require("agentwire.core").json.null

local M = {}

-- Where this library's own files are, as debug.getinfo names them.
local OWN = debug.getinfo(1, "S").source:match("^(.*)_misuse%.lua$")

--- The level, as for `error`, of the first function that is not this
--- library's: the line to blame, however deep the check was made.
local function level_outside()
  local level = 3
  local info = debug.getinfo(level, "S")
  while info do
    if info.what ~= "C" and OWN and info.source:sub(1, #OWN) ~= OWN then
      return level - 1
    end
    level = level + 1
    info = debug.getinfo(level, "S")
  end
  return 3
end

--- Raises a misuse error at the caller's line.
---@param format string
---@param ... any arguments of string.format
function M.raise(format, ...)
  local message = select("#", ...) > 0 and format:format(...) or format
  error(message, level_outside())
end

-- Optimal string alignment: a swapped pair of letters counts as one mistake.
local function distance(a, b)
  local before, row = nil, {}
  for j = 0, #b do
    row[j] = j
  end
  for i = 1, #a do
    local next_row = { [0] = i }
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      local best = math.min(row[j] + 1, next_row[j - 1] + 1,
        row[j - 1] + (same and 0 or 1))
      if before and i > 1 and j > 1 and a:byte(i) == b:byte(j - 1)
        and a:byte(i - 1) == b:byte(j) then
        best = math.min(best, before[j - 2] + 1)
      end
      next_row[j] = best
    end
    before, row = row, next_row
  end
  return row[#b]
end

-- "arguments" for args, "callback" for call: how many letters begin both.
local function shared_start(a, b)
  local length = 0
  while length < #a and a:byte(length + 1) == b:byte(length + 1) do
    length = length + 1
  end
  return length
end

--- The known name that `name` was probably meant to be: the one with the fewest
--- letters wrong, else one that begins alike.
---@param name string
---@param known string[]
---@return string?
function M.nearest(name, known)
  local best, found = math.max(2, math.floor(#name / 3)) + 1, nil
  local longest, alike, found_start = 2, nil, 0
  local folded = name:lower():gsub("[-_ ]", "")
  for _, candidate in ipairs(known) do
    local other = candidate:lower():gsub("[-_ ]", "")
    local apart, start = distance(folded, other), shared_start(folded, other)
    if apart < #candidate
      and (apart < best or found and apart == best and start > found_start) then
      best, found, found_start = apart, candidate, start
    end
    if start > longest then
      longest, alike = start, candidate
    end
  end
  return found or alike
end

--- What a value is, for "expected …, got …"; secrets are not repeated.
---@param value any
---@return string
function M.describe(value)
  local kind = type(value)
  if value == nil then
    return "nothing"
  elseif value == null then
    return "null"
  elseif kind == "number" then
    return ("the number %s"):format(tostring(value))
  elseif kind == "boolean" then
    return tostring(value)
  end
  return "a " .. kind
end

return M
