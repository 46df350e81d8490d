-- Calls the functions and methods of the core with whatever comes to hand.
--
--   lua misuse.lua SEED STEPS
--
-- They may return, or raise; what they must not do shows in the exit status.
local compat = require("agentwire._compat")
local core = require("agentwire.core")

math.randomseed(tonumber(arg[1]))

local ID = "a0000000-0000-4000-8000-000000000001"

-- What is passed, besides nil and the objects that earlier calls gave.
local values = {
  0, -1, 1.5, 2 ^ 53, -2 ^ 63, 0 / 0, 1 / 0, "", "x", "provider", ID,
  ("y"):rep(100000), "a\0b", true, false, print, io.stdout,
  coroutine.create(print), setmetatable({}, { __index = function()
    error("on purpose")
  end }),
  {}, { 1, 2 }, { a = { b = {} } }, { url = "ws://127.0.0.1:0" }, { url = 5 },
  { url = "wss://127.0.0.1:0", tls = { cert_file = "/nowhere" } },
  { url = "ws://127.0.0.1:0", authenticate = true }, { tls = {} },
  { argv = {} }, { argv = { "true" } }, { argv = { 1, {} } },
  { headers = "a\r\nb" }, { headers = { ["a\r\nb"] = "c", { 1 } } },
  { protocols = {} }, { window_ms = -5 },
  { scopes_max = "x" }, { message_max = 1e300 }, { inbound_bytes = 0 / 0 },
  { log_bytes = 2 ^ 40, session_bytes = 2 ^ 40, window_bytes = 2 ^ 40 },
}

local functions = {}

local function collect(from)
  for name, value in pairs(from) do
    if type(value) == "table" then
      collect(value)
    elseif type(value) == "function" then
      functions[#functions + 1] = { name = name, call = value }
    end
  end
end

-- Waiting would wait, and stdio is what the parent hears us by.
local LEFT_OUT = { wait = true, stdio = true }

local function methods_of(object)
  local found = {}
  local meta = debug.getmetatable(object)
  for name, value in pairs(type(meta.__index) == "table" and meta.__index
    or {}) do
    if not LEFT_OUT[name] then
      found[#found + 1] = { name = name, call = value }
    end
  end
  return found
end

local function by_name(a, b)
  return tostring(a.name) < tostring(b.name)
end

local function pick(list)
  return list[math.random(#list)]
end

local objects = {}

local function arguments(self)
  local list, count = { self }, math.random(0, 5) + (self and 1 or 0)
  for index = self and 2 or 1, count do
    if #objects > 0 and math.random(4) == 1 then
      list[index] = pick(objects)
    elseif math.random(8) > 1 then
      list[index] = pick(values)
    end
  end
  return list, count
end

local function call(what, self)
  local list, count = arguments(self)
  local results = { pcall(what.call, compat.unpack(list, 1, count)) }
  for index = 2, 6 do
    local value = results[index]
    if results[1] and type(value) == "userdata" and value ~= io.stdout
      and #objects < 60 then
      objects[#objects + 1] = value
    end
  end
end

collect(core)
table.sort(functions, by_name)
for _ = 1, tonumber(arg[2]) do
  if #objects == 0 or math.random(3) == 1 then
    call(pick(functions))
  else
    local object = pick(objects)
    local methods = methods_of(object)
    table.sort(methods, by_name)
    if #methods > 0 then
      call(pick(methods), math.random(20) > 1 and object or nil)
    end
  end
  if math.random(200) == 1 then
    collectgarbage()
  end
  if #objects == 60 then
    for _ = 1, 30 do
      table.remove(objects, math.random(#objects))
    end
  end
end
print("alive")
os.exit(0, true)
