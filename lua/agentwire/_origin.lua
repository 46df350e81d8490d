--- A browser's Origin (RFC 6454): a page of anybody's must not reach a server
--- by way of its reader's browser. Used by `access`. The whole host is
--- compared, as an address where it is one: what only begins like an allowed
--- host is refused.
local core = require("agentwire.core")
local options = require("agentwire._options")

local M = {}

--- Scheme, host and port of an origin and of nothing else: no path, no user
--- info, no second origin behind the first. An IPv6 host has no brackets.
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
  local number = host and port:match("^:(%d%d?%d?%d?%d?)$")
  if not host or port ~= "" and not (number and tonumber(number) < 65536) then
    return nil
  end
  return scheme:lower(), host, port
end

local DEFAULT_PORTS = { http = ":80", https = ":443" }

-- The one form of all that name the same origin.
local function normal(text)
  local scheme, host, port = split(text)
  if not scheme then
    return text
  elseif port == DEFAULT_PORTS[scheme] then
    port = ""
  end
  local form = host:find(":", 1, true) and "%s://[%s]%s" or "%s://%s%s"
  return form:format(scheme, host:lower(), port)
end

--- What `origins` may list.
M.kind = options.kind('an origin such as "https://app.example:8443", without a '
  .. 'path, or "*"', function(value)
  return type(value) == "string"
    and (value == "*" or value == "null"
      or split(value) ~= nil and not value:find("*", 1, true))
end)

--- Is this the origin of a web page that this machine serves?
---@param origin string
---@return boolean
function M.is_loopback(origin)
  local scheme, host = split(origin)
  return (scheme == "http" or scheme == "https") and core.is_loopback(host)
end

--- May a request with this Origin come in? Without a list only local pages
--- reach a local server.
---@param origin string? nil: no browser
---@param allowed string[]? the option `origins`
---@param is_local boolean whether the server is reached from this machine alone
---@return boolean
function M.admits(origin, allowed, is_local)
  if origin == nil then
    return true
  end
  for _, each in ipairs(allowed or {}) do
    if each == "*" or normal(each) == normal(origin) then
      return true
    end
  end
  return allowed == nil and is_local and M.is_loopback(origin)
end

return M
