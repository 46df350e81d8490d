--- The provider adapters by name, each loaded when it is asked for.
return setmetatable({}, {
  __index = function(self, name)
    local adapter = require("agentwire.providers." .. name)
    rawset(self, name, adapter)
    return adapter
  end,
})
