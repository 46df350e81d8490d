-- What lies between a request and its answer: redirections, proxies, TLS,
-- HTTP/2.
local aw = require("agentwire")
local compat = require("agentwire._compat")
local certificates = require("spec.support.certificates")
local core = require("agentwire.core")
local counters = require("spec.support.counters")
local link = require("spec.support.link")
local process = require("spec.support.process")
local servers = require("spec.support.http_server")

if not aw.http.about() then
  print("# left out: http_far_spec: " .. select(2, aw.http.about()))
  return
end

local folder

setup(function()
  folder = certificates.folder()
  certificates.authority(folder, "ca")
  certificates.authority(folder, "other")
  certificates.issue(folder, "ca", "good", "/CN=good", "IP:127.0.0.1,DNS:localhost")
  certificates.issue(folder, "ca", "wrong", "/CN=wrong", "DNS:elsewhere.test")
end)

teardown(function()
  certificates.remove(folder)
end)

local function file(name)
  return folder .. "/" .. name
end

local function over(base, given)
  for name, value in pairs(given or {}) do
    base[name] = value
  end
  return base
end

local function get(server, path, options)
  return aw.http.request(over({ url = server.url .. path, proxy = "",
    tls = server.url:find("^https") and { ca_file = file("ca.pem") } or nil },
    options))
end

local function run(body, ...)
  local wanted = { ... }
  link.run(function()
    local started = {}
    for index, start in ipairs(wanted) do
      started[index] = start()
    end
    body(compat.unpack(started))
    for _, each in ipairs(started) do
      each:stop()
    end
  end)
end

local function plain()
  return servers.start()
end

local function tls()
  return servers.start(file("good.pem"), file("good.key"))
end

local function header_of(response, wanted)
  for _, each in ipairs(aw.json.decode(response.body).headers) do
    if each[1]:lower() == wanted then
      return each[2]
    end
  end
end

describe("a redirection", function()
  after_each(process.stop_all)

  it("is followed when that is asked for, so many times", function()
    run(function(server)
      assert.equal(302, assert(get(server, "/again?n=3")).status)
      local response = assert(get(server, "/again?n=3", { redirects = 3 }))
      assert.same({ 200, "there" }, { response.status, response.body })
      local _, message, code = get(server, "/again?n=4", { redirects = 3 })
      assert.equal("limit", code)
      assert.truthy(message:find("more than 3 redirections", 1, true))
      assert.equal("limit", select(3, get(server, "/again?n=30",
        { redirects = 3 })))
    end, plain)
  end)

  it("keeps or drops the body as its status says", function()
    run(function(server)
      for status, expected in pairs { [301] = "GET", [302] = "GET",
        [303] = "GET", [307] = "POST", [308] = "POST" } do
        local response = assert(get(server, "/redirect?to=/echo&status="
          .. status, { redirects = 1, json = { 1 } }))
        local seen = aw.json.decode(response.body)
        assert.equal(expected, seen.method)
        assert.equal(expected == "POST" and "[1]" or "", seen.body)
        local kind = header_of(response, "content-type")
        assert.equal(expected == "POST" and "application/json" or "none",
          kind or "none")
      end
      local response = assert(get(server, "/redirect?to=/echo&status=302",
        { redirects = 1, method = "PUT", body = "x" }))
      assert.equal("PUT", aw.json.decode(response.body).method)
    end, plain)
  end)

  it("takes credentials to the same origin alone", function()
    run(function(server, other)
      local given = { redirects = 2, token = "s3cret",
        headers = { ["x-api-key"] = "s3cret", Accept = "a/b" } }
      local response = assert(get(server, "/redirect?to=/echo", given))
      assert.equal("Bearer s3cret", header_of(response, "authorization"))
      assert.equal("s3cret", header_of(response, "x-api-key"))
      for _, to in ipairs { other.url .. "/echo",
        (server.url:gsub("127.0.0.1", "localhost")) .. "/echo" } do
        response = assert(get(server, "/redirect?to=" .. to, given))
        assert.is_nil(response.body:find("s3cret", 1, true), response.body)
        assert.equal("a/b", header_of(response, "accept"))
      end
      -- A list of headers, and back again: what was dropped stays dropped.
      given.headers = { { "x-api-key", "s3cret" }, { "Accept", "a/b" } }
      response = assert(get(server, "/redirect?to=" .. other.url
        .. "/redirect%3Fto=" .. server.url .. "/echo", given))
      assert.is_nil(response.body:find("s3cret", 1, true), response.body)
      assert.equal("a/b", header_of(response, "accept"))
    end, plain, plain)
  end)

  it("leads to no less security, and to no other protocol", function()
    run(function(server, secure)
      local _, message, code = get(secure, "/redirect?to=" .. server.url
        .. "/hello", { redirects = 1 })
      assert.equal("refused", code)
      assert.truthy(message:find("from https to http", 1, true))
      for _, to in ipairs { "file:///etc/passwd", "ftp://127.0.0.1/" } do
        _, message, code = get(server, "/redirect?to=" .. to, { redirects = 1 })
        assert.equal("refused", code, message)
      end
      local response = assert(get(server, "/redirect?to=" .. secure.url
        .. "/hello", { redirects = 1, tls = { ca_file = file("ca.pem") } }))
      assert.equal("hello", response.body)
    end, plain, tls)
  end)
end)

describe("a proxy", function()
  after_each(process.stop_all)

  it("is gone through: with a tunnel for TLS, with whole URLs else", function()
    run(function(server, secure, proxy)
      assert.equal("hello", assert(get(server, "/hello",
        { proxy = proxy.url })).body)
      assert.equal("GET " .. server.url .. "/hello -", proxy:line())
      local address = proxy.url:match("//(.*)")
      assert.equal("hello", assert(get(secure, "/hello",
        { proxy = "http://me:pass@" .. address })).body)
      assert.equal("CONNECT " .. secure.url:match("//(.*)") .. " me:pass",
        proxy:line())
      local _, message, code = get(secure, "/hello",
        { proxy = "http://wrong:pass@" .. address })
      assert.equal("connect", code)
      assert.truthy(message:find("407", 1, true), message)
      assert.is_nil(message:find("pass", 1, true))
      _, message, code = get(server, "/hello", { proxy = "http://127.0.0.1:1" })
      assert.equal("connect", code, message)
    end, plain, tls, servers.proxy)
  end)

  it("comes from the environment, which can except hosts", function()
    run(function(server, proxy)
      local script = ([[
        local aw = require("agentwire")
        aw.run(function()
          print(aw.http.request { url = %q }.body)
        end)]]):format(server.url .. "/hello")
      local function ask(prefix)
        local child = process.start({ process.interpreter(), "-e", script },
          { prefix = "env " .. prefix })
        local line = child:line()
        child:wait()
        return line
      end
      assert.equal("hello", ask("http_proxy=" .. proxy.url))
      assert.equal("GET " .. server.url .. "/hello -", proxy:line())
      assert.equal("hello", ask("http_proxy=http://127.0.0.1:1 no_proxy=127.0.0.1"))
      assert.equal("hello", ask("HTTP_PROXY=http://127.0.0.1:1"))
    end, plain, servers.proxy)
  end)
end)

describe("TLS of a request", function()
  after_each(process.stop_all)

  it("is believed by its authority and its name", function()
    run(function(secure, wrong, server)
      assert.equal("hello", assert(get(secure, "/hello")).body)
      local function code_of(which, options)
        local response, message, code = get(which, "/hello", options)
        assert.is_nil(response)
        assert.truthy(message:find("GET https://", 1, true), message)
        return code, message
      end
      assert.equal("tls_unknown_issuer", (code_of(secure,
        { tls = { ca_file = file("other.pem") } })))
      assert.equal("tls_wrong_host", (code_of(wrong)))
      assert.equal("hello", assert(get(wrong, "/hello",
        { tls = { insecure = true } })).body)
      assert.equal("not_tls", (code_of({ url = server.url:gsub("http:",
        "https:") })))
      local code, message = code_of(secure, { tls = { ca_file = "/nowhere.pem" } })
      assert.equal("invalid_argument", code)
      assert.truthy(message:find("/nowhere.pem", 1, true), message)
    end, tls, function()
      return servers.start(file("wrong.pem"), file("wrong.key"))
    end, plain)
  end)

  it("raises no SIGPIPE when the server goes while it is written to", function()
    run(function(secure)
      local script = ([[
        local aw = require("agentwire")
        aw.run(function()
          for _ = 1, 5 do
            print(select(3, aw.http.request { url = %q, proxy = "",
              body = ("x"):rep(5e6), tls = { ca_file = %q } }))
          end
        end)]]):format(secure.url .. "/slam", file("ca.pem"))
      local child = process.start { process.interpreter(), "-e", script }
      for _ = 1, 5 do
        assert.equal("incomplete", child:line())
      end
      assert.equal(0, child:wait())
    end, tls)
  end)

  it("takes its authorities from the environment", function()
    run(function(secure)
      local script = ([[
        local aw = require("agentwire")
        aw.run(function()
          local response, _, code = aw.http.request { url = %q, proxy = "" }
          print(response and response.body or code)
        end)]]):format(secure.url .. "/hello")
      for name, expected in pairs { ca = "hello", other = "tls_unknown_issuer" } do
        local child = process.start({ process.interpreter(), "-e", script },
          { prefix = "env SSL_CERT_FILE=" .. file(name .. ".pem") })
        assert.equal(expected, child:line())
        child:wait()
      end
    end, tls)
  end)
end)

describe("HTTP/2", function()
  after_each(process.stop_all)

  local function with_http2(body)
    local here, why = servers.http2(file("good.pem"), file("good.key"))
    if not here then
      print("# left out: HTTP/2: " .. why)
      return
    end
    link.run(function()
      body(here)
    end)
    here:stop()
  end

  local function stream(server, path, options)
    return assert(aw.http.stream(over({ url = server.url .. path, proxy = "",
      http_version = "2", tls = { ca_file = file("ca.pem") } }, options)))
  end

  local TLS = function()
    return { tls = { ca_file = file("ca.pem") } }
  end

  it("is spoken where the server has it, on one connection", function()
    with_http2(function(server)
      local tasks = {}
      for index = 1, 50 do
        tasks[index] = aw.spawn(get, server, "/hello")
      end
      for _, each in ipairs(assert(aw.task.all(tasks))) do
        assert.equal("hello 2.0", each.body)
      end
      assert.equal(1, server:seen(TLS()).counts.connections)
      assert.equal("hello 1.1", assert(get(server, "/hello",
        { http_version = "1.1" })).body)
      assert.equal(("z"):rep(100000), assert(get(server, "/gzip")).body)
      -- A stream does without, unless it is told to.
      assert.equal("hello 1.1", stream(server, "/hello",
        { http_version = "1.1" }):read())
      local opened = assert(aw.http.stream { url = server.url .. "/hello",
        proxy = "", tls = { ca_file = file("ca.pem") } })
      assert.equal("hello 1.1", opened:read())
      assert.equal("hello 2.0", stream(server, "/hello"):read())
    end)
  end)

  it("ends one stream alone", function()
    with_http2(function(server)
      local opened = stream(server, "/stall")
      local ticks = stream(server, "/ticks")
      assert.equal("data: first\n\n", opened:read())
      local began = core.monotonic_us()
      opened:close()
      local gone
      repeat
        for _, entry in ipairs(server:seen(TLS()).log) do
          gone = entry[1] == "gone" and entry[3] or gone
        end
      until gone
      print(("# HTTP/2: closed, seen after %.1f ms"):format((gone - began) / 1000))
      assert.is_true(gone - began < 100000)
      local count = 0
      for _ in ticks:events() do
        count = count + 1
      end
      assert.equal(10, count)
      assert.equal(1, server:seen(TLS()).counts.connections)
      opened = stream(server, "/reset")
      assert.equal("some", opened:read())
      assert.equal("incomplete", select(3, opened:read()))
    end)
  end)

  it("stops one sender, and the others go on", function()
    with_http2(function(server)
      local size = 100 * 1000 * 1000
      assert(get(server, "/hello"))
      collectgarbage()
      local before = counters.resident_kb()
      local slow = stream(server, "/big?n=" .. size)
      aw.sleep(300)
      local count = 0
      for _ in stream(server, "/ticks"):events() do
        count = count + 1
      end
      assert.equal(10, count)
      local sent = server:seen(TLS()).counts.sent
      local len, most = 0, counters.resident_kb()
      for bytes in slow:chunks() do
        len = len + #bytes
        most = len % 40 == 0 and math.max(most, counters.resident_kb()) or most
      end
      assert.equal(size, len)
      print(("# HTTP/2, 100 MB: %d kB more, %.1f MB sent ahead"):format(
        most - before, sent / 1e6))
      -- What libcurl lets a stream have is 32 MiB, in blocks that double.
      assert.is_true(most - before < 80000, most - before)
    end)
  end)
end)
