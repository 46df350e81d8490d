--- Agents: the loop, sessions served, and sessions of a peer.

local class = require("agentwire._class")
local client = require("agentwire.agent.client")
local loop = require("agentwire.agent.loop")
local server = require("agentwire.agent.server")

---@class agentwire.agent
local M = {
  loop = loop.new,
  service = server.new,
  attach = server.attach,
  client = client.new,
}

return class.module(M, "aw.agent")
