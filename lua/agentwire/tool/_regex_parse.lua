--- Reads an ECMA-262 pattern (Unicode mode, with what browsers still allow
--- outside of it) as a tree. What has no meaning there, or one that a linear
--- search cannot keep, is refused by name.
local M = {}

local LAST = 0x10FFFF

local DIGIT = { 48, 57 }
local WORD = { 48, 57, 65, 90, 95, 95, 97, 122 }
local SPACE = { 9, 13, 32, 32, 0xA0, 0xA0, 0x1680, 0x1680, 0x2000, 0x200A,
  0x2028, 0x2029, 0x202F, 0x202F, 0x205F, 0x205F, 0x3000, 0x3000,
  0xFEFF, 0xFEFF }
local LINE_ENDS = { 10, 10, 13, 13, 0x2028, 0x2029 }

local function complement(ranges)
  local out, from = {}, 0
  for index = 1, #ranges, 2 do
    if ranges[index] > from then
      out[#out + 1] = from
      out[#out + 1] = ranges[index] - 1
    end
    from = ranges[index + 1] + 1
  end
  out[#out + 1] = from
  out[#out + 1] = LAST
  return out
end

local CLASSES = {
  d = DIGIT, D = complement(DIGIT),
  w = WORD, W = complement(WORD),
  s = SPACE, S = complement(SPACE),
}

local CONTROLS = { t = 9, n = 10, v = 11, f = 12, r = 13 }

-- What is known of the Unicode properties: who of ASCII has them.
local LETTER, UPPER, LOWER = { 65, 90, 97, 122 }, { 65, 90 }, { 97, 122 }
local PUNCTUATION = { 33, 35, 37, 42, 44, 47, 58, 59, 63, 64, 91, 93, 95, 95,
  123, 123, 125, 125 }
local SYMBOL = { 36, 36, 43, 43, 60, 62, 94, 94, 96, 96, 124, 124, 126, 126 }
local PROPERTIES = {
  L = LETTER, Letter = LETTER, Alphabetic = LETTER, Alpha = LETTER,
  Latin = LETTER, Latn = LETTER,
  Lu = UPPER, Uppercase_Letter = UPPER, Uppercase = UPPER,
  Ll = LOWER, Lowercase_Letter = LOWER, Lowercase = LOWER,
  N = DIGIT, Number = DIGIT, Nd = DIGIT, Decimal_Number = DIGIT,
  P = PUNCTUATION, Punctuation = PUNCTUATION, S = SYMBOL, Symbol = SYMBOL,
  Z = { 32, 32 }, Separator = { 32, 32 }, Zs = { 32, 32 },
  Space_Separator = { 32, 32 },
}

--- The code point at byte `at`, and where the next one begins. A byte that is
--- no UTF-8 stands for itself as U+FFFD.
---@param text string
---@param at integer
---@return integer? code nil at the end
---@return integer? next
function M.decode(text, at)
  local first = text:byte(at)
  if not first then
    return nil
  elseif first < 0x80 then
    return first, at + 1
  end
  local count = first >= 0xF0 and 3 or first >= 0xE0 and 2 or 1
  local code = first % 2 ^ (6 - count)
  for index = 1, count do
    local byte = text:byte(at + index)
    if first < 0xC2 or not byte or byte < 0x80 or byte > 0xBF then
      return 0xFFFD, at + 1
    end
    code = code * 64 + byte % 64
  end
  return code, at + count + 1
end

local function in_ranges(ranges, code)
  for index = 1, #ranges, 2 do
    if code >= ranges[index] and code <= ranges[index + 1] then
      return true
    end
  end
  return false
end

M.in_ranges = in_ranges

--- Whether `code` is of the set: true, false, or nil for unknown.
local function set_test(ranges, properties, negated)
  return function(code)
    local found = in_ranges(ranges, code)
    for _, property in ipairs(not found and properties or {}) do
      local has = property(code)
      if has then
        found = true
        break
      elseif has == nil then
        found = nil
      end
    end
    if negated and found ~= nil then
      return not found
    end
    return found
  end
end

local function property_test(ranges, negated)
  return function(code)
    if code < 128 then
      return in_ranges(ranges, code) ~= negated
    end
    return nil
  end
end

local function fail(p, what)
  error({ regex = ("%s at byte %d"):format(what, p.at) }, 0)
end

local function take(p, pattern)
  local from, to, captured = p.text:find("^" .. pattern, p.at)
  if from then
    p.at = to + 1
    return captured or p.text:sub(from, to)
  end
end

local function set(ranges, properties, negated)
  return { kind = "set", test = set_test(ranges, properties, negated) }
end

local function read_property(p, negated)
  local name = take(p, "{([%w_=]+)}")
  if not name then
    fail(p, "a property is \\p{Name}")
  end
  local short = name:match("^[%a_]+=(.+)$") or name
  if short == "Any" or short == "ASCII" then
    local ranges = { 0, short == "Any" and LAST or 127 }
    return function(code)
      return in_ranges(ranges, code) ~= negated
    end
  elseif not PROPERTIES[short] then
    fail(p, "unknown property " .. name)
  end
  p.partial = true
  return property_test(PROPERTIES[short], negated)
end

local function read_unicode(p)
  local hex = take(p, "{(%x+)}") or take(p, "%x%x%x%x")
  if not hex then
    fail(p, "\\u takes four hexadecimal digits")
  end
  local code = tonumber(hex, 16)
  if code >= 0xD800 and code < 0xDC00 then
    local low = take(p, "\\u([dD][c-fC-F]%x%x)")
    if low then
      return 0x10000 + (code - 0xD800) * 1024 + tonumber(low, 16) - 0xDC00
    end
  end
  return code
end

--- What stands behind a backslash: a code point, or ranges, or a property.
local function read_escape(p)
  local letter = take(p, "%w")
  if CLASSES[letter] then
    return nil, CLASSES[letter]
  elseif letter == "p" or letter == "P" then
    return nil, nil, read_property(p, letter == "P")
  elseif CONTROLS[letter] then
    return CONTROLS[letter]
  elseif letter == "u" then
    return read_unicode(p)
  elseif letter == "x" then
    return tonumber(take(p, "%x%x") or fail(p, "\\x takes two digits"), 16)
  elseif letter == "c" then
    return (take(p, "%a") or fail(p, "\\c takes a letter")):byte() % 32
  elseif letter == "0" and not p.text:find("^%d", p.at) then
    return 0
  elseif letter == "k" or letter and letter:find("%d") then
    fail(p, "a back reference")
  elseif letter then
    fail(p, "unknown escape \\" .. letter)
  end
  local code, after = M.decode(p.text, p.at)
  if not code then
    fail(p, "a backslash ends it")
  end
  p.at = after
  return code
end

local function read_class_atom(p)
  if take(p, "\\") then
    if take(p, "b") then
      return 8
    end
    return read_escape(p)
  end
  local code, after = M.decode(p.text, p.at)
  if not code then
    fail(p, "a class is not closed")
  end
  p.at = after
  return code
end

local function read_class(p)
  local negated = take(p, "%^") ~= nil
  local ranges, properties = {}, {}
  while not take(p, "%]") do
    local code, class, property = read_class_atom(p)
    properties[#properties + 1] = property
    for _, bound in ipairs(class or {}) do
      ranges[#ranges + 1] = bound
    end
    if code then
      local last = code
      if p.text:find("^%-[^%]]", p.at) then
        p.at = p.at + 1
        last = read_class_atom(p) or fail(p, "a class cannot end a range")
      end
      if last < code then
        fail(p, "a range goes backwards")
      end
      ranges[#ranges + 1], ranges[#ranges + 2] = code, last
    end
  end
  return set(ranges, properties, negated)
end

local read_alternatives

local GROUPS = {
  { "%?:", {} },
  { "%?=", { kind = "look" } },
  { "%?!", { kind = "look", negated = true } },
  { "%?<=", { kind = "look", behind = true } },
  { "%?<!", { kind = "look", behind = true, negated = true } },
  { "%?<[%a_$][%w_$]*>", {} },
}

local function read_group(p)
  local found = {}
  for _, group in ipairs(GROUPS) do
    if take(p, group[1]) then
      found = group[2]
      break
    end
  end
  if p.text:find("^%?", p.at) then
    fail(p, "unknown kind of group")
  end
  p.depth = p.depth + 1
  if p.depth > 50 then
    fail(p, "groups nested too deeply")
  end
  local inner = read_alternatives(p)
  p.depth = p.depth - 1
  if not take(p, "%)") then
    fail(p, "a group is not closed")
  end
  if not found.kind then
    return inner
  end
  return { kind = "look", inner, negated = found.negated,
    behind = found.behind }
end

local ASSERTIONS = { ["^"] = "start", ["$"] = "finish" }

local function read_atom(p)
  local sign = take(p, "[%^$.%[(\\*+?]")
  if ASSERTIONS[sign] then
    return { kind = ASSERTIONS[sign] }
  elseif sign == "." then
    return set(LINE_ENDS, nil, true)
  elseif sign == "[" then
    return read_class(p)
  elseif sign == "(" then
    return read_group(p)
  elseif sign == "\\" then
    local edge = take(p, "[bB]")
    if edge then
      return { kind = "edge", negated = edge == "B" }
    end
    local code, class, property = read_escape(p)
    return set(class or code and { code, code } or {}, { property })
  elseif sign then
    fail(p, "nothing to repeat")
  end
  local code, after = M.decode(p.text, p.at)
  p.at = after
  return set { code, code }
end

local BOUNDS = { ["*"] = { 0, math.huge }, ["+"] = { 1, math.huge },
  ["?"] = { 0, 1 } }

local function read_bounds(p)
  local sign = take(p, "[*+?]")
  if sign then
    return BOUNDS[sign][1], BOUNDS[sign][2]
  end
  local exact = take(p, "{(%d+)}")
  if exact then
    return tonumber(exact), tonumber(exact)
  end
  local from, to, least, most = p.text:find("^{(%d+),(%d*)}", p.at)
  if from then
    p.at = to + 1
    return tonumber(least), tonumber(most) or math.huge
  end
end

local function read_term(p)
  local atom = read_atom(p)
  local least, most = read_bounds(p)
  if not least then
    return atom
  elseif least > most then
    fail(p, "the bounds of a repetition are reversed")
  elseif atom.kind ~= "set" and atom.kind ~= "list" and atom.kind ~= "any"
    and atom.kind ~= "repeat" then
    fail(p, "nothing to repeat")
  end
  take(p, "%?") -- lazy or not, the answer is the same
  if p.text:find("^[*+?]", p.at) then
    fail(p, "nothing to repeat")
  end
  return { kind = "repeat", atom, least = least, most = most }
end

function read_alternatives(p)
  local any = { kind = "any" }
  repeat
    local list = { kind = "list" }
    while p.at <= #p.text and not p.text:find("^[|)]", p.at) do
      list[#list + 1] = read_term(p)
    end
    any[#any + 1] = list
  until not take(p, "|")
  return #any == 1 and any[1] or any
end

---@param pattern string
---@return table tree raises `{regex = why}`
---@return boolean partial it asks for properties beyond ASCII
function M.read(pattern)
  local p = { text = pattern, at = 1, depth = 0, partial = false }
  local tree = read_alternatives(p)
  if p.at <= #pattern then
    fail(p, "a parenthesis too many")
  end
  return tree, p.partial
end

M.WORD = WORD

return M
