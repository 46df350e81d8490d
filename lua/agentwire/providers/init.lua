--- The provider adapters by name, each loaded when it is asked for.
local misuse = require("agentwire._misuse")

---@class agentwire.providers
---@field scripted table the deterministic model without network
local M = {}

return setmetatable(M, {
  __index = function(self, name)
    local ok, adapter = pcall(require, "agentwire.providers." .. tostring(name))
    if not ok then
      misuse.raise("aw.providers.%s: there is no such adapter; scripted comes"
        .. " with agentwire (%s)", tostring(name), adapter:match("^[^\n]*"))
    end
    rawset(self, name, adapter)
    return adapter
  end,
})
