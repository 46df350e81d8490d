--- Chat Completions: of OpenAI, and of the many servers that offer the same
--- (`base_url`).
local adapter = require("agentwire.providers._adapter")
local options_of = require("agentwire._options")
local reader = require("agentwire.providers.openai_chat.reader")
local request = require("agentwire.providers.openai_chat.request")

local M = {}

---@class agentwire.OpenaiChatOptions: agentwire.ProviderAdapterOptions
---@field max_tokens_field "max_tokens"|"max_completion_tokens"|nil the latter for OpenAI itself
---@field system_role "system"|"developer"|nil system
---@field ending "strict"|"lenient"|nil lenient: no marker is needed, if no call was made; strict
---@field call_ids "any"|"mistral"|nil what ids of calls look like; any
---@field auth_header "authorization"|"api-key"|nil Azure takes the latter
---@field api_version string? of Azure's older paths

local vendor = {
  title = "openai_chat.new",
  name = "openai",
  api = "openai_chat",
  base_url = "https://api.openai.com/v1",
  key_env = { "OPENAI_API_KEY" },
  build = request.build,
  reader = reader.new,
  OPTIONS = options_of.spec("openai_chat.new", {
    max_tokens_field = options_of.one_of { "max_tokens", "max_completion_tokens" },
    system_role = options_of.one_of { "system", "developer" },
    ending = options_of.one_of { "strict", "lenient" },
    call_ids = options_of.one_of { "any", "mistral" },
    auth_header = options_of.one_of { "authorization", "api-key" },
    api_version = options_of.filled,
  }, adapter.OPTIONS),
}

function vendor.authorize(headers, key, settings)
  if settings.auth_header == "api-key" then
    headers["api-key"] = key
  else
    headers.authorization = "Bearer " .. key
  end
end

--- The vendor as data, for tests of its two pure halves.
M.vendor = vendor

--- An adapter for Chat Completions.
---@param options? agentwire.OpenaiChatOptions
---@return agentwire.ProviderAdapter
function M.new(options)
  return adapter.new(vendor, options)
end

return M
