local aw = require("agentwire")
local link = require("spec.support.link")

-- What a page's Origin gets from a server that was told nothing: here on
-- 127.0.0.1. Only a local page's whole origin is let in.
local ROWS = {
  { "http://localhost", true },
  { "http://localhost:3000", true },
  { "https://localhost:8443", true },
  { "http://LOCALHOST:3000", true },
  { "http://localhost.:3000", true },
  { "http://app.localhost:3000", true },
  { "http://127.0.0.1", true },
  { "http://127.8.9.10:80", true },
  { "http://[::1]:3000", true },
  { "http://[0:0:0:0:0:0:0:1]", true },
  { "http://[::ffff:127.0.0.1]", true },
  { "http://127.evil.com", false },
  { "http://127.0.0.1.nip.io", false },
  { "http://127.0.0.1.nip.io:80", false },
  { "http://127.0.0.1@evil.com", false },
  { "http://127.0.0.1:80@evil.com", false },
  { "http://localhost@evil.com", false },
  { "http://localhost:pass@evil.com", false },
  { "http://[::1]@evil.com", false },
  { "http://[::1].evil.com", false },
  { "http://[::1]evil.com", false },
  { "http://[::2]", false },
  { "http://[::1%25lo]", false },
  { "http://[127.0.0.1", false },
  { "http://::1", false },
  { "http://localhost.evil.com", false },
  { "http://evil-localhost", false },
  { "http://evillocalhost:3000", false },
  { "http://0177.0.0.1", false },
  { "http://0x7f.0.0.1", false },
  { "http://2130706433", false },
  { "http://127.1", false },
  { "http://0.0.0.0", false },
  { "http://128.0.0.1", false },
  { "http://192.168.1.1", false },
  { "http://evil.com/http://localhost", false },
  { "http://evil.com#http://localhost", false },
  { "http://localhost/", false },
  { "http://localhost/path", false },
  { "http://localhost?x", false },
  { "http://localhost#x", false },
  { "http://localhost\\evil.com", false },
  { "http://localhost:", false },
  { "http://localhost:x", false },
  { "http://localhost:65536", false },
  { "http://localhost:80:80", false },
  { "http://localhost, http://evil.com", false },
  { "http://evil.com, http://localhost", false },
  { "http://localhost http://evil.com", false },
  { "http:localhost", false },
  { "http:/localhost", false },
  { "//localhost", false },
  { "localhost", false },
  { "null", false },
  { "", false },
  { "file://", false },
  { "file://localhost", false },
  { "chrome-extension://127.0.0.1", false },
}

local function ask(server, value)
  local conn, message = aw.connect(server.url, {
    headers = { Origin = value }, reconnect = false,
  })
  if conn then
    conn:close()
    return true
  end
  assert.truthy(message:find("403", 1, true), message)
  return false
end

local function with_server(options, body)
  link.run(function()
    options.url = options.url or "ws://127.0.0.1:0"
    local server = assert(aw.listen(options, function() end))
    body(server)
    server:close()
  end)
end

describe("a browser's origin", function()
  it("is let in by default only where it is a local page's", function()
    with_server({}, function(server)
      for _, row in ipairs(ROWS) do
        assert.equal(row[2], ask(server, row[1]), row[1])
      end
    end)
  end)

  it("is refused by default by a server that others reach", function()
    with_server({ url = "ws://0.0.0.0:0", quiet = true }, function(server)
      server.url = server.url:gsub("0%.0%.0%.0", "127.0.0.1")
      for _, value in ipairs { "http://localhost", "http://127.0.0.1:3000" } do
        assert.is_false(ask(server, value), value)
      end
    end)
  end)

  it("is listed as browsers send it, or listing it raises", function()
    for _, each in ipairs { "https://app.example/", "https://app.example/x",
      "app.example", "https://*.app.example", "https://a@b", "", "https://",
      "https://app.example:x", "https://a.example, https://b.example" } do
      local ok, message = pcall(aw.listen,
        { url = "ws://127.0.0.1:0", origins = { each } }, print)
      assert.is_false(ok, each)
      assert.truthy(message:find("option origins", 1, true), message)
    end
  end)

  it("is let in by a list in any case, and by nothing near it", function()
    with_server({ origins = { "https://App.example:8443", "null",
      "https://default.example:443", "http://[::2]" } }, function(server)
      for value, allowed in pairs {
        ["https://default.example"] = true,
        ["https://default.example:443"] = true,
        ["http://default.example:443"] = false,
        ["http://[::2]:80"] = true,
        ["http://::2"] = false,
        ["https://app.example:8443"] = true,
        ["https://app.example"] = false,
        ["https://app.example:8443/"] = false,
        ["https://app.example:8443.evil.com"] = false,
        ["http://app.example:8443"] = false,
        ["http://localhost"] = false,
        ["null"] = true,
      } do
        assert.equal(allowed, ask(server, value), value)
      end
    end)
  end)

  it("is refused when there are two, whatever is allowed", function()
    with_server({ origins = { "*" } }, function(server)
      assert.is_true(ask(server, "https://anybody.example"))
      local conn, message = aw.connect(server.url, {
        headers = {
          { "Origin", "http://a.example" }, { "Origin", "http://b.example" },
        },
      })
      assert.is_nil(conn)
      assert.truthy(message:find("400", 1, true), message)
    end)
  end)

  it("is judged by the address that is bound, not by its name", function()
    for url, is_local in pairs {
      ["ws://127.0.0.1:0"] = true,
      ["ws://127.0.0.2:0"] = true,
      ["ws://localhost:0/path"] = true,
      ["ws://[::1]:0/a@b"] = true,
      ["ws://[::ffff:127.0.0.1]:0"] = true,
      ["ws://0.0.0.0:0"] = false,
      ["ws://[::]:0"] = false,
    } do
      with_server({ url = url, quiet = true }, function(server)
        local there = server.url:gsub("//0%.0%.0%.0", "//127.0.0.1")
          :gsub("//%[::%]", "//[::1]")
        assert.equal(is_local, ask({ url = there }, "http://localhost"), url)
      end)
    end
  end)
end)
