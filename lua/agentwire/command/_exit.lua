--- What the command's exit status says: docs/command.md has the same table.
local M = {}

M.OK, M.FAILED, M.USAGE, M.CONNECTION, M.REFUSED, M.TOOL = 0, 1, 2, 3, 4, 5
M.INTERRUPTED, M.NO_READER = 130, 141

local STATUS = { usage = M.USAGE }

local function put(status, codes)
  for code in codes:gmatch("%S+") do
    STATUS[code] = status
  end
end

put(M.USAGE, "invalid_argument")
put(M.CONNECTION, [[closed lost timeout refused not_found io_error ws_protocol
  ws_unsupported ws_utf8 ws_policy ws_too_big tls tls_expired tls_unknown_issuer
  tls_wrong_host tls_refused not_tls]])
put(M.REFUSED, "unauthenticated permission_denied no_credentials")
put(M.TOOL, [[tool_not_found invalid_arguments tool_timeout tool_unavailable
  tool_execution_error restarted]])

--- The status for a failure.
---@param message string
---@param code string?
---@return integer
function M.of(message, code)
  if code == "refused" and message:find("HTTP 40[13]") then
    return M.REFUSED
  end
  return STATUS[code] or M.FAILED
end

return M
