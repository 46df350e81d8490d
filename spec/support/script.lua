-- A provider adapter that plays what a spec wrote, and a client of it.
local link = require("spec.support.link")
local provider_client = require("agentwire.provider.client")
local provider_protocol = require("agentwire.provider.protocol")
local provider_server = require("agentwire.provider.server")

local M = {}

--- An assistant message: text, then calls {id, name, arguments_json}.
function M.say(text, ...)
  local content = {}
  if text then
    content[1] = { type = "text", text = text }
  end
  for _, call in ipairs { ... } do
    content[#content + 1] = {
      type = "tool_call", id = call[1], name = call[2],
      arguments_json = call[3] or "{}",
    }
  end
  return {
    role = "assistant", content = content,
    stop_reason = #{ ... } > 0 and "tool_use" or "stop",
    usage = { input = 10, output = 5 },
  }
end

--- The adapter: each turn is a message, or a function(request, emit, call)
--- that returns what an adapter's stream returns. `seen` has the requests.
function M.adapter(turns)
  local adapter = { name = "script", api = "script", seen = {} }
  function adapter:stream(request, emit, call)
    self.seen[#self.seen + 1] = request
    local turn = turns[#self.seen] or M.say("out of script")
    if type(turn) == "function" then
      return turn(request, emit, call)
    end
    provider_protocol.emit_message(turn, emit)
    return turn
  end
  return adapter
end

--- A provider client over a pair of its own.
function M.client(adapter)
  local near, far = link.pair()
  provider_server.attach(far, adapter)
  return provider_client.new(near), near
end

return M
