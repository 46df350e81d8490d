--- Ids of tool calls as a provider takes them. An id that it takes stays as it
--- is; another one becomes one that follows from it, so that it is the same in
--- each request. Two calls of a conversation never have the same.
local fingerprint = require("agentwire.providers._fingerprint")

local M = {}

--- What providers take.
M.rules = {
  any = { pattern = "^.+$", most = 256, length = 24 },
  anthropic = { pattern = "^[%w_%-]+$", most = 64, length = 24 },
  responses = { pattern = "^[%w_%-]+$", most = 64, length = 24 },
  mistral = { pattern = "^%w+$", least = 9, most = 9, length = 9 },
}

local function is_taken(rule, id)
  return #id >= (rule.least or 1) and #id <= rule.most
    and id:find(rule.pattern) ~= nil
end

local function made_of(rule, text)
  if rule.length > 12 then
    return "call_" .. fingerprint.hex(text)
  end
  return fingerprint.letters(text, rule.length)
end

--- A mapping for one conversation.
---@param rule table of `rules`
---@return fun(id: string): string given each call's id in order
function M.mapping(rule)
  local used = {}
  return function(id)
    local mapped, again = id, 1
    if not is_taken(rule, id) then
      mapped = made_of(rule, id)
    end
    while used[mapped] do
      again = again + 1
      mapped = made_of(rule, id .. "#" .. again)
    end
    used[mapped] = true
    return mapped
  end
end

return M
