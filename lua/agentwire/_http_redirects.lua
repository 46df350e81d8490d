--- Where a redirection leads, and what goes along (RFC 9110 section 15.4).
local tables = require("agentwire._tables")

local M = {}

local REDIRECTS = { [301] = true, [302] = true, [303] = true, [307] = true,
  [308] = true }

-- What another origin may see: nothing that could be a credential, whose names
-- are many.
local HARMLESS = { accept = true, ["accept-language"] = true,
  ["accept-encoding"] = true, ["content-type"] = true, ["user-agent"] = true }

local DEFAULT_PORTS = { http = "80", https = "443" }

--- Scheme, host and port of a URL.
---@param url string
---@return string
function M.origin(url)
  local scheme, authority = url:match("^(%a+)://([^/?#]*)")
  scheme = scheme:lower()
  authority = authority:gsub("^.*@", ""):lower()
  local name, port = authority:match("^(.-):(%d*)$")
  if not name or name:find("%[[^%]]*$") then
    name, port = authority, ""
  end
  return ("%s://%s:%s"):format(scheme, name,
    port ~= "" and port or DEFAULT_PORTS[scheme] or "")
end

local function harmless(headers)
  local kept = {}
  for name, value in pairs(headers or {}) do
    local key = type(name) == "number" and value[1] or name
    if HARMLESS[key:lower()] then
      kept[name] = value
    end
  end
  -- A list may have lost members in its middle.
  local list = {}
  for name, value in pairs(kept) do
    table.insert(list, type(name) == "number" and value or { name, value })
  end
  return list
end

local function without_body(asked, method)
  local headers = {}
  for name, value in pairs(asked.headers or {}) do
    local key = type(name) == "number" and value[1] or name
    if not key:lower():find("^content%-") then
      table.insert(headers, type(name) == "number" and value or { name, value })
    end
  end
  return tables.over(asked, { method = method, headers = headers })
end

-- The next request, or what forbids it.
local function next_request(asked, opened)
  local url = opened.redirect
  local scheme = url:match("^(%a[%w+.-]*):")
  scheme = scheme and scheme:lower()
  if scheme ~= "http" and scheme ~= "https" then
    return nil, "it leads to another protocol"
  elseif scheme == "http" and asked.url:find("^https:") then
    return nil, "it leads from https to http"
  end
  local to = tables.over(asked, { url = url })
  if opened.status == 303 and asked.method ~= "HEAD"
    or opened.status <= 302 and asked.method == "POST" then
    to = without_body(to, "GET")
    to.body = nil
  end
  if M.origin(url) ~= M.origin(asked.url) then
    to.headers, to.token = harmless(to.headers), nil
    to.tls = to.tls and tables.copy(to.tls)
    if to.tls then
      to.tls.cert_file, to.tls.key_file = nil, nil
    end
  end
  return to
end

--- Opens what is asked for, and what that leads to, up to `redirects`. None is
--- followed when that is 0: the answer is the redirection.
---@async
---@param asked table checked
---@param open fun(asked: table): agentwire.HttpExchange?, string?, string?
---@return agentwire.HttpExchange? opened
---@return string? message
---@return string? code
function M.follow(asked, open)
  local left = asked.redirects
  while true do
    local opened, message, code = open(asked)
    if not opened then
      return nil, message, code
    elseif asked.redirects == 0 or not REDIRECTS[opened.status]
      or not opened.redirect then
      return opened
    end
    opened:close()
    if left == 0 then
      return nil, ("%s: more than %d redirections"):format(opened.shown,
        asked.redirects), "limit"
    end
    local problem
    local from = opened.shown
    asked, problem = next_request(asked, opened)
    if not asked then
      return nil, ("%s: a redirection is not followed: %s"):format(from,
        problem), "refused"
    end
    left = left - 1
  end
end

return M
