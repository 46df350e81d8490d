--- What differs between Lua 5.4 and LuaJIT, and between their hosts, and
--- nothing else.

-- Waits cross pcall, metamethods and iterators, which only these two can.
if _VERSION ~= "Lua 5.4" and not rawget(_G, "jit") then
  error("agentwire needs LuaJIT or Lua 5.4; this is " .. _VERSION, 0)
end

local core = require("agentwire.core")

local compat = {}

--- A function of the language's coroutine library. OpenResty puts its own in
--- their places, which belong to one request, and keeps these under another
--- name.
local function own(name)
  return rawget(coroutine, "_" .. name) or coroutine[name]
end

compat.create = own("create")
compat.resume = own("resume")
compat.yield = own("yield")
compat.running = own("running")

compat.unpack = table.unpack or unpack

compat.pack = table.pack
  or function(...)
    return { n = select("#", ...), ... }
  end

--- Whether a yield would work, or there is a C function in the way. Where the
--- language cannot tell, the yield itself has to fail.
---@type fun(): boolean
compat.is_yieldable = coroutine.isyieldable or function()
  return true
end

--- Ends a suspended coroutine where the language can; elsewhere the collector
--- is left to do it.
---@type fun(co: thread)
compat.close = coroutine.close or function() end

--- Has `fn` called when the returned value is collected.
---@param fn fun()
---@return any anchor
function compat.on_collect(fn)
  if newproxy then -- tables have no __gc in LuaJIT
    local anchor = newproxy(true)
    getmetatable(anchor).__gc = fn
    return anchor
  end
  return setmetatable({}, { __gc = fn })
end

--- Forgets what earlier calls of this coroutine have left on its stack. A task
--- that waits for ever calls it between its use of an object that it must not hold
--- and its wait: compiled code of LuaJIT makes the frames of the wait without
--- filling the places that it does not need, and the collector takes what stands
--- there for references. Elsewhere frames have no such places.
---@type fun()
compat.clear_stack = newproxy and core.clear_stack or function() end

return compat
