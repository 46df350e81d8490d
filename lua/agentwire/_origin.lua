---A browser's Origin (RFC 6454): a page of anybody's must not reach a server
---by way of its reader's browser.
local core = require("agentwire.core")

local M = {}

---Scheme, host and port of an origin and of nothing else: no path, no user
---info, no second origin behind the first. An IPv6 host has no brackets.
---@param text string
---@return string? scheme
---@return string? host
---@return string? port
local function split(text)
  local scheme, rest = text:match("^(%a[%w+.-]*)://(.+)$")
  if not scheme then
    return nil
  end
  local host, port = rest:match("^%[([%x:.]+)%](.*)$")
  if not host then
    host, port = rest:match("^([^:/?#@%[%]%s%c,]+)(.*)$")
  end
  if not host or not (port == "" or port:match("^:%d%d?%d?%d?%d?$")) then
    return nil
  end
  return scheme:lower(), host, port
end

---Is this the origin of a web page that this machine serves?
---@param origin string
---@return boolean
function M.is_loopback(origin)
  local scheme, host = split(origin)
  return (scheme == "http" or scheme == "https") and core.is_loopback(host)
end

---May a request with this Origin come in? Without a list only local pages
---reach a local server.
---@param origin string? nil: no browser
---@param allowed string[]? the option `origins`
---@param is_local boolean whether the server is reached from this machine alone
---@return boolean
function M.admits(origin, allowed, is_local)
  if origin == nil then
    return true
  end
  for _, each in ipairs(allowed or {}) do
    if each == "*" or each:lower() == origin:lower() then
      return true
    end
  end
  return allowed == nil and is_local and M.is_loopback(origin)
end

return M
