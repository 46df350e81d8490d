--- What a client asks a server with, and where: the parts of its options that
--- only HTTP and TLS can judge. Used before anything is begun (`_connect`,
--- `_place`) and for each attempt (`_dialer`). Values of headers are never
--- repeated.
local core = require("agentwire.core")
local misuse = require("agentwire._misuse")

local M = {}

--- Raises for TLS options beside a URL that would be plain text.
---@param title string the entry point
---@param url string|function
---@param tls table?
function M.check_tls(title, url, tls)
  if tls ~= nil and type(url) == "string" and url:match("^[Ww][Ss][:+]") then
    misuse.raise("%s: option tls: %s is plain text; write wss://, or leave out "
      .. "tls", title, url:sub(1, 80))
  end
end

-- What a function will give is judged when it has (agentwire._connect).
local function known(value)
  return type(value) ~= "function" and value or nil
end

--- Raises what is wrong with `token`, `headers` or `tls` at the caller's line.
--- Values of headers are not repeated: they may be secrets.
---@param title string the entry point
---@param given table `headers`: name -> value, or a list of {name, value}
function M.check(title, given)
  M.check_tls(title, given.url, given.tls)
  local kind = type(given.headers)
  if kind ~= "nil" and kind ~= "table" and kind ~= "function" then
    misuse.raise("%s: option headers: expected a table of names and values, "
      .. 'such as { ["X-Team"] = "blue" }, got %s', title,
      misuse.describe(given.headers))
  end
  local problem = core.header_problem {
    host = given.host,
    proxy = given.proxy ~= "environment" and given.proxy or nil,
    token = known(given.token), headers = known(given.headers),
  }
  if problem then
    misuse.raise("%s: %s", title, problem)
  end
end

-- Hosts that NO_PROXY names: themselves and what is below them.
local function is_excepted(host)
  local list = os.getenv("no_proxy") or os.getenv("NO_PROXY") or ""
  for each in list:lower():gmatch("[^%s,]+") do
    local name = each:gsub("^%*?%.", "")
    if each == "*" or host == name or host:sub(-#name - 1) == "." .. name then
      return true
    end
  end
  return false
end

-- Of HTTP_PROXY only the lower-case name counts: where requests become
-- environment variables, the other is a header that anybody may send.
local function from_environment(url)
  local scheme, rest = url:lower():match("^(%a+)://([^/?#]*)")
  rest = rest and rest:gsub("^.*@", "")
  local host = rest and (rest:match("^%[([^%]]*)%]") or rest:match("^[^:]*"))
  if not scheme or is_excepted(host) then
    return ""
  end
  local own = (scheme == "wss" or scheme == "https")
    and (os.getenv("https_proxy") or os.getenv("HTTPS_PROXY"))
    or (scheme == "ws" or scheme == "http") and os.getenv("http_proxy")
  return own or os.getenv("all_proxy") or os.getenv("ALL_PROXY") or ""
end

--- The proxy for a URL: as given, or what the environment says, or "".
---@param proxy string?
---@param url string
---@return string
function M.proxy_for(proxy, url)
  return proxy == "environment" and from_environment(url) or proxy or ""
end

return M
