-- Where a client goes when its server names another URL, and with what.
local aw = require("agentwire")
local certificates = require("spec.support.certificates")
local link = require("spec.support.link")
local reconnect = require("agentwire._reconnect")

local FAST = { min_ms = 1, max_ms = 5 }

-- A server that knows what each visitor brought.
local function listen(options)
  local visits = { last = nil }
  local given = { url = "ws://127.0.0.1:0", authenticate = function(request)
    table.insert(visits, request.headers.authorization or "nothing")
    return true
  end }
  for name, value in pairs(options or {}) do
    given[name] = value
  end
  return assert(aw.listen(given, function(conn)
    visits.last = conn
  end)), visits
end

-- Sends the client that came last away to `url`.
local function send_away(visits, url)
  link.eventually(function()
    return visits.last ~= nil
  end)
  assert(visits.last:send_control("link", nil, "goodbye", {
    resume = true, after_ms = 1, url = url,
  }))
  assert(visits.last:ping(1000)) -- it has come
  visits.last:cut("restarting")
end

-- Runs a client of `first` that is sent to `url`; gives how often each server
-- was visited once it is open again.
local function follow(how, url_of)
  local counts
  link.run(function()
    aw.log.set(function() end)
    local first, visits = listen()
    local second, others = listen()
    local conn = assert(aw.connect(first.url, {
      follow = how, token = "secret", reconnect = FAST,
    }))
    send_away(visits, url_of(second.url))
    link.eventually(function()
      return conn:is_open() and #visits + #others == 2
    end)
    counts = { #visits, #others }
    conn:close()
    first:close()
    second:close()
    aw.log.set(nil)
  end)
  return counts
end

local function same(url)
  return url
end

local function by_name(url)
  return (url:gsub("127%.0%.0%.1", "localhost"))
end

describe("a goodbye's URL", function()
  for what, case in pairs {
    ["is not followed unasked"] = { nil, same, { 2, 0 } },
    ["is not followed when that is forbidden"] = { false, same, { 2, 0 } },
    ["is followed anywhere"] = { true, by_name, { 1, 1 } },
    ["is followed on the same host"] = { "same_host", same, { 1, 1 } },
    ["is not followed to another host"] = { "same_host", by_name, { 2, 0 } },
    ["is followed to a host of the list"] =
      { { "other", "LOCALHOST" }, by_name, { 1, 1 } },
    ["is not followed to a host that is not in the list"] =
      { { "localhost" }, same, { 2, 0 } },
    ["is not followed to another port of the list's host"] =
      { { "127.0.0.1:1" }, same, { 2, 0 } },
    ["is not followed when it has a zero byte"] = { true, function(url)
      return url .. "/\0x"
    end, { 2, 0 } },
    ["is not followed when it has a line break"] = { true, function(url)
      return url .. "/\r\nx"
    end, { 2, 0 } },
    ["is not followed when it has user info"] = { "same_host", function()
      return "ws://127.0.0.1@evil.example/"
    end, { 2, 0 } },
    ["is not followed when it is none"] = { true, function()
      return "127.0.0.1"
    end, { 2, 0 } },
    ["is not followed when it is empty"] = { true, function()
      return ""
    end, { 2, 0 } },
    ["is not followed to another protocol"] = { true, function(url)
      return (url:gsub("^ws", "http"))
    end, { 2, 0 } },
  } do
    it(what, function()
      assert.same(case[3], follow(case[1], case[2]))
    end)
  end

  it("that leads to less security is never followed", function()
    local folder = certificates.folder()
    certificates.authority(folder, "ca")
    certificates.issue(folder, "ca", "server", "/CN=server",
      "DNS:localhost,IP:127.0.0.1")
    local from = {
      url = "wss://127.0.0.1:0",
      tls = { cert_file = folder .. "/server.pem",
        key_file = folder .. "/server.key" },
    }
    local ca_file = folder .. "/ca.pem"
    link.run(function()
      aw.log.set(function() end)
      local first, visits = listen(from)
      local second, others = listen()
      local conn = assert(aw.connect(first.url, { follow = true,
        token = "secret", reconnect = FAST, tls = { ca_file = ca_file } }))
      send_away(visits, second.url)
      link.eventually(function()
        return conn:is_open() and #visits == 2
      end)
      assert.same({}, others)
      conn:close()
      first:close()
      second:close()
      aw.log.set(nil)
    end)
    certificates.remove(folder)
  end)

  it("is judged by its scheme alone, whatever the TLS options", function()
    aw.log.set(function() end)
    for from, followed in pairs {
      ["wss://a.example"] = { ["ws://a.example"] = false,
        ["WS://a.example"] = false, ["wss://b.example"] = true },
      ["ws://a.example"] = { ["ws://a.example"] = true,
        ["wss://a.example"] = true },
    } do
      for url, expected in pairs(followed) do
        local conn = { _options = { follow = true, dialer = { url = from } } }
        reconnect.heed_goodbye(conn, { url = url })
        assert.equal(expected, conn._moved_to == url, from .. " to " .. url)
      end
    end
    aw.log.set(nil)
  end)

  it("gives way to the first one when nobody answers there", function()
    link.run(function()
      aw.log.set(function() end)
      local first, visits = listen()
      local gone = listen()
      local conn = assert(aw.connect(first.url, { follow = true,
        reconnect = FAST }))
      gone:close()
      send_away(visits, gone.url)
      link.eventually(function()
        return conn:is_open() and #visits == 2
      end)
      conn:close()
      first:close()
      aw.log.set(nil)
    end)
  end)

  it("gives way to the first one when it refuses our token", function()
    link.run(function()
      aw.log.set(function() end)
      local first, visits = listen()
      local strict = listen { authenticate = function()
        return false
      end }
      local conn = assert(aw.connect(first.url, { follow = true,
        reconnect = FAST }))
      send_away(visits, strict.url)
      link.eventually(function()
        return conn:is_open() and #visits == 2
      end)
      conn:close()
      first:close()
      strict:close()
      aw.log.set(nil)
    end)
  end)
end)
