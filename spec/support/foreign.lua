-- Loops that are somebody else's, as far as they are here: each drives a host
-- by its descriptor and its timeout alone, asked for after a turn and never in
-- between, and calls back from outside of any turn.
local core = require("agentwire.core")

local M = {}

---@class spec.ForeignLoop
---@field after fun(ms: number, fn: function) calls it from outside of a turn
---@field run fun(done: fun(): boolean) until it is

local function luv_loop(host)
  local uv = require("luv")
  local poll, timer = uv.new_poll(host:fd()), uv.new_timer()
  local is_over
  local function turn()
    host:turn()
    timer:stop()
    local ms = host:timeout_ms()
    if ms >= 0 then
      timer:start(ms, 0, turn)
    end
    if is_over and is_over() then
      uv.stop() -- after timers it would wait for more
    end
  end
  poll:start("r", turn)
  local self = {}
  function self.after(ms, fn)
    local once = uv.new_timer()
    once:start(ms, 0, function()
      once:close()
      fn()
    end)
  end
  function self.run(done)
    is_over = done
    turn()
    while not done() do
      uv.run("once")
    end
    poll:close()
    timer:close()
    uv.run("nowait")
  end
  return self
end

local function now_ms()
  return core.monotonic_us() / 1000
end

---@class spec.Poller
---@field now fun(): number milliseconds
---@field poll fun(fd: integer?, ms: integer): boolean whether it is readable

local function ffi_poller()
  local ffi = require("ffi")
  pcall(ffi.cdef, [[
    struct aw_spec_pollfd { int fd; short events, revents; };
    int poll(struct aw_spec_pollfd *fds, unsigned long count, int ms);
  ]])
  local fds = ffi.new("struct aw_spec_pollfd[1]")
  return {
    now = now_ms,
    poll = function(fd, ms)
      fds[0].fd, fds[0].events = fd or -1, 1
      return ffi.C.poll(fds, 1, ms) > 0
    end,
  }
end

-- poll(2) by hand: what a loop written in C would do.
local function poll_loop(host)
  local waits = ffi_poller()
  local calls = {}
  local function call_due(now)
    for index = #calls, 1, -1 do
      if calls[index].at <= now then
        table.remove(calls, index).fn()
      end
    end
  end
  local function left(now, deadline)
    local least = deadline and deadline - now or math.huge
    for _, call in ipairs(calls) do
      least = math.min(least, call.at - now)
    end
    return least == math.huge and -1 or math.max(0, math.ceil(least))
  end
  local self = {}
  function self.after(ms, fn)
    calls[#calls + 1] = { at = now_ms() + ms, fn = fn }
  end
  function self.run(done)
    local deadline = now_ms()
    while not done() do
      local readable = waits.poll(host:fd(), left(now_ms(), deadline))
      local now = now_ms()
      if readable or deadline and now >= deadline then
        host:turn()
        local ms = host:timeout_ms()
        deadline = ms >= 0 and now_ms() + ms or nil
      end
      call_due(now)
    end
  end
  return self
end

-- Kept for as long as the process lives: a spec file's modules are dropped after
-- it, and a luv that is loaded a second time has the first one's freed loop.
local KEPT = "spec.luv"

local function keep_luv()
  local registry = debug.getregistry()
  if registry[KEPT] then
    package.loaded.luv = registry[KEPT]
    return true
  end
  local found, luv = pcall(require, "luv")
  registry[KEPT] = found and luv or nil
  return found
end

M.loops = {}
if keep_luv() then
  M.loops.luv = luv_loop
end
if pcall(require, "ffi") then
  M.loops.poll = poll_loop
end

M.poller = ffi_poller

return M
