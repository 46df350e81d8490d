--- Which lines a test runs, by what they say rather than by their numbers,
--- which the next change moves: "path", a tab, the text without its indent.
---
---   lua tools/mutate/lines.lua FOLDER
---       reads what `gcov -t` prints, and "path:number" as cover.lua writes it;
---       prints each line below FOLDER once
---   lua tools/mutate/lines.lua FOLDER FILE NUMBER
---       prints that line, and then those around it, the nearest first
local folder = arg[1]:gsub("/*$", "/")
local AROUND = 10

local files = {}

local function lines_of(path)
  if not files[path] then
    files[path] = {}
    for line in io.lines(folder .. path) do
      table.insert(files[path], line)
    end
  end
  return files[path]
end

local seen = {}

local function say(path, text)
  local line = path .. "\t" .. text:match("^%s*(.-)%s*$")
  if not seen[line] then
    seen[line] = true
    print(line)
  end
end

if arg[2] then
  local lines, number = lines_of(arg[2]), tonumber(arg[3])
  for distance = 0, AROUND do
    for _, at in ipairs { number - distance, number + distance } do
      if lines[at] and lines[at]:find("%w") then
        say(arg[2], lines[at])
      end
    end
  end
  return
end

local path
for line in io.lines() do
  local count, number, rest = line:match("^%s*([%d#=%-*]+):%s*(%d+):(.*)$")
  if number == "0" then
    local source = rest:match("^Source:(.*)$")
    if source then
      path = source:sub(1, #folder) == folder and source:sub(#folder + 1)
    end
  elseif number then
    if path and count:find("^%d") then
      say(path, rest)
    end
  else
    local file, at = line:match("^(lua/.*):(%d+)$")
    local text = file and lines_of(file)[tonumber(at)]
    if text then
      say(file, text)
    end
  end
end
