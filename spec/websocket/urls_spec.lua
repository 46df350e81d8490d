-- Where to listen and where to connect to: what is wrong with it is said, by
-- both ends, before anything is begun.
local aw = require("agentwire")
local link = require("spec.support.link")
local log = require("agentwire.log")

local TLS = { cert_file = "c.pem", key_file = "k.pem", ca_file = "ca.pem" }

describe("a URL", function()
  it("is not plain text beside TLS options, at either end", function()
    link.run(function()
      for _, url in ipairs { "ws://127.0.0.1:1", "WS://127.0.0.1:1/x" } do
        for what, call in pairs {
          connect = function() return aw.connect(url, { tls = {} }) end,
          listen = function()
            return aw.listen({ url = url, tls = TLS }, function() end)
          end,
          serve = function()
            return aw.serve { listen = url, tls = TLS, on_connection = print }
          end,
        } do
          local ok, message = pcall(call)
          assert.is_false(ok, what)
          assert.truthy(message:find("urls_spec.lua:", 1, true), message)
          assert.truthy(message:find(what .. ": option tls", 1, true), message)
          assert.truthy(message:find("wss://", 1, true), message)
        end
      end
    end)
  end)

  it("that cannot be listened at is named, and no warning comes first",
    function()
      link.run(function()
        local warnings = 0
        log.set(function()
          warnings = warnings + 1
        end)
        local results = {}
        for _, url in ipairs {
          "ws://0.0.0.0:x", "http://0.0.0.0:1", "ws://0.0.0.0:0 x",
          "ws://0.0.0.0:70000", "wss://0.0.0.0:0", "ws://0.0.0.0:0/a#b",
        } do
          results[url] = { pcall(aw.listen, url, function() end) }
        end
        log.set(nil)
        for url, result in pairs(results) do
          assert.is_true(result[1])
          assert.is_nil(result[2])
          assert.equal("invalid_argument", result[4])
          assert.truthy(result[3]:find("cannot listen at "
            .. url:gsub("[ #].*", ""), 1, true),
            result[3])
        end
        assert.equal(0, warnings)
      end)
    end)

  it("is shown without what may be a secret", function()
    link.run(function()
      for _, url in ipairs { "ws://me:s3cret@127.0.0.1:0",
        "ws://127.0.0.1:0/?token=s3cret", "ws://127.0.0.1:0#s3cret",
        "ws+unix:/a:/b?s3cret" } do
        local server, why = aw.listen(url, function() end)
        assert.is_nil(server)
        assert.truthy(why:find("cannot listen at ws", 1, true), why)
        assert.is_nil(why:find("s3cret", 1, true), why)
      end
      for _, url in ipairs { "ws://me:s3cret@127.0.0.1:1",
        "ws://127.0.0.1:x/?token=s3cret", "ws://127.0.0.1:1#s3cret" } do
        local conn, why, code = aw.connect(url)
        assert.is_nil(conn)
        assert.equal("invalid_argument", code)
        assert.truthy(why:find("cannot connect to ws://127.0.0.1", 1, true),
          why)
        assert.is_nil(why:find("s3cret", 1, true), why)
      end
    end)
  end)

  it("that is taken is named", function()
    link.run(function()
      local server = assert(aw.listen("ws://127.0.0.1:0", function() end))
      local second, message, code = aw.listen(server.url, function() end)
      assert.is_nil(second)
      assert.equal("io_error", code)
      assert.equal("cannot listen at " .. server.url
        .. ": address already in use", message)
      server:close()
    end)
  end)
end)
