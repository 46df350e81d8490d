-- Servers for specs of aw.http, as processes of their own.
local aw = require("agentwire")
local host = require("agentwire.host")
local process = require("spec.support.process")

local M = {}

---@class spec.HttpServer
---@field url string without a slash at its end
local Server = {}
Server.__index = Server

local function start(words, scheme)
  local started = process.start(words)
  return setmetatable({
    url = ("%s://127.0.0.1:%s"):format(scheme, started:expect("^(%d+)$")),
    _process = started,
  }, Server)
end

--- spec/support/http_server.py; over TLS with a certificate.
function M.start(cert, key)
  return start({ "python3", "spec/support/http_server.py", cert, key },
    cert and "https" or "http")
end

--- spec/support/http2_server.js, over TLS. nil and a reason without node.
function M.http2(cert, key)
  if process.shell("node --version"):match("^v(%d+)") == nil then
    return nil, "there is no node"
  end
  return start({ "node", "spec/support/http2_server.js", cert, key }, "https")
end

--- spec/support/http_proxy.py.
function M.proxy()
  return start({ "python3", "spec/support/http_proxy.py" }, "http")
end

--- What a proxy has been asked, a line each.
function Server:line()
  return self._process:line()
end

--- What the server has seen: `counts`, and `log`, a list of {what, path, us}.
function Server:seen(options)
  local request = { url = self.url .. "/log", proxy = "" }
  for name, value in pairs(options or {}) do
    request[name] = value
  end
  return assert(aw.json.decode(assert(aw.http.request(request)).body))
end

--- When it last saw `what` at `path`, in microseconds; waits for that, ten
--- seconds at most.
function Server:when(what, path)
  local deadline, found = host.current():now() + 10000, nil
  repeat
    assert(host.current():now() < deadline, what .. " was not seen")
    for _, entry in ipairs(self:seen().log) do
      if entry[1] == what and entry[2] == path then
        found = entry[3]
      end
    end
    if not found then
      aw.sleep(5)
    end
  until found
  return found
end

function Server:rss_kb()
  return self._process:rss_kb()
end

function Server:stop()
  self._process:stop()
end

return M
