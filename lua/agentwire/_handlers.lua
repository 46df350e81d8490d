--- What runs for a scope that the peer has opened: the handler that
--- `connection:serve` was given for its kind, in a task of its own that ends
--- with the connection. However that ends, the scope has an end after it: a
--- peer does not wait for what nobody will send.
local protocols = require("agentwire.protocols")
local task = require("agentwire.task")
local wait = require("agentwire._wait")

local M = {}

--- Ends a scope that its handler has left. One without an end gets a failure.
local function end_scope(channel, why, send)
  if not channel:is_ended() then
    send(channel, protocols[channel.kind].fail("internal_error", why))
  end
  channel:close()
end

--- A handler that raised ends its scope, with the reason, and nothing else.
local function run(conn, channel, handler)
  local ok, err = xpcall(handler, function(err)
    if task.is_cancelled(err) then
      return err
    end
    return debug.traceback(wait.error_text(err), 2)
  end, channel)
  local why = "the handler returned before the end"
  if not ok and task.is_cancelled(err) then
    error(err, 0)
  elseif not ok then
    conn._host:report(err, "the handler of " .. tostring(channel))
    why = "the handler failed"
  end
  end_scope(channel, why, channel.send)
end

--- The handler of a kind that is not served: each message is answered as one
--- that was refused, so that the peer's client finds what it asked for.
local function refuse_all(channel)
  local event = channel:receive()
  while event do
    local id = channel:message_id()
    local type, payload = protocols[channel.kind].refuse {
      code = "not_implemented", type = event.type, id = channel.id,
      message = "no " .. channel.kind .. " is served here", message_id = id,
      execution_id = event.execution_id, known = false,
    }
    if type and event.type ~= "refused" then -- else it has been answered
      channel:send(type, payload, id)
    end
    event = channel:receive()
  end
end

--- Starts the handler of a scope.
---@param conn agentwire.Connection
---@param channel agentwire.Channel
---@param handler (fun(channel: agentwire.Channel))|nil nil: its kind is not served
function M.start(conn, channel, handler)
  local served = conn._host:spawn_under(conn._keeper, run, conn,
    channel, handler or refuse_all)
  -- However it ended: cancelled before it began, or by a yield of its own.
  served:defer(function()
    end_scope(channel, served:failure() or "the handler ended",
      channel.try_send)
  end)
end

return M
