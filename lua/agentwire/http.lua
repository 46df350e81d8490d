--- HTTP and HTTPS requests that wait without blocking: one answer as a whole, or
--- its body as it comes, in bytes, lines, server-sent events or JSON values
--- (docs/http.md).
local class = require("agentwire._class")
local core = require("agentwire.core")
local exchange = require("agentwire._http_exchange")
local host = require("agentwire.host")
local json = require("agentwire.json")
local misuse = require("agentwire._misuse")
local options = require("agentwire._options")
local redirects = require("agentwire._http_redirects")
local request = require("agentwire._request")
local streams = require("agentwire._http_stream")
local tables = require("agentwire._tables")
local undo = require("agentwire._undo")

local M = {}

---@class agentwire.HttpTls
---@field ca_file string? PEM; default: what SSL_CERT_FILE and SSL_CERT_DIR name,
--- or the system's store
---@field cert_file string? PEM
---@field key_file string? PEM
---@field insecure boolean? do not check the server; for tests

---@class agentwire.HttpRequest
---@field url string http:// or https://
---@field method string? "GET"; "POST" with a body
---@field headers table? by name, or as a list of {name, value}
---@field token string? sent as `Authorization: Bearer …`
---@field body string?
---@field json any? a body as JSON text, with its Content-Type
---@field connect_timeout_ms integer? 10 000, until there is a connection; the wait
--- for a free one is included. Here and below 0 is without limit
---@field first_byte_timeout_ms integer? 300 000, from the request to the answer's
--- header
---@field idle_timeout_ms integer? between any two bytes of the answer, 120 000;
--- does not run while nobody reads
---@field timeout_ms integer? for all of it, redirections included; without limit
---@field body_bytes_max integer? of the answer, unpacked; 64 MiB, of a stream
--- without limit
---@field header_bytes_max integer? of the answer, 65 536
---@field buffer_bytes_max integer? of a stream's body that waits to be read,
--- 262 144
---@field line_bytes_max integer? of a stream's lines, 1 MiB
---@field event_bytes_max integer? of a stream's server-sent events, 1 MiB
---@field compressed boolean? ask for gzip; true, of a stream false
---@field redirects integer? how many are followed, 0
---@field http_version "1.1"|"2"|nil "2": HTTP/2 over TLS where the server has it,
--- the default; of a stream "1.1", for libcurl takes in 32 MiB of an HTTP/2 stream
--- whether anybody reads it or not
---@field proxy string? "http://user:password@host:port", "environment" (the
--- default), or "" for none
---@field tls agentwire.HttpTls?

---@class agentwire.HttpLimits
---@field connections_per_host_max integer? 256
---@field connections_max integer? 512
---@field idle_connections_max integer? kept to be used again, 32

---@class agentwire.HttpResponse
---@field status integer
---@field headers table<string, string> by name in lower case; repeated ones
--- joined with ", "
---@field body string
---@field url string that answered, without user, query and fragment

local TLS = options.spec("option tls", {
  ca_file = options.filled,
  cert_file = options.filled,
  key_file = options.filled,
  insecure = options.boolean,
})

-- 0 is without limit.
local SOME = options.integer(0, 2 ^ 40)
local MS = options.integer(0, 2 ^ 31 - 1)

local REQUEST = options.spec("http.request", {
  url = options.filled,
  method = options.filled,
  headers = options.any, -- _request says what is wrong with it
  token = options.filled,
  body = options.string,
  json = options.any,
  connect_timeout_ms = MS,
  first_byte_timeout_ms = MS,
  idle_timeout_ms = MS,
  timeout_ms = MS,
  body_bytes_max = SOME,
  header_bytes_max = options.count,
  compressed = options.boolean,
  redirects = options.integer(0, 20),
  http_version = options.one_of { "1.1", "2" },
  proxy = options.string,
  tls = TLS,
})

local STREAM = options.spec("http.stream", {
  buffer_bytes_max = options.count,
  line_bytes_max = options.count,
  event_bytes_max = options.count,
}, REQUEST)

local LIMITS = options.spec("http.limit", {
  connections_per_host_max = options.count,
  connections_max = options.count,
  idle_connections_max = options.count,
})

local DEFAULTS = {
  connect_timeout_ms = 10000,
  first_byte_timeout_ms = 300000,
  idle_timeout_ms = 120000,
  proxy = "environment",
  redirects = 0,
}

local function check_body(title, given)
  if given.body ~= nil and given.json ~= nil then
    misuse.raise("%s: body and json: one of the two, not both", title)
  end
end

-- A scheme in capitals is one, too.
local function read_url(title, url)
  local scheme, rest = url:match("^(%a[%w+.-]*)(:.*)$")
  scheme = scheme and scheme:lower()
  if scheme ~= "http" and scheme ~= "https" or rest:sub(1, 3) ~= "://" then
    misuse.raise("%s: option url: expected http:// or https://, got %s", title,
      scheme and scheme .. ":" or misuse.describe(url))
  elseif url:find("[%c ]") then
    misuse.raise("%s: option url: it holds a blank or a control character",
      title)
  end
  return scheme .. rest
end

-- Everything that an exchange needs, checked, with what was left out.
local function read(spec, title, given, defaults)
  if type(given) ~= "table" then
    misuse.raise("%s expects a table with a url, got %s", title,
      misuse.describe(given))
  elseif spec:check(given).url == nil then
    misuse.raise("%s expects a url", title)
  end
  check_body(title, given)
  local all = tables.over(tables.over(DEFAULTS, defaults), given)
  all.url = read_url(title, all.url)
  request.check(title, all)
  if all.json ~= nil then
    local text, problem = json.encode(all.json)
    if not text then
      misuse.raise("%s: option json: %s", title, problem)
    end
    all.body = text
    all.headers = exchange.with_type(all.headers, "application/json")
  end
  all.method = all.method or (all.body and "POST" or "GET")
  if not all.method:find("^[A-Z-]+$") or all.method == "CONNECT" then
    misuse.raise("%s: option method: expected a word in capitals, and not"
      .. " CONNECT, got %s", title, misuse.describe(all.method))
  end
  return all
end

-- The exchange whose head is the answer.
local function ask(all)
  local current = host.current()
  local deadline = all.timeout_ms and all.timeout_ms > 0
    and current:now() + all.timeout_ms
  return redirects.follow(all, function(asked)
    local left = deadline and math.max(1, math.ceil(deadline - current:now()))
    return exchange.open(current, tables.over(asked, { timeout_ms = left or 0 }))
  end)
end

local function read_body(opened)
  local parts = {}
  while true do
    local bytes, message, code = opened:read()
    if bytes then
      parts[#parts + 1] = bytes
    elseif code == "closed" then
      return table.concat(parts)
    else
      return nil, message, code
    end
  end
end

--- Sends a request and waits for the whole answer, whatever its status.
---@async
---@param given agentwire.HttpRequest
---@return agentwire.HttpResponse? response
---@return string? message
---@return string? code "resolve", "connect", "timeout_connect",
--- "timeout_first_byte", "timeout_idle", "timeout"; "tls" and its kin;
--- "http_protocol"; "incomplete": the answer broke off; "limit"; "unsupported":
--- the module was built without libcurl
function M.request(given)
  local all = read(REQUEST, "http.request", given,
    { compressed = true, body_bytes_max = 64 * 1024 * 1024 })
  local opened, message, code = ask(all)
  if not opened then
    return nil, message, code
  end
  local body
  body, message, code = undo.always(function()
    opened:close()
  end, read_body, opened)
  if not body then
    return nil, message, code
  end
  return {
    status = opened.status, headers = opened.headers, body = body,
    url = opened.shown,
  }
end

--- Sends a request and waits for the answer's header; the body is read from the
--- stream as it comes. A stream that nobody holds any more is closed.
---@async
---@param given agentwire.HttpRequest
---@return agentwire.HttpStream? stream
---@return string? message
---@return string? code as of `request`
function M.stream(given)
  local opened, message, code = ask(read(STREAM, "http.stream", given,
    { compressed = false, http_version = "1.1" }))
  if not opened then
    return nil, message, code
  end
  return streams.new(opened, given)
end

--- Limits the connections of the current host, from now on. A request waits for
--- a free one, no longer than its `connect_timeout_ms`.
---@param given agentwire.HttpLimits
---@return boolean? ok
---@return string? message
---@return string? code "unsupported": the module was built without libcurl
function M.limit(given)
  local checked = LIMITS:check(given)
  return host.current():loop():fetch_limits {
    per_host = checked.connections_per_host_max,
    total = checked.connections_max,
    kept = checked.idle_connections_max,
  }
end

---@class agentwire.HttpAbout
---@field version string of libcurl
---@field resolver "threads"|"c-ares"|"blocking" how names are looked up; with the
--- last nothing is sent
---@field tls string? of libcurl
---@field http2 boolean
---@field gzip boolean

--- What HTTP stands on here.
---@return agentwire.HttpAbout? about
---@return string? message
---@return string? code "unsupported": the module was built without libcurl
function M.about()
  return core.fetch_about()
end

return class.module(M, "aw.http")
