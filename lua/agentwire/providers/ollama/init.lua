--- Ollama's own chat.
local adapter = require("agentwire.providers._adapter")
local options_of = require("agentwire._options")
local reader = require("agentwire.providers.ollama.reader")
local request = require("agentwire.providers.ollama.request")

local M = {}

---@class agentwire.OllamaOptions: agentwire.ProviderAdapterOptions
---@field options table? the model's own (`num_ctx`, …), under what a request says

local vendor = {
  title = "ollama.new",
  name = "ollama",
  api = "ollama",
  base_url = "http://127.0.0.1:11434",
  key_env = { "OLLAMA_API_KEY" },
  lines = true,
  build = request.build,
  reader = reader.new,
  OPTIONS = options_of.spec("ollama.new", { options = options_of.table },
    adapter.OPTIONS),
}

function vendor.authorize(headers, key)
  headers.authorization = "Bearer " .. key
end

--- The vendor as data, for tests of its two pure halves.
M.vendor = vendor

--- An adapter for Ollama.
---@param options? agentwire.OllamaOptions
---@return agentwire.ProviderAdapter
function M.new(options)
  return adapter.new(vendor, options)
end

return M
