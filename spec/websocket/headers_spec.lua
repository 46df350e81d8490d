local aw = require("agentwire")
local link = require("spec.support.link")

-- What can be sent, and what must never reach the wire: each raises, named,
-- before anything is begun.
local REFUSED = {
  { { token = "s3cret\r\nX-Evil: 1" }, "token" },
  { { token = "s3cret\nX-Evil: 1" }, "token" },
  { { token = "s3cret\r\n\r\nGET /admin HTTP/1.1" }, "token" },
  { { token = "s3cret\0" }, "token" },
  { { token = "" }, "token" },
  { { token = 5 }, "token" },
  { { headers = "X-A: s3cret" }, "headers" },
  { { headers = "X-A: s3cret\r\n", token = "x" }, "headers" },
  { { headers = 5 }, "headers" },
  { { headers = { ["X-A"] = "s3cret\r\nX-Evil: 1" } }, "X-A" },
  { { headers = { ["X-A"] = "s3cret\rX-Evil: 1" } }, "X-A" },
  { { headers = { ["X-A"] = "s3cret\nX-Evil: 1" } }, "X-A" },
  { { headers = { ["X-A"] = "s3cret\0" } }, "X-A" },
  { { headers = { ["X-A"] = "s3cret\127" } }, "X-A" },
  { { headers = { ["X-A"] = 5 } }, "headers" },
  { { headers = { ["X-A"] = { "s3cret" } } }, "headers" },
  { { headers = { ["X-A: b\r\nX-Evil"] = "s3cret" } }, "X-A:" },
  { { headers = { ["X-A "] = "s3cret" } }, "X-A" },
  { { headers = { ["X-A:"] = "s3cret" } }, "X-A:" },
  { { headers = { ["X A"] = "s3cret" } }, "X?A" },
  { { headers = { [""] = "s3cret" } }, "header" },
  { { headers = { ["X-\195\164"] = "s3cret" } }, "X-??" },
  { { headers = { Host = "s3cret" } }, "Host" },
  { { headers = { hOST = "s3cret" } }, "hOST" },
  { { headers = { Upgrade = "s3cret" } }, "Upgrade" },
  { { headers = { Connection = "close" } }, "Connection" },
  { { headers = { ["Content-Length"] = "5" } }, "Content-Length" },
  { { headers = { ["Transfer-Encoding"] = "chunked" } }, "Transfer-Encoding" },
  { { headers = { ["Sec-WebSocket-Key"] = "s3cret" } }, "Sec-WebSocket-Key" },
  { { headers = { ["sec-websocket-protocol"] = "x" } },
    "sec-websocket-protocol" },
  { { headers = { ["Sec-WebSocket-Extensions"] = "x" } },
    "Sec-WebSocket-Extensions" },
  { { headers = { ["Sec-WebSocket-New"] = "x" } }, "Sec-WebSocket-New" },
  { { headers = { { "X-A" } } }, "headers" },
  { { headers = { { "X-A", "s3cret\r\nX-Evil: 1" } } }, "X-A" },
  { { headers = { "X-A: s3cret" } }, "headers" },
  { { headers = { authorization = "s3cret" }, token = "x" }, "authorization" },
  { { headers = { { "Authorization", "a" }, { "AUTHORIZATION", "b" } } },
    "AUTHORIZATION" },
}

local SENT = {
  { { token = "a.b-c_d~e+f/g==" },
    { authorization = "Bearer a.b-c_d~e+f/g==" } },
  { { headers = { ["X-A"] = "1", ["x!#$%&'*+-.^_`|~9"] = "2" } },
    { ["x-a"] = "1", ["x!#$%&'*+-.^_`|~9"] = "2" } },
  { { headers = { ["X-A"] = "1" }, token = "t" },
    { ["x-a"] = "1", authorization = "Bearer t" } },
  { { headers = { Authorization = "Basic dTpw" } },
    { authorization = "Basic dTpw" } },
  { { headers = { { "X-A", "1" }, { "X-A", "2" } } }, { ["x-a"] = "1, 2" } },
  { { headers = { ["X-A"] = "" } }, { ["x-a"] = "" } },
  { { headers = { ["X-A"] = "  caf\195\169\tx " } },
    { ["x-a"] = "caf\195\169\tx" } },
  { { headers = { Cookie = "a=b; c=d", Origin = "http://localhost" } },
    { cookie = "a=b; c=d", origin = "http://localhost" } },
  { { headers = {} }, {} },
}

describe("a client's headers", function()
  it("are refused by name, and no value is repeated", function()
    link.run(function()
      for _, row in ipairs(REFUSED) do
        local ok, message = pcall(aw.connect, "ws://127.0.0.1:1", row[1])
        assert.is_false(ok)
        assert.truthy(message:find(row[2], 1, true), message)
        assert.is_nil(message:find("s3cret", 1, true), message)
        assert.is_nil(message:find("[\r\n]"), message)
      end
    end)
  end)

  it("are as many as a request has room for", function()
    local many = {}
    for i = 1, 57 do
      many["X-" .. i] = "y"
    end
    link.run(function()
      local ok, message = pcall(aw.connect, "ws://127.0.0.1:1",
        { headers = many })
      assert.is_false(ok)
      assert.truthy(message:find("at most 56", 1, true), message)
    end)
  end)

  it("arrive as they were given", function()
    local seen
    link.run(function()
      local server = assert(aw.listen({
        url = "ws://127.0.0.1:0",
        authenticate = function(request)
          seen = request.headers
          return true
        end,
      }, function() end))
      for _, row in ipairs(SENT) do
        local conn = assert(aw.connect(server.url, row[1]))
        for name, value in pairs(row[2]) do
          assert.equal(value, seen[name])
        end
        assert.equal(row[2].authorization, seen.authorization)
        conn:close()
      end
      server:close()
    end)
  end)
end)
