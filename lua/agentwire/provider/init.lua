--- Model streams: the client, the server, and what both know.
local class = require("agentwire._class")
local client = require("agentwire.provider.client")
local model_ref = require("agentwire.provider.model_ref")
local protocol = require("agentwire.provider.protocol")
local reconstruct = require("agentwire.provider.reconstruct")
local server = require("agentwire.provider.server")

---@class agentwire.provider
local M = {
  client = client.new,
  attach = server.attach,
  router = server.router,
  reconstruct = reconstruct.new,
  model_ref = model_ref,
  protocol = protocol,
}

--- A client of an adapter in this process, over a pair of connections: local
--- and remote providers are used the same way.
---@param adapter table an adapter or a router
---@param options? table as for `attach`
---@return agentwire.ProviderClient client
---@return agentwire.Connection connection close it to let go of both
function M.loopback(adapter, options)
  local near, far = require("agentwire").pair()
  server.attach(far, adapter, options)
  return near:provider(), near
end

return class.module(M, "aw.provider")
