--- Anthropic's Messages API.
local adapter = require("agentwire.providers._adapter")
local options_of = require("agentwire._options")
local reader = require("agentwire.providers.anthropic.reader")
local request = require("agentwire.providers.anthropic.request")

local M = {}

---@class agentwire.AnthropicOptions: agentwire.ProviderAdapterOptions
---@field api_version string? 2023-06-01; from 2026-10-21 on no sampling, a bearer token
---@field max_tokens integer? of an answer where a request does not say, 4096

local vendor = {
  title = "anthropic.new",
  name = "anthropic",
  api = "anthropic",
  base_url = "https://api.anthropic.com",
  api_version = "2023-06-01",
  key_env = { "ANTHROPIC_API_KEY" },
  build = request.build,
  reader = reader.new,
  OPTIONS = options_of.spec("anthropic.new", {
    api_version = options_of.filled, max_tokens = options_of.count,
  }, adapter.OPTIONS),
}

function vendor.authorize(headers, key, settings)
  if settings.api_version >= "2026" then
    headers.authorization = "Bearer " .. key
  else
    headers["x-api-key"] = key
  end
end

--- The vendor as data, for tests of its two pure halves.
M.vendor = vendor

--- An adapter for the Messages API.
---@param options? agentwire.AnthropicOptions
---@return agentwire.ProviderAdapter
function M.new(options)
  return adapter.new(vendor, options)
end

return M
