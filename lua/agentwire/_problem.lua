--- What of an error somebody else may read: peers and models get one line
--- without paths or traceback; the whole goes to the log or the host.
local wait = require("agentwire._wait")

local M = {}

local function text_of(err)
  local meta = type(err) == "table" and getmetatable(err)
  if type(err) == "table" and not (meta and meta.__tostring) then
    return type(err.message) == "string" and err.message
      or "an error without a text"
  end
  return wait.error_text(err)
end

-- "directory/file.lua:12: " and "[string …]:12: ", as `error` writes them.
local function without_position(line)
  local rest = line:match('^%[string ".-"%]:%d+: (.*)$')
  if rest then
    return rest
  end
  local chunk, after = line:match("^([^:]*):%d+: (.*)$")
  if chunk and chunk:find("[/\\.]") then
    return after
  end
  return line
end

--- The first line of what was raised, without the place it was raised at: a
--- peer or a model has no use for paths and tracebacks of this side.
---@param err any
---@return string
function M.brief(err)
  return without_position(text_of(err):match("^[^\n]*"))
end

return M
