--- Whether the other end of a line transport still lives. Sockets have pings of
--- their own; a pipe to a process that is stopped or stuck just says nothing.
--- Used for children and on stdio. Only silence counts: whoever sends anything,
--- or is not read by us, is not cut.
local options = require("agentwire._options")

local M = {}

local DEADLINE_MS = 15000

---@class agentwire.LivenessOptions
---@field ping_interval_ms integer? silence before a ping; default: none is sent
---@field ping_deadline_ms integer? further silence before the end, 15000

M.OPTIONS = options.spec("liveness", {
  ping_interval_ms = options.integer(1, 2 ^ 31 - 1),
  ping_deadline_ms = options.integer(1, 2 ^ 31 - 1),
})

-- Any byte is a sign of life, as a part of a long message is. What we do not
-- read tells nothing.
local function is_silent(conn, ms)
  local link = conn._core:state()
  return link.up and not link.choked and link.silent_ms >= ms
end

---@async
local function watch(conn, interval_ms, deadline_ms)
  while not conn:wait_closed(interval_ms) do
    if conn._core:state().choked then
      conn:ping(interval_ms) -- so that the other end hears us
    elseif is_silent(conn, interval_ms) then
      local answered, _, code = conn:ping(deadline_ms)
      if not answered and code == "timeout" and is_silent(conn, deadline_ms)
      then
        conn:cut(("no answer to a ping for %d ms"):format(deadline_ms))
        return
      end
    end
  end
end

--- Cuts the link when its other end does not answer. Does nothing without
--- `ping_interval_ms`.
---@param conn agentwire.Connection
---@param given agentwire.LivenessOptions
function M.keep(conn, given)
  if given.ping_interval_ms then
    conn._host:spawn_under(conn._keeper, watch, conn,
      given.ping_interval_ms, given.ping_deadline_ms or DEADLINE_MS)
  end
end

return M
