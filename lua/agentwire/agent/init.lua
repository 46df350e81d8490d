--- Agents: the loop, sessions served, and sessions of a peer.

local class = require("agentwire._class")
local client = require("agentwire.agent.client")
local loop = require("agentwire.agent.loop")
local server = require("agentwire.agent.server")

return class.module({
  loop = loop.new,
  service = server.new,
  attach = server.attach,
  client = client.new,
}, "aw.agent")
