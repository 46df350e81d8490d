-- Who a peer is, from the door to the session.
local aw = require("agentwire")
local certificates = require("spec.support.certificates")
local link = require("spec.support.link")

local FAST = { min_ms = 1, max_ms = 10 }

--- Runs `body(conn, server, accepted)`; `accepted` lists the server's ends.
--- A session in which nothing was opened is not kept.
local function open_scope(conn, accepted)
  assert(assert(conn:open("provider")):send("stream_request", {}))
  link.eventually(function()
    return accepted[1]:stats().opened > 0
  end)
end

local function with_server(options, client, body)
  link.run(function()
    local accepted = {}
    options.url = options.url or "ws://127.0.0.1:0"
    local server = assert(aw.listen(options, function(conn)
      accepted[#accepted + 1] = conn
    end))
    local conn, why = aw.connect(server.url, client)
    if conn then
      link.eventually(function()
        return accepted[1]
      end)
    end
    body(conn, server, accepted, why)
    if conn then
      conn:close()
    end
    server:close()
  end)
end

local function identity_of(options, client)
  local seen
  with_server(options, client, function(conn, _, accepted)
    assert(conn)
    seen = accepted[1].identity
  end)
  return seen
end

local TOKEN = { x = "alice" }

local function hook(value)
  return { authenticate = function()
    return value
  end }
end

describe("an identity", function()
  it("is what the hook says: a name", function()
    local who = identity_of(hook("alice"))
    assert.equal("alice", who.id)
    assert.equal("alice", who.name)
    assert.equal("alice", tostring(who))
  end)

  it("is what the hook says: a table with rights", function()
    local who = identity_of(hook {
      id = "u-17", name = "Alice", rights = { "read", "write" }, level = 3,
    })
    assert.equal("u-17", who.id)
    assert.equal("Alice", who.name)
    assert.equal("write", who.rights[2])
    assert.equal(3, who.level)
  end)

  it("is nobody's in particular after a mere yes", function()
    assert.is_nil(identity_of(hook(true)))
    assert.is_nil(identity_of({ tokens = "x" }, { token = "x" }))
    assert.is_nil(identity_of({}))
    assert.is_nil(identity_of({ access = false }))
  end)

  it("is the token's, where tokens have names", function()
    local tokens = { abc = "alice", def = { name = "bob", rights = "none" } }
    assert.equal("alice", identity_of({ tokens = tokens }, { token = "abc" }).id)
    local bob = identity_of({ tokens = tokens }, { token = "def" })
    assert.equal("bob", bob.id)
    assert.equal("none", bob.rights)
    with_server({ tokens = tokens }, { token = "alice" },
      function(conn, _, _, why)
        assert.is_nil(conn)
        assert.truthy(why:find("401", 1, true))
      end)
  end)

  it("is a base peer's as well", function()
    local who = identity_of({ tokens = TOKEN },
      { token = "x", protocols = "makai.v1" })
    assert.equal("alice", who.id)
  end)

  it("is told to adapters", function()
    link.run(function()
      local seen
      local model = { name = "m", api = "m" }
      function model.stream(_, _, _, call)
        seen = call.connection.identity
        return { role = "assistant", stop_reason = "stop",
          content = { { type = "text", text = "x" } } }
      end
      local server = assert(aw.serve { listen = "ws://127.0.0.1:0",
        provider = model, tokens = { x = "alice" } })
      local conn = assert(aw.connect(server.url, { token = "x" }))
      assert(conn:provider():complete { model = "m/m",
        messages = { { role = "user", content = "x" } } })
      assert.equal("alice", seen.id)
      conn:close()
      server:close()
    end)
  end)

  it("is local over a pair, on both ends", function()
    link.run(function()
      local near, far = aw.pair()
      assert.equal("local", far.identity.id)
      assert.equal("local", near.identity.id)
      near:close()
    end)
  end)

  for what, value in pairs {
    ["a table without a name"] = { rights = {} },
    ["a number"] = 5,
    ["an empty name"] = "",
    ["a name with a line break"] = "a\nb",
    ["an id that is no text"] = { id = {} },
    ["a name that is too long"] = ("x"):rep(1025),
    ["more than can be kept"] = { id = "x", rights = ("x"):rep(5000) },
    ["what has no JSON form"] = { id = "x", rights = print },
  } do
    it("that is " .. what .. " lets nobody in", function()
      local reported
      with_server({ authenticate = function()
        link.host.on_error = function(message)
          reported = message
        end
        return value
      end }, {}, function(conn, _, _, why)
        assert.is_nil(conn)
        assert.truthy(why:find("500", 1, true), why)
        assert.truthy(reported:find("an identity", 1, true), reported)
      end)
    end)
  end

  it("stays with its session over a cut, its rights as they are by then",
    function()
      local count = 0
      with_server({ authenticate = function()
        count = count + 1
        return { id = "alice", rights = count }
      end }, { reconnect = FAST }, function(conn, server, accepted)
        assert.equal(1, accepted[1].identity.rights)
        open_scope(conn, accepted)
        conn:cut("by the spec")
        link.eventually(function()
          return count == 2 and conn:is_open()
            and accepted[1].identity.rights == 2
        end)
        assert.equal(1, #accepted)
        assert.equal(1, server:count())
        assert.equal("alice", accepted[1].identity.id)
      end)
    end)

  for _, case in ipairs { { "alice", "bob" }, { "alice", true },
    { true, "bob" } } do
    it(("of %s's session is not given to %s"):format(tostring(case[1]),
      tostring(case[2])), function()
        local count = 0
        with_server({ authenticate = function()
          count = count + 1
          return case[math.min(count, 2)]
        end }, { reconnect = FAST }, function(conn, server, accepted)
          open_scope(conn, accepted)
          conn:cut("by the spec")
          assert.is_true(conn:wait_closed(5000))
          local why, code = conn:why_closed()
          assert.equal("this session is somebody else's", why)
          assert.equal(4003, code)
          assert.equal(1, #accepted)
          assert.equal(1, server:count()) -- it waits for its own client
          assert.equal("resuming", accepted[1]:state())
        end)
      end)
  end
end)

describe("a client certificate", function()
  local folder

  setup(function()
    folder = certificates.folder()
    certificates.authority(folder, "ca")
    certificates.issue(folder, "ca", "server", "/CN=server", "IP:127.0.0.1")
    certificates.issue(folder, "ca", "client", "/CN=me/O=us", "DNS:me")
  end)

  teardown(function()
    certificates.remove(folder)
  end)

  local function path(name)
    return folder .. "/" .. name
  end

  local function seen_with(options)
    options.url = "wss://127.0.0.1:0"
    options.tls = {
      cert_file = path("server.pem"), key_file = path("server.key"),
      ca_file = path("ca.pem"), verify_peer = true,
    }
    return identity_of(options, { token = "x", tls = {
      ca_file = path("ca.pem"), cert_file = path("client.pem"),
      key_file = path("client.key"),
    } })
  end

  it("says who its holder is, unless a hook or a token knows better", function()
    assert.equal("O=us,CN=me", seen_with({}).id)
    assert.equal("O=us,CN=me", seen_with({ access = false }).id)
    assert.equal("O=us,CN=me", seen_with(hook(true)).id)
    assert.equal("O=us,CN=me", seen_with({ tokens = "x" }).id)
    assert.equal("alice", seen_with(hook("alice")).id)
    assert.equal("bob", seen_with({ tokens = { x = "bob" } }).id)
  end)
end)
