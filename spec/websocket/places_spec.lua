-- Where servers listen and how they are reached: paths, addresses, Unix
-- sockets, shared ports, proxies in front.
local aw = require("agentwire")
local link = require("spec.support.link")
local process = require("spec.support.process")

local function listen(options, body)
  link.run(function()
    local seen = {}
    options.authenticate = function(request)
      table.insert(seen, request)
      return true
    end
    local server = assert(aw.listen(options, function() end))
    body(server, seen)
    server:close()
  end)
end

local function refusal(url, options)
  local conn, message, code = aw.connect(url, options)
  assert.is_nil(conn, url)
  return message, code
end

local function visit(url, options)
  local conn = assert(aw.connect(url, options))
  conn:close()
end

describe("a server's path", function()
  it("is the URL's and no other", function()
    listen({ url = "ws://127.0.0.1:0/agents" }, function(server, seen)
      local base = server.url:match("^ws://[^/]*")
      visit(server.url)
      visit(server.url .. "?team=blue")
      visit(base .. "/%61gents")
      assert.equal("/agents", seen[3].path)
      assert.equal("team=blue", seen[2].query)
      for _, path in ipairs { "", "/", "/agents/", "/agent", "/agents/x",
        "//agents", "/Agents", "/x?/agents" } do
        assert.truthy(refusal(base .. path):find("HTTP 404", 1, true), path)
      end
      assert.equal(3, #seen)
    end)
  end)

  it("is any, when a hook is to decide", function()
    listen({ url = "ws://127.0.0.1:0", path = "*" }, function(server, seen)
      for _, path in ipairs { "", "/", "/a", "/a/b?c" } do
        visit(server.url .. path)
      end
      assert.equal("/a/b", seen[4].path)
    end)
  end)
end)

describe("a server's address", function()
  it("is the option's, whatever the URL calls it", function()
    listen({ url = "ws://agents.example:0/x", host = "127.0.0.1" },
      function(server)
        assert.equal("ws://agents.example:" .. server.port .. "/x", server.url)
        visit(("ws://127.0.0.1:%d/x"):format(server.port))
      end)
  end)

  it("is shared with reuse_port, and with nobody without", function()
    listen({ url = "ws://127.0.0.1:0", reuse_port = true }, function(server)
      local other = assert(aw.listen({ url = server.url, reuse_port = true },
        function() end))
      assert.equal(server.port, other.port)
      other:close()
      local none, message = aw.listen(server.url, function() end)
      assert.is_nil(none)
      assert.truthy(message:find("in use", 1, true))
    end)
  end)
end)

describe("the Host of a request", function()
  it("is the URL's, or the option's", function()
    listen({ url = "ws://127.0.0.1:0" }, function(server, seen)
      visit(server.url)
      visit(server.url, { host = "agents.example:99" })
      assert.equal("127.0.0.1:" .. server.port, seen[1].headers.host)
      assert.equal("agents.example:99", seen[2].headers.host)
      for _, host in ipairs { "a b", "a/b", "u@h", "a\r\nX: y", ":1", "" } do
        assert.is_false(pcall(aw.connect, server.url, { host = host }), host)
      end
    end)
  end)
end)

describe("a Unix socket", function()
  local folder = process.folder()
  local file = folder .. "/agents.sock"

  local function mode_of(name)
    return process.shell("stat -c %a " .. name)
  end

  --- What a server leaves behind that is killed.
  local function leave_socket(name)
    process.shell(("LUA_PATH=%s LUA_CPATH=%s %s -e %s"):format(
      process.quote(package.path), process.quote(package.cpath),
      process.interpreter(), process.quote([[
        local aw = require("agentwire")
        aw.run(function()
          assert(aw.listen("ws+unix:]] .. name .. [[", print))
          os.exit(0, false)
        end)]])))
  end

  it("is listened at and connected to, and removed in the end", function()
    for _, url in ipairs { "ws+unix:" .. file .. ":/agents",
      "ws+unix://" .. file .. ":/agents" } do
      listen({ url = url }, function(server, seen)
        assert.is_nil(server.port)
        assert.equal(url, server.url)
        assert.equal("600", mode_of(file))
        local conn = assert(aw.connect(server.url .. "?x"))
        assert.equal("unix:" .. file, conn:info().peer)
        conn:close()
        assert.equal("unix", seen[1].peer)
        assert.equal("localhost", seen[1].headers.host)
        assert.equal("x", seen[1].query)
        assert.truthy(refusal("ws+unix:" .. file):find("404", 1, true))
      end)
      assert.is_nil(io.open(file))
      assert.equal("", process.shell("ls " .. folder))
    end
  end)

  it("has the mode that was asked for", function()
    listen({ url = "ws+unix:" .. file, socket_mode = "660" }, function()
      assert.equal("660", mode_of(file))
    end)
  end)

  it("is replaced when nobody listens at it, and only then", function()
    listen({ url = "ws+unix:" .. file }, function(server)
      local none, message, code = aw.listen("ws+unix:" .. file, print)
      assert.is_nil(none)
      assert.equal("io_error", code)
      assert.truthy(message:find("in use", 1, true), message)
      visit(server.url)
    end)
    leave_socket(file)
    assert.equal("agents.sock", process.shell("ls " .. folder))
    listen({ url = "ws+unix:" .. file }, function(server)
      visit(server.url)
    end)
    assert(io.open(file, "w")):close() -- no socket: somebody's data
    link.run(function()
      local none, message = aw.listen("ws+unix:" .. file, print)
      assert.is_nil(none)
      assert.truthy(message:find("in use", 1, true), message)
    end)
    assert.equal("agents.sock", process.shell("ls " .. folder))
    os.remove(file)
  end)

  it("names itself when it is not there, or cannot be", function()
    link.run(function()
      local message, code = refusal("ws+unix:" .. file)
      assert.equal("not_found", code)
      assert.truthy(message:find(file, 1, true), message)
      for _, url in ipairs { "ws+unix:", "ws+unix:" .. file .. ":x",
        "ws+unix://host/x", "ws+unix:/" .. ("x"):rep(120),
        "ws+unix:/a\rb", "ws+unix:/a:/b#c" } do
        message, code = refusal(url)
        assert.equal("invalid_argument", code, message)
      end
      local ok, raised = pcall(aw.connect, "ws+unix:" .. file, { tls = {} })
      assert.is_false(ok)
      assert.truthy(raised:find("option tls", 1, true))
    end)
  end)

  it("lets no browser in by itself", function()
    listen({ url = "ws+unix:" .. file }, function(server)
      local message = refusal(server.url,
        { headers = { Origin = "http://localhost" } })
      assert.truthy(message:find("403", 1, true))
    end)
  end)

  it("takes no options of TCP, nor TCP of its own", function()
    for _, options in ipairs {
      { url = "ws+unix:" .. file, host = "::1" },
      { url = "ws+unix:" .. file, reuse_port = true },
      { url = "ws://127.0.0.1:0", socket_mode = "600" },
      { url = "ws+unix:" .. file, socket_mode = "999" },
      { url = "ws+unix:" .. file, socket_mode = 600 },
    } do
      assert.is_false(pcall(aw.listen, options, print))
    end
  end)
end)

describe("a proxy in front", function()
  local function through(value)
    return { headers = { ["X-Forwarded-For"] = value } }
  end

  it("says who asks, when it is trusted", function()
    listen({ url = "ws://127.0.0.1:0", trusted_proxies = { "127.0.0.0/8" } },
      function(server, seen)
        visit(server.url, through("6.6.6.6, 203.0.113.7"))
        visit(server.url, through("2001:db8::7, 127.0.0.2"))
        visit(server.url)
        assert.equal("203.0.113.7", seen[1].peer)
        assert.equal("2001:db8::7", seen[2].peer)
        assert.equal("127.0.0.1", seen[3].peer)
        assert.truthy(refusal(server.url, through("nobody"))
          :find("HTTP 400", 1, true))
      end)
  end)

  it("is not believed otherwise", function()
    for _, trusted in ipairs { false, { "10.0.0.0/8", "::1" }, { "unix" } } do
      listen({ url = "ws://127.0.0.1:0",
        trusted_proxies = trusted or nil }, function(server, seen)
        visit(server.url, through("203.0.113.7"))
        assert.equal("127.0.0.1", seen[1].peer)
      end)
    end
  end)

  it("is one address no more, for limits by address", function()
    listen({ url = "ws://127.0.0.1:0", trusted_proxies = { "127.0.0.1" },
      per_address_max = 1 }, function(server)
      local first = assert(aw.connect(server.url, through("203.0.113.7")))
      local second = assert(aw.connect(server.url, through("203.0.113.8")))
      assert.truthy(refusal(server.url, through("1.1.1.1, 203.0.113.7"))
        :find("HTTP 429", 1, true))
      first:close()
      first:wait_closed(1000)
      link.eventually(function()
        local again = aw.connect(server.url, through("203.0.113.7"))
        if again then
          again:close()
        end
        return again
      end)
      second:close()
    end)
  end)

  it("may come by a Unix socket", function()
    local file = process.folder() .. "/proxy.sock"
    listen({ url = "ws+unix:" .. file, trusted_proxies = { "unix" } },
      function(server, seen)
        visit(server.url, through("203.0.113.7"))
        visit(server.url)
        assert.equal("203.0.113.7", seen[1].peer)
        assert.equal("unix", seen[2].peer)
      end)
  end)

  it("is named by addresses and networks, or raises", function()
    for _, each in ipairs { "10.0.0.1/8", "proxy.example", "10.0.0.0/33", "",
      "1.2.3.4, 5.6.7.8", "127.1" } do
      local ok, message = pcall(aw.listen,
        { url = "ws://127.0.0.1:0", trusted_proxies = { each } }, print)
      assert.is_false(ok)
      assert.truthy(message:find("trusted_proxies", 1, true), message)
    end
  end)
end)
