--- Chooses one-line mutants at random, and plants them.
---
---   lua tools/mutate/plant.lua choose SEED COUNT [PATTERN]
---       one line a mutant: file, line, rule, and the line as it becomes,
---       parted by tabs. The same seed gives the same mutants of the same tree.
---       PATTERN is Lua's, and of the paths
---   lua tools/mutate/plant.lua plant FILE LINE TEXT
---       puts TEXT in the place of the line; FILE is changed
---
--- A rule is a pattern of code and what it becomes. Comments, declarations and
--- what only says something to people are left alone, and so are texts.
local FOLDERS = { "csrc/core", "csrc/net", "lua/agentwire" }

-- Rules of both languages, then of each: name, pattern, replacement.
local BOTH = {
  { "less to at most", "([%w%)%]]) < ([%w%(%-])", "%1 <= %2" },
  { "at most to less", " <= ", " < " },
  { "more to at least", "([%w%)%]]) > ([%w%(%-])", "%1 >= %2" },
  { "at least to more", " >= ", " > " },
  { "plus to minus", " %+ ", " - " },
  { "minus to plus", "([%w%)%]]) %- ([%w%(])", "%1 + %2" },
  { "one to two", "%f[%w_.]1%f[^%w_.]", "2" },
  { "nought to one", "%f[%w_.]0%f[^%w_.]", "1" },
  { "true to false", "%f[%w_]true%f[^%w_]", "false" },
  { "false to true", "%f[%w_]false%f[^%w_]", "true" },
}

local C = {
  { "equal to unequal", " == ", " != " },
  { "unequal to equal", " != ", " == " },
  { "and to or", " && ", " || " },
  { "or to and", " || ", " && " },
  { "not dropped", "([%(%s])!(%w)", "%1%2" },
  { "condition held", "if %(.*%) {$", "if (1) {" },
  { "condition refused", "if %(.*%) {$", "if (0) {" },
  { "call dropped", "^(%s+)[%w_]+%(.*%);$", "%1;" },
  { "assignment dropped", "^(%s+)[%w_%->%.%[%]]+ [%+%-|&]?= .*;$", "%1;" },
  { "increment dropped", "^(%s+)[%w_%->%.]+%+%+;$", "%1;" },
  { "break dropped", "^(%s+)break;$", "%1;" },
}

local LUA = {
  { "equal to unequal", " == ", " ~= " },
  { "unequal to equal", " ~= ", " == " },
  { "and to or", " and ", " or " },
  { "or to and", " or ", " and " },
  { "not dropped", "%f[%w]not ", "" },
  { "condition held", "if .* then$", "if true then" },
  { "condition refused", "if .* then$", "if false then" },
  { "call dropped", "^(%s+)[%w_%.:]+%([^%(]*%)$", "%1do end" },
  { "assignment dropped", "^(%s+)[%w_%.]+%.[%w_]+ = [^{]*[^{,(]$", "%1do end" },
  { "break dropped", "^(%s+)break$", "%1do end" },
}

local function read_lines(path)
  local lines = {}
  for line in io.lines(path) do
    lines[#lines + 1] = line
  end
  return lines
end

local function find_files(pattern)
  local pipe = assert(io.popen("git ls-files " .. table.concat(FOLDERS, " ")
    .. " | LC_ALL=C sort"))
  local files = {}
  for path in pipe:lines() do
    if (path:match("%.c$") or path:match("%.lua$")) and path:match(pattern) then
      files[#files + 1] = path
    end
  end
  pipe:close()
  return files
end

-- Nothing that runs: comments, and declarations that a compiler refuses or
-- nobody can see.
local function is_code(line, is_c)
  if not line:match("^%s") or line:match("^%s*$") then
    return false
  elseif is_c then
    return not (line:match("^%s*/?%*") or line:match("^%s*//")
      or line:match("^%s*case ") or line:match("^%s*assert%("))
  end
  return not (line:match("^%s*%-%-") or line:match("^%s*error%(")
    or line:match("misuse%.raise"))
end

-- Inside of a text, or behind the beginning of a comment.
local function is_said(line, at)
  local head = line:sub(1, at - 1)
  local _, quotes = head:gsub('\\"', ""):gsub('"', "")
  return quotes % 2 == 1 or head:find("%s%-%-%s") ~= nil
    or head:find("/*", 1, true) ~= nil
end

-- The rules' work on one line: at most one place each, drawn by chance.
local function mutate(line, rule, random)
  local places, from = {}, 1
  while true do
    local first, last = line:find(rule[2], from)
    if not first then
      break
    end
    if not is_said(line, first) then
      places[#places + 1] = first
    end
    from = rule[2]:sub(1, 1) == "^" and #line + 2 or last + 1
  end
  if #places == 0 then
    return nil
  end
  local at = places[random(#places)]
  local head, tail = line:sub(1, at - 1), line:sub(at)
  local changed = head .. tail:gsub(rule[2], rule[3], 1)
  return changed ~= line and changed or nil
end

local function rules_for(path)
  local rules = {}
  for _, list in ipairs { BOTH, path:match("%.c$") and C or LUA } do
    for _, rule in ipairs(list) do
      rules[#rules + 1] = rule
    end
  end
  return rules
end

-- A generator of its own, so that every Lua draws the same mutants.
local function new_random(seed)
  local state = seed % 2147483647
  state = state == 0 and 1 or state
  return function(limit)
    state = state * 48271 % 2147483647
    return math.floor(state / 2147483647 * limit) + 1
  end
end

local function draw(files, random)
  local path = files[random(#files)]
  local lines = read_lines(path)
  local number = random(#lines)
  local line = lines[number]
  if not is_code(line, path:match("%.c$") ~= nil) then
    return nil
  end
  local rules = rules_for(path)
  local rule = rules[random(#rules)]
  local changed = mutate(line, rule, random)
  if not changed then
    return nil
  end
  return table.concat({ path, number, rule[1], changed }, "\t")
end

local function choose(seed, count, pattern)
  local files, random, seen = find_files(pattern), new_random(seed), {}
  local found = 0
  for _ = 1, 200000 do
    local mutant = draw(files, random)
    if mutant and not seen[mutant] then
      seen[mutant] = true
      print(mutant)
      found = found + 1
      if found == count then
        return
      end
    end
  end
end

local function plant(path, number, text)
  local lines = read_lines(path)
  assert(lines[number], "there is no such line")
  lines[number] = text
  local file = assert(io.open(path, "w"))
  file:write(table.concat(lines, "\n"), "\n")
  file:close()
end

if arg[1] == "choose" then
  choose(tonumber(arg[2]), tonumber(arg[3]), arg[4] or "")
elseif arg[1] == "plant" then
  plant(arg[2], tonumber(arg[3]), arg[4])
else
  error("usage: plant.lua choose SEED COUNT [PATTERN] | plant FILE LINE TEXT")
end
