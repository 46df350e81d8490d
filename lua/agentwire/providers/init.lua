--- The provider adapters by name, each loaded when it is asked for.
local misuse = require("agentwire._misuse")

---@class agentwire.providers
---@field scripted table the deterministic model without network
---@field anthropic table Anthropic's Messages
---@field gemini table Gemini's streamGenerateContent
---@field ollama table Ollama's chat
---@field openai_chat table Chat Completions, of whoever offers them
---@field openai_responses table the Responses API
local M = {}

return setmetatable(M, {
  __index = function(self, name)
    local ok, adapter = pcall(require, "agentwire.providers." .. tostring(name))
    if not ok then
      misuse.raise("aw.providers.%s: there is no such adapter; agentwire has"
        .. " anthropic, gemini, ollama, openai_chat, openai_responses and"
        .. " scripted (%s)", tostring(name), adapter:match("^[^\n]*"))
    end
    rawset(self, name, adapter)
    return adapter
  end,
})
