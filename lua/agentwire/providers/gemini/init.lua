--- Gemini's streamGenerateContent.
local adapter = require("agentwire.providers._adapter")
local options_of = require("agentwire._options")
local reader = require("agentwire.providers.gemini.reader")
local request = require("agentwire.providers.gemini.request")

local M = {}

---@class agentwire.GeminiOptions: agentwire.ProviderAdapterOptions
---@field api_version string? the first part of the path, v1beta
---@field schema "json"|"openapi"|nil of tools; openapi where there is no parametersJsonSchema; json

local vendor = {
  title = "gemini.new",
  name = "google",
  api = "gemini",
  base_url = "https://generativelanguage.googleapis.com",
  api_version = "v1beta",
  key_env = { "GEMINI_API_KEY", "GOOGLE_API_KEY" },
  build = request.build,
  reader = reader.new,
  OPTIONS = options_of.spec("gemini.new", {
    api_version = options_of.filled,
    schema = options_of.one_of { "json", "openapi" },
  }, adapter.OPTIONS),
}

-- Never in the URL: those are logged.
function vendor.authorize(headers, key)
  headers["x-goog-api-key"] = key
end

--- The vendor as data, for tests of its two pure halves.
M.vendor = vendor

--- An adapter for Gemini.
---@param options? agentwire.GeminiOptions
---@return agentwire.ProviderAdapter
function M.new(options)
  return adapter.new(vendor, options)
end

return M
