--- What all classes that users meet have in common: a method that is called
--- with a dot says so, and one that does not exist names those that do.
local misuse = require("agentwire._misuse")

local M = {}

local byte = string.byte

-- Lines whose missing member is known to be no call; more are not looked at.
local MAX_LINES = 1000

local OWN = debug.getinfo(1, "S").source:match("^(.*)_class%.lua$")

--- For the methods that are called for each message and look at their receiver
--- themselves (`hot` of `seal`).
---@param name string
---@param method string
function M.raise_dot(name, method)
  misuse.raise("%s.%s(…) was called with a dot, or on something else; write"
    .. " %s:%s(…)", name, method, name, method)
end

--- The same method, but for other receivers. The usual arities go without
--- varargs, which cost more than the check.
local function guard(class, name, method, fn)
  local info = debug.getinfo(fn, "u")
  if info.isvararg or (info.nparams or 9) > 5 then
    return function(self, ...)
      if getmetatable(self) ~= class then
        M.raise_dot(name, method)
      end
      return fn(self, ...)
    end
  end
  return function(self, a, b, c, d)
    if getmetatable(self) ~= class then
      M.raise_dot(name, method)
    end
    return fn(self, a, b, c, d)
  end
end

local seen, seen_count = {}, 0

local function line_of(info)
  local source, wanted = info.source, info.currentline
  local lines
  if source:sub(1, 1) == "@" then
    local file = io.open(source:sub(2), "rb")
    lines = file and file:lines()
  elseif source:sub(1, 1) ~= "=" then
    lines = source:gmatch("([^\n]*)\n?")
  end
  for _ = 2, lines and wanted or 0 do
    if not lines() then
      return nil
    end
  end
  return lines and lines()
end

--- Whether the line that asked for a member cannot do without it: it stands
--- there once, as `:name(`, `.name(` or `.name.`. What asks before it calls, as
--- `if object.name then object.name() end` does, names it twice.
local function is_needed(info, name)
  local key = info.source .. ":" .. info.currentline .. ":" .. name
  if seen[key] or seen_count >= MAX_LINES then
    return false
  end
  local line = line_of(info) or ""
  local _, times = line:gsub("%f[%w_]" .. name .. "%f[^%w_]", "")
  if times == 1 and line:find("[.:]%s*" .. name .. "%s*[({\"'.:[]") then
    return true
  end
  seen[key], seen_count = true, seen_count + 1
  return false
end

local function list_of(members, lazy)
  local list = {}
  for name in pairs(lazy or {}) do
    list[#list + 1] = name
  end
  for name, value in pairs(members) do
    if type(name) == "string" and type(value) == "function"
      and not name:find("^_") and not (lazy and lazy[name]) then
      list[#list + 1] = name
    end
  end
  table.sort(list)
  return list
end

--- Raises if user code is about to use what is not there.
---@param title string of what it was asked for
---@param known fun(): string[]
local function missing(title, name, known)
  if type(name) ~= "string" or not name:find("^%a[%w_]*$") then
    return
  end
  local info = debug.getinfo(3, "Sl")
  if not info or info.what == "C" or OWN
    and info.source:sub(1, #OWN) == OWN or not is_needed(info, name) then
    return
  end
  local list = known()
  local meant = misuse.nearest(name, list)
  misuse.raise("%s has no %s; %s%s", title, name,
    meant and ("did you mean " .. meant .. "? ") or "",
    (meant and "There are " or "there are ") .. table.concat(list, ", "))
end

--- Closes a class whose methods are all there.
---@generic T
---@param class T its own __index
---@param name string as users call an instance of it: "session"
---@param hot table<string, true>? methods that check their receiver themselves,
--- where a call more for each message would be felt
---@return T class
function M.seal(class, name, hot)
  for method, fn in pairs(class) do
    if type(fn) == "function" and not method:find("^_")
      and not (hot and hot[method]) then
      class[method] = guard(class, name, method, fn)
    end
  end
  local function known()
    return list_of(class)
  end
  return setmetatable(class, { __index = function(_, key)
    -- Private fields are often nil; this has to be cheap for them.
    if type(key) == "string" and byte(key) ~= 95 then
      missing(name, key, known)
    end
    return nil -- no tail call: the level of the caller counts
  end })
end

--- A closed copy of a class that the library itself uses as it is, for the
--- instances that users make: what they get wrong is told, and what runs for
--- each message costs no check.
---@generic T
---@param class T its own __index
---@param name string as users call an instance of it: "latch"
---@return T public to be the metatable of such an instance
function M.public(class, name)
  local copy = {}
  for member, value in pairs(class) do
    copy[member] = value
  end
  copy.__index = copy
  return M.seal(copy, name)
end

--- The same for a table of functions: calling one that is not there names those
--- that are. Other members are loaded by name when they are asked for.
---@param module table
---@param name string
---@param lazy table<string, string>? member -> module to require
---@return table module
function M.module(module, name, lazy)
  return setmetatable(module, { __index = function(self, key)
    local path = lazy and lazy[key]
    if path then
      local value = require(path)
      rawset(self, key, value)
      return value
    end
    missing(name, key, function()
      return list_of(self, lazy)
    end)
    return nil
  end })
end

return M
