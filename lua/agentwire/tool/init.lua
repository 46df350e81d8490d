--- Tools: a registry of one's own, those of a peer, and serving both.

local class = require("agentwire._class")
local client = require("agentwire.tool.client")
local executor = require("agentwire.tool.executor")
local pool = require("agentwire.tool.pool")
local registry = require("agentwire.tool.registry")
local schema = require("agentwire.tool.schema")

---@class agentwire.tool
local M = {
  registry = registry.new,
  error_result = registry.error_result,
  client = client.new,
  attach = executor.attach,
  register = executor.register,
  pool = pool.new,
  check = schema.check,
}

return class.module(M, "aw.tool")
