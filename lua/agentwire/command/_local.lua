--- The models and the agent of this process, for who has given no URL.
local provider = require("agentwire.provider")
local scripted = require("agentwire.providers.scripted")

local M = {}

-- On a terminal one wants to see the answer come.
local WORD_DELAY_MS = 12

M.MODEL = "scripted/scripted"

--- What there is: only the scripted model, in this version.
---@param slowly boolean
---@return agentwire.ProviderRouter
function M.models(slowly)
  return provider.router {
    scripted.new { word_delay_ms = slowly and WORD_DELAY_MS or 0 },
  }
end

--- The options of an agent that asks them.
---@param slowly boolean
---@return agentwire.AgentServiceOptions
function M.agent(slowly)
  return { provider = M.models(slowly), model = M.MODEL }
end

return M
