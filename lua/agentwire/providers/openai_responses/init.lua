--- The Responses API over HTTP: of OpenAI, and of the servers that offer the
--- same (`base_url`).
local adapter = require("agentwire.providers._adapter")
local options_of = require("agentwire._options")
local reader = require("agentwire.providers.openai_responses.reader")
local request = require("agentwire.providers.openai_responses.request")

local M = {}

---@class agentwire.OpenaiResponsesOptions: agentwire.ProviderAdapterOptions
---@field store boolean? whether the provider keeps the answers, false

local vendor = {
  title = "openai_responses.new",
  name = "openai",
  api = "openai_responses",
  base_url = "https://api.openai.com/v1",
  key_env = { "OPENAI_API_KEY" },
  build = request.build,
  reader = reader.new,
  OPTIONS = options_of.spec("openai_responses.new", {
    store = options_of.boolean,
  }, adapter.OPTIONS),
}

function vendor.authorize(headers, key)
  headers.authorization = "Bearer " .. key
end

--- The vendor as data, for tests of its two pure halves.
M.vendor = vendor

--- An adapter for the Responses API.
---@param options? agentwire.OpenaiResponsesOptions
---@return agentwire.ProviderAdapter
function M.new(options)
  return adapter.new(vendor, options)
end

return M
