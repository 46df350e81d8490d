--- Notes which lines of lua/agentwire run, for as long as the process lives:
---
---   LUA_INIT=@tools/mutate/cover.lua AW_COVER=FILE lua5.4 ...
---
--- FILE gets a line "path:number" for each, and may serve several processes.
local out = assert(os.getenv("AW_COVER"), "AW_COVER names no file")
local getinfo, sethook = debug.getinfo, debug.sethook
local seen = {} -- by chunk name, then by line

local function note(_, line)
  local source = getinfo(2, "S").source
  local lines = seen[source]
  if lines == nil then
    lines = source:find("lua/agentwire/", 1, true) and {} or false
    seen[source] = lines
  end
  if lines then
    lines[line] = true
  end
end

local function write()
  local text = {}
  for source, lines in pairs(seen) do
    local path = source:match("lua/agentwire/.*$")
    for line in pairs(lines or {}) do
      text[#text + 1] = path .. ":" .. line .. "\n"
    end
  end
  local file = assert(io.open(out, "a"))
  file:write(table.concat(text))
  file:close()
  seen = {}
end

-- Hooks are a thread's own.
local create, wrap = coroutine.create, coroutine.wrap

local function hooked(fn)
  return function(...)
    sethook(note, "l")
    return fn(...)
  end
end

function coroutine.create(fn) -- luacheck: ignore 122
  return create(hooked(fn))
end

function coroutine.wrap(fn) -- luacheck: ignore 122
  return wrap(hooked(fn))
end

local exit = os.exit
function os.exit(...) -- luacheck: ignore 122
  write()
  return exit(...)
end

sethook(note, "l")
AW_COVER_END = setmetatable({}, { __gc = write }) -- luacheck: ignore 111
