--- For authors of Neovim plugins: text that streams into a buffer, questions to the
--- user, and the editor's own tools. Commands and keys are the plugin's.
local class = require("agentwire._class")
local confirm = require("agentwire.nvim._confirm")
local sink = require("agentwire.nvim._sink")
local tools = require("agentwire.nvim._tools")

---@class agentwire.nvim
local M = {
  sink = sink.new,
  confirm = confirm.ask,
  tools = tools.list,
}

return class.module(M, "agentwire.nvim")
