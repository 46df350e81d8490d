--- What a provider needs back, bit for bit: written into blocks, and read again
--- only by the adapter that wrote it (docs/wire.md section 4).
local fingerprint = require("agentwire.providers._fingerprint")
local json = require("agentwire.json")

local M = {}

--- Whose the state of an answer is. Of the key only four digits of a sum are
--- told: enough to see that another account asks.
---@param api string
---@param provider string
---@param model string id, as it was asked for
---@param base_url string
---@param key string|nil
---@return table state_of
function M.tag(api, provider, model, base_url, key)
  return {
    api = api, provider = provider, model = model,
    scope = fingerprint.hex(base_url) .. fingerprint.tag(key or ""),
  }
end

--- Whether a message's state may go to whoever has this tag.
---@param message table
---@param tag table|nil nil: to nobody
---@return boolean
function M.fits(message, tag)
  local own = message.state_of
  return tag ~= nil and own ~= nil and own.api == tag.api
    and own.provider == tag.provider and own.model == tag.model
    and own.scope == tag.scope
end

---@param value table
---@return string|nil state nil if it has no JSON form
function M.write(value)
  return (json.encode_sorted(value))
end

---@param block table
---@return table|nil value
function M.read(block)
  local value = block.provider_state and json.decode(block.provider_state)
  return type(value) == "table" and value ~= json.null and value or nil
end

return M
