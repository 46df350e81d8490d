-- Which proxy a client goes through, as its option or the environment says.
local aw = require("agentwire")
local link = require("spec.support.link")
local request = require("agentwire._request")

describe("a client's proxy", function()
  it("is named without its password when it cannot be used", function()
    for _, proxy in ipairs { "https://me:s3cret@h", "me:s3cret@h:1", "",
      "http://me:s3cret@h:x", "http://me:s3cret@/", 5 } do
      local ok, message = pcall(aw.connect, "ws://127.0.0.1:1",
        { proxy = proxy })
      assert.is_false(ok)
      assert.truthy(message:find("proxy", 1, true), message)
      assert.truthy(message:find("proxy_spec.lua:", 1, true), message)
      assert.is_nil(message:find("s3cret", 1, true), message)
    end
  end)

  it("is connected to in place of the server", function()
    link.run(function()
      local server = assert(aw.listen("ws://127.0.0.1:0", function() end))
      -- A WebSocket server is no proxy, and says so.
      local conn, message, code = aw.connect("ws://nowhere.invalid/", {
        proxy = "http://me:s3cret@127.0.0.1:" .. server.port,
      })
      assert.is_nil(conn)
      assert.equal("refused", code)
      assert.truthy(message:find("refused by the proxy 127.0.0.1: HTTP 405", 1,
        true), message)
      assert.is_nil(message:find("s3cret", 1, true))
      server:close()
    end)
  end)

  local variables = {}
  local getenv = os.getenv

  before_each(function()
    rawset(os, "getenv", function(name)
      return variables[name]
    end)
  end)

  after_each(function()
    rawset(os, "getenv", getenv)
  end)

  it("is the environment's only when that is asked for", function()
    variables = { https_proxy = "http://s:1", http_proxy = "http://p:1",
      no_proxy = "localhost, .corp.example,10.0.0.1 ::1 own.example" }
    for url, proxy in pairs {
      ["wss://a.example/"] = "http://s:1",
      ["ws://a.example/"] = "http://p:1",
      ["WSS://A.example:99?x"] = "http://s:1",
      ["wss://localhost:1"] = "",
      ["wss://in.corp.example"] = "",
      ["wss://corp.example"] = "",
      ["wss://notcorp.example"] = "http://s:1",
      ["wss://own.example:7/x"] = "",
      ["wss://me.own.example"] = "",
      ["ws://10.0.0.1:99"] = "",
      ["ws://10.0.0.10"] = "http://p:1",
      ["ws://[::1]:99/"] = "",
      ["ws://[::2]:99/"] = "http://p:1",
      ["ws+unix:/a.sock"] = "",
    } do
      assert.equal(proxy, request.proxy_for("environment", url), url)
      assert.equal("", request.proxy_for(nil, url))
      assert.equal("http://own:1", request.proxy_for("http://own:1", url))
    end
  end)

  it("is not what a header may have put there", function()
    variables = { HTTP_PROXY = "http://evil:1" }
    assert.equal("", request.proxy_for("environment", "ws://a"))
    variables = { ALL_PROXY = "http://all:1", NO_PROXY = "*" }
    assert.equal("", request.proxy_for("environment", "ws://a"))
    variables = { ALL_PROXY = "http://all:1" }
    assert.equal("http://all:1", request.proxy_for("environment", "ws://a"))
    variables = { HTTPS_PROXY = "http://s:1" }
    assert.equal("http://s:1", request.proxy_for("environment", "wss://a"))
  end)
end)
