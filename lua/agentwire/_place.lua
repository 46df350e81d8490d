--- Where a server listens, and whom it believes there: the options of
--- `aw.listen` that the socket is made with, checked, and as the core takes
--- them. Used by `server` alone.
local core = require("agentwire.core")
local misuse = require("agentwire._misuse")
local options_of = require("agentwire._options")
local request = require("agentwire._request")
local tables = require("agentwire._tables")

local M = {}

---@class agentwire.PlaceOptions
---@field url string? ws://, wss:// or ws+unix:; port 0: any; its path is served
---@field path "*"|nil every path is served; the hook decides
---@field host string? address or name to bind to in place of the URL's
---@field trusted_proxies string[]? addresses, networks ("10.0.0.0/8"), "unix"
---@field reuse_port boolean? several processes share the port
---@field socket_mode string? of a Unix socket's file, octal; "600"
---@field backlog integer? connections that the system holds for us, 511

local proxy = options_of.kind("an address, a network such as 10.0.0.0/8 without "
  .. 'bits beyond the prefix, or "unix"', function(value)
  return type(value) == "string"
    and (value == "unix" or core.is_network(value))
end)

local mode = options_of.kind('a file mode in octal, such as "660"',
  function(value)
    return type(value) == "string" and value:match("^0?[0-7][0-7][0-7]$") ~= nil
  end)

M.OPTIONS = options_of.spec("listen", {
  url = options_of.string,
  path = options_of.constant("*"),
  host = options_of.filled,
  trusted_proxies = options_of.list_of(proxy),
  reuse_port = options_of.boolean,
  socket_mode = mode,
  backlog = options_of.integer(0, 2 ^ 31 - 1),
})

--- Is this the URL of a Unix socket?
---@param url string
---@return boolean
function M.is_unix(url)
  return url:lower():match("^ws%+unix:") ~= nil
end

-- What a socket's file has no use for, and what only that has.
local TCP_ONLY, UNIX_ONLY = { "host", "reuse_port" }, { "socket_mode" }

--- Raises for options that do not go with the URL.
---@param title string the entry point
---@param options table
function M.check(title, options)
  local url = options.url
  request.check_tls(title, url, options.tls)
  for _, name in ipairs(M.is_unix(url) and TCP_ONLY or UNIX_ONLY) do
    if options[name] ~= nil then
      misuse.raise("%s: option %s: not with %s", title, name, url:sub(1, 80))
    end
  end
end

--- The options as the core takes them.
---@param options table
---@return table
function M.to_core(options)
  local given = tables.copy(options)
  given.any_path = options.path == "*"
  given.trusted_proxies = options.trusted_proxies
    and table.concat(options.trusted_proxies, ",")
  given.socket_mode = options.socket_mode and tonumber(options.socket_mode, 8)
  return given
end

--- The URL with the port that was bound.
---@param url string
---@param port integer
---@return string
function M.with_port(url, port)
  if M.is_unix(url) then
    return url
  end
  local scheme, rest = url:match("^(%w+://)(.*)$")
  local name = rest:match("^%[[^%]]*%]") or rest:match("^[^:/]*")
  local path = rest:sub(#name + 1):gsub("^:%d+", "")
  return scheme .. name .. ":" .. port .. path
end

return M
