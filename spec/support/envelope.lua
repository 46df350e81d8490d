-- One envelope as text, for what is said past our own writing of it.
local json = require("agentwire.json")
local tables = require("agentwire._tables")

local M = {}

-- Of scopes and messages: two digits are left to be appended.
M.ID = "a0000000-0000-4000-8000-0000000000"

--- The first message of a stream, with `fields` in place of its own; null
--- leaves one out.
---@param fields table
---@return string
function M.text(fields)
  local all = tables.over({
    type = "stream_request", stream_id = M.ID .. "01",
    message_id = M.ID .. "ff", sequence = 1, timestamp = 0, version = 1,
    payload = {},
  }, fields)
  for name, value in pairs(all) do
    if value == json.null then
      all[name] = nil
    end
  end
  return assert(json.encode(all))
end

return M
