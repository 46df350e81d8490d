local aw = require("agentwire")
local certificates = require("spec.support.certificates")
local link = require("spec.support.link")

local folder

local function path(name)
  return folder .. "/" .. name
end

local function pair(name)
  return { cert_file = path(name .. ".pem"), key_file = path(name .. ".key") }
end

local function echo(conn)
  conn:serve("provider", function(channel)
    while true do
      local request = channel:receive()
      if not request then
        return
      end
      channel:send("text_delta", { content_index = 0, delta = request.said })
    end
  end)
end

local function listen(options)
  options.url = "wss://127.0.0.1:0"
  return assert(aw.listen(options, echo))
end

local function said(channel, what)
  assert(channel:send("stream_request", { said = what }))
  return assert(channel:receive(5000)).delta
end

describe("TLS", function()
  setup(function()
    folder = certificates.folder()
    certificates.authority(folder, "ca")
    certificates.authority(folder, "other")
    certificates.issue(folder, "ca", "server", "/CN=server",
      "IP:127.0.0.1,DNS:localhost")
    certificates.issue(folder, "ca", "renewed", "/CN=renewed", "IP:127.0.0.1")
    certificates.issue(folder, "ca", "wrong", "/CN=wrong", "DNS:elsewhere")
    certificates.issue(folder, "ca", "client", "/CN=me/O=us", "DNS:me")
  end)

  teardown(function()
    certificates.remove(folder)
  end)

  it("carries a stream both ways", function()
    link.run(function()
      local server = listen { tls = pair("server") }
      local client =
        assert(aw.connect(server.url, { tls = { ca_file = path("ca.pem") } }))
      local channel = assert(client:open("provider"))
      local big = ("0123456789"):rep(30000)
      assert.equal(big, said(channel, big))
      assert.equal("tls", said(channel, "tls"))
      client:close()
      server:close()
    end)
  end)

  for what, case in pairs {
    ["an unknown authority"] = { "server", "other.pem", nil, "certificate" },
    ["a certificate for another name"] =
      { "wrong", "ca.pem", nil, "mismatch" },
    ["a name that the certificate does not have"] =
      { "server", "ca.pem", "example.org", "mismatch" },
  } do
    it("refuses " .. what .. ", and says why", function()
      link.run(function()
        local server = listen { tls = pair(case[1]) }
        local conn, message = aw.connect(server.url, {
          tls = { ca_file = path(case[2]), name = case[3] },
        })
        assert.is_nil(conn)
        assert.truthy(message:lower():find(case[4], 1, true), message)
        server:close()
      end)
    end)
  end

  it("names the file that cannot be used, and never asks for a passphrase",
    function()
      certificates.lock(folder, "server", "locked")
      local junk = assert(io.open(path("junk.pem"), "w"))
      junk:write("no PEM\n")
      junk:close()
      local function why(cert, key, ca)
        local ok, message, code = aw.listen({ url = "wss://127.0.0.1:0", tls = {
          cert_file = cert and path(cert), key_file = key and path(key),
          ca_file = ca and path(ca), verify_peer = ca ~= nil,
        } }, echo)
        assert.is_nil(ok)
        assert.equal("invalid_argument", code)
        return message:match("^cannot listen at wss://127%.0%.0%.1:0: (.*)$")
      end
      link.run(function()
        assert.equal("a TLS server needs a cert_file", why())
        assert.equal("cert_file cannot be read: " .. path("none.pem"),
          why("none.pem"))
        assert.equal("cert_file holds no certificate in PEM form: "
          .. path("junk.pem"), why("junk.pem"))
        assert.equal("key_file cannot be read: " .. path("none.key"),
          why("server.pem", "none.key"))
        local no_key = "key_file holds no private key in PEM form that needs "
          .. "no passphrase: "
        assert.equal(no_key .. path("junk.pem"), why("server.pem", "junk.pem"))
        assert.equal(no_key .. path("locked.key"),
          why("server.pem", "locked.key"))
        assert.equal("key_file is not the key of cert_file: "
          .. path("client.key"),
          why("server.pem", "client.key"))
        assert.equal("ca_file cannot be read: " .. path("none.pem"),
          why("server.pem", "server.key", "none.pem"))
        assert.equal("ca_file holds no certificate in PEM form: "
          .. path("junk.pem"),
          why("server.pem", "server.key", "junk.pem"))
        local conn, message = aw.connect("wss://127.0.0.1:1",
          { tls = { ca_file = path("none.pem") } })
        assert.is_nil(conn)
        assert.equal("cannot connect to wss://127.0.0.1:1: ca_file cannot be "
          .. "read: " .. path("none.pem"), message)
      end)
    end)

  it("asks for a client's certificate, and tells the hook whose it is",
    function()
      link.run(function()
        local subject
        local tls = pair("server")
        tls.ca_file, tls.verify_peer = path("ca.pem"), true
        local server = listen {
          tls = tls,
          authenticate = function(request)
            subject = request.tls_subject
            return true
          end,
        }
        local with = pair("client")
        with.ca_file = path("ca.pem")
        local client = assert(aw.connect(server.url, { tls = with }))
        assert.equal("a", said(assert(client:open("provider")), "a"))
        assert.truthy(subject:find("CN=me", 1, true), subject)
        local none, message = aw.connect(server.url,
          { tls = { ca_file = path("ca.pem") }, timeout_ms = 5000 })
        assert.is_nil(none)
        assert.truthy(message)
        client:close()
        server:close()
      end)
    end)

  it("takes a renewed certificate without dropping a connection", function()
    link.run(function()
      local server = listen { tls = pair("server") }
      local trust = { ca_file = path("ca.pem") }
      local before = assert(aw.connect(server.url, { tls = trust }))
      local channel = assert(before:open("provider"))
      assert.equal("a", said(channel, "a"))
      assert.is_true(server:reload_tls(pair("wrong")))
      assert.equal("b", said(channel, "b"))
      assert.is_nil((aw.connect(server.url, { tls = trust })))
      assert.is_true(server:reload_tls(pair("renewed")))
      local after = assert(aw.connect(server.url, { tls = trust }))
      assert.equal("c", said(assert(after:open("provider")), "c"))
      local ok, message = server:reload_tls { cert_file = "/nowhere.pem",
        key_file = "/nowhere.key" }
      assert.is_nil(ok)
      assert.truthy(message)
      assert.equal("d", said(channel, "d"))
      before:close()
      after:close()
      server:close()
    end)
  end)

  it("survives cuts", function()
    link.run(function()
      local server = listen { tls = pair("server") }
      local client = assert(aw.connect(server.url, {
        tls = { ca_file = path("ca.pem") },
        reconnect = { min_ms = 1, max_ms = 5 },
      }))
      local channel = assert(client:open("provider"))
      for i = 1, 20 do
        assert.equal(tostring(i), said(channel, tostring(i)))
        client:cut("by the spec")
      end
      client:close()
      server:close()
    end)
  end)
end)
