-- Requests and their answers, against a server that does what it is told, be it
-- wrong. After each spec there is no task and no descriptor left.
local aw = require("agentwire")
local counters = require("spec.support.counters")
local core = require("agentwire.core")
local link = require("spec.support.link")
local process = require("spec.support.process")
local servers = require("spec.support.http_server")

local about = aw.http.about()
if not about then
  print("# left out: http_spec: " .. select(2, aw.http.about()))
  return
end

local function now_us()
  return core.monotonic_us()
end

local function raises(parts, fn)
  local ok, problem = pcall(fn)
  assert.is_false(ok)
  for _, part in ipairs(parts) do
    assert.truthy(tostring(problem):find(part, 1, true), tostring(problem))
  end
end

-- Runs `body(server, get)` with a server of its own.
local function with_server(body)
  link.run(function()
    local server = servers.start()
    local function get(path, options)
      local all = { url = server.url .. path, proxy = "" }
      for name, value in pairs(options or {}) do
        all[name] = value
      end
      return aw.http.request(all)
    end
    local function stream(path, options)
      local all = { url = server.url .. path, proxy = "" }
      for name, value in pairs(options or {}) do
        all[name] = value
      end
      return aw.http.stream(all)
    end
    body(server, get, stream)
    server:stop()
  end)
end

local function echoed(get, options)
  return aw.json.decode(assert(get("/echo", options)).body)
end

local function header_of(seen, wanted)
  for _, each in ipairs(seen.headers) do
    if each[1]:lower() == wanted then
      return each[2]
    end
  end
end

describe("an HTTP request", function()
  after_each(process.stop_all)

  it("gives status, headers and body, of whatever status", function()
    with_server(function(_, get)
      local response = assert(get("/hello"))
      assert.equal(200, response.status)
      assert.equal("hello", response.body)
      assert.equal("text/plain", response.headers["content-type"])
      assert.equal("a, b", response.headers["x-twice"])
      local redirect = assert(get("/redirect?to=/hello"))
      assert.equal(302, redirect.status)
      assert.equal("/hello", redirect.headers.location)
      assert.equal("elsewhere", redirect.body)
    end)
  end)

  it("sends method, headers, token and body as they are", function()
    with_server(function(_, get)
      local seen = echoed(get, { headers = { ["X-One"] = "1", ["X-None"] = "" },
        token = "t0ken", body = "a\0b" })
      assert.equal("POST", seen.method)
      assert.equal("a\0b", seen.body)
      assert.equal("1", header_of(seen, "x-one"))
      assert.equal("", header_of(seen, "x-none"))
      assert.equal("Bearer t0ken", header_of(seen, "authorization"))
      assert.is_nil(header_of(seen, "content-type"))
      assert.is_nil(header_of(seen, "expect"))
      seen = echoed(get, { method = "PUT", json = { a = { 1, 2 } } })
      assert.equal("PUT", seen.method)
      assert.same({ a = { 1, 2 } }, aw.json.decode(seen.body))
      assert.equal("application/json", header_of(seen, "content-type"))
      seen = echoed(get, { json = 1, headers = { { "content-type", "x/y" } } })
      assert.equal("x/y", header_of(seen, "content-type"))
      for _, method in ipairs { "GET", "DELETE", "OPTIONS", "PATCH", "POST" } do
        seen = echoed(get, { method = method })
        assert.equal(method, seen.method)
        assert.equal("", seen.body)
      end
      seen = echoed(get, { body = ("x"):rep(3e6) })
      assert.equal(3e6, #seen.body)
    end)
  end)

  it("knows answers without a body, and interim ones", function()
    with_server(function(_, get)
      local response = assert(get("/empty"))
      assert.same({ 204, "" }, { response.status, response.body })
      response = assert(get("/hello", { method = "HEAD" }))
      assert.same({ 200, "", "5" },
        { response.status, response.body, response.headers["content-length"] })
      response = assert(get("/interim"))
      assert.same({ 200, "final" }, { response.status, response.body })
      assert.is_nil(response.headers.link)
    end)
  end)

  it("says what kind of failure it was, and where", function()
    with_server(function(server, get)
      for path, expected in pairs {
        ["/early"] = "incomplete", ["/early?chunked=1"] = "incomplete",
        ["/die"] = "incomplete", ["/garbage"] = "http_protocol",
      } do
        local response, message, code = get(path)
        assert.is_nil(response)
        assert.equal(expected, code)
        assert.truthy(message:find("GET " .. server.url, 1, true), message)
      end
      assert.equal("connect", select(3, aw.http.request {
        url = "http://127.0.0.1:1/", proxy = "" }))
      assert.equal("resolve", select(3, aw.http.request {
        url = "http://nowhere.invalid/", proxy = "" }))
    end)
  end)

  it("asks again when a connection that was kept has been closed", function()
    with_server(function(server, get)
      for _ = 1, 5 do
        assert.equal("bye", assert(get("/leave")).body)
        assert.equal("POST", echoed(get, { body = "again" }).method)
      end
      -- Closed while the request is under way: it was kept before.
      assert(get("/hello"))
      assert.equal("incomplete", select(3, get("/die")))
      assert(server:seen())
    end)
  end)

  it("uses a connection again", function()
    with_server(function(server, get)
      for _ = 1, 20 do
        assert(get("/hello"))
      end
      local counts = server:seen().counts
      assert.same({ 1, 21 }, { counts.connections, counts.requests })
    end)
  end)

  it("opens no more connections than there may be", function()
    with_server(function(server, get)
      assert(aw.http.limit { connections_per_host_max = 3 })
      local tasks = {}
      for index = 1, 12 do
        tasks[index] = aw.spawn(get, "/slow?ms=50")
      end
      for _, each in ipairs(assert(aw.task.all(tasks))) do
        assert.equal("late", each.body)
      end
      assert.equal(3, server:seen().counts.connections)
      -- Who waits for one waits for so long.
      for index = 1, 3 do
        tasks[index] = aw.spawn(get, "/slow?ms=400")
      end
      aw.sleep(20)
      assert.equal("timeout_connect",
        select(3, get("/hello", { connect_timeout_ms = 100 })))
    end)
  end)

  it("refuses what would break out of a header, and names it", function()
    for _, value in ipairs { "a\r\nX-Evil: 1", "a\nb", "a\0b", "a\rb" } do
      raises({ "http.request: ", "header X-Key", "control character" },
        function()
          aw.http.request { url = "http://127.0.0.1/",
            headers = { ["X-Key"] = value } }
        end)
      raises({ "option token", "control character" }, function()
        aw.http.request { url = "http://127.0.0.1/", token = value }
      end)
    end
    raises({ "header" }, function()
      aw.http.request { url = "http://127.0.0.1/",
        headers = { ["X Key"] = "a" } }
    end)
    raises({ "blank or a control character" }, function()
      aw.http.request { url = "http://127.0.0.1/a b\r\nX: y" }
    end)
    raises({ "a word in capitals" }, function()
      aw.http.request { url = "http://127.0.0.1/", method = "GET / HTTP/1.1\r\n" }
    end)
  end)

  it("speaks no other protocol", function()
    for _, url in ipairs { "file:///etc/passwd", "ftp://127.0.0.1/",
      "gopher://127.0.0.1/", "example.com", "//127.0.0.1/", "http:/x",
      "dict://127.0.0.1/", "scp://127.0.0.1/x" } do
      raises({ "expected http:// or https://" }, function()
        aw.http.request { url = url }
      end)
    end
  end)

  it("refuses options that are none", function()
    raises({ "unknown option header; did you mean headers?" }, function()
      aw.http.request { url = "http://127.0.0.1/", header = {} }
    end)
    raises({ "one of the two" }, function()
      aw.http.stream { url = "http://127.0.0.1/", body = "", json = {} }
    end)
    raises({ "expects a table with a url" }, function()
      aw.http.request("http://127.0.0.1/")
    end)
  end)

  it("shows no secret, in whatever goes wrong", function()
    with_server(function(server, get, stream)
      local texts = {}
      local function keep(...)
        for index = 1, select("#", ...) do
          texts[#texts + 1] = tostring((select(index, ...)))
        end
      end
      aw.log.set(function(entry)
        keep(aw.json.encode(entry))
      end)
      local secrets = { token = "s3cret-1",
        headers = { ["x-api-key"] = "s3cret-2" }, body = "s3cret-3" }
      local address = server.url:match("//(.*)")
      for _, path in ipairs { "/early", "/die", "/garbage", "/hello", "/big?n=9" } do
        keep(get(path .. (path:find("?") and "&" or "?") .. "key=s3cret-4",
          { token = secrets.token, headers = secrets.headers,
            body = secrets.body, body_bytes_max = 8 }))
      end
      for _, url in ipairs { "http://user:s3cret-5@" .. address .. "/die",
        "http://user:s3cret-5@127.0.0.1:1/?k=s3cret-6#s3cret-7",
        "http://user:s3cret-5@nowhere.invalid/" } do
        secrets.url, secrets.proxy = url, ""
        keep(aw.http.request(secrets))
      end
      secrets.url = server.url .. "/hello"
      secrets.proxy = "http://user:s3cret-8@127.0.0.1:1"
      keep(aw.http.request(secrets))
      local opened = assert(stream("/stall?key=s3cret-4", {
        token = "s3cret-1", body = "s3cret-3" }))
      keep(opened, opened.url)
      opened:close()
      keep(opened, opened:reason())
      keep(select(2, pcall(aw.http.request, { url = "http://127.0.0.1/",
        headers = { ["X-Key"] = "s3cret-9\n" } })))
      keep(select(2, pcall(aw.http.request, { url = "http://127.0.0.1/",
        token = "s3cret-9\n" })))
      aw.log.set(nil)
      assert.is_true(#texts > 20)
      assert.is_nil(table.concat(texts, "\n"):find("s3cret", 1, true),
        table.concat(texts, "\n"))
    end)
  end)
end)

describe("the header of an answer", function()
  it("is by name in lower case, repeated and folded lines joined", function()
    assert.same({ ["content-type"] = "a/b; c=d", x = "1, 2", y = "", z = "a:b" },
      require("agentwire._http_exchange").read_headers(
        "Content-Type: a/b;\r\n\t c=d \r\nX: 1\r\nx:2\r\nY:\r\nZ: a:b\r\n"))
  end)
end)

describe("a time of an HTTP request", function()
  after_each(process.stop_all)

  local function took(least, fn, ...)
    local began = now_us()
    local _, message, code = fn(...)
    local ms = (now_us() - began) / 1000
    assert.is_true(ms >= least - 1 and ms < least + 400,
      ("%s after %.0f ms"):format(tostring(message), ms))
    return code, message
  end

  it("is each over when it should be", function()
    with_server(function(_, get)
      local code, message = took(80, get, "/silent", { first_byte_timeout_ms = 80 })
      assert.equal("timeout_first_byte", code)
      assert.truthy(message:find("no answer within 80 ms", 1, true))
      code, message = took(80, get, "/stall", { idle_timeout_ms = 80 })
      assert.equal("timeout_idle", code)
      assert.truthy(message:find("nothing came for 80 ms", 1, true))
      code, message = took(80, get, "/comments?n=100&ms=10", { timeout_ms = 80 })
      assert.equal("timeout", code)
      assert.truthy(message:find("not over within", 1, true))
      -- Nobody takes the connection, so that TLS is not begun.
      local port = assert(get("/mute")).body
      code, message = took(80, aw.http.request, {
        url = "https://127.0.0.1:" .. port .. "/", connect_timeout_ms = 80,
        proxy = "" })
      assert.equal("timeout_connect", code)
      assert.truthy(message:find("no connection within 80 ms", 1, true))
    end)
  end)

  it("is whole over all redirections", function()
    with_server(function(server, get)
      assert.equal("timeout", (took(150, get, "/redirect?to=" .. server.url
        .. "/silent", { redirects = 3, timeout_ms = 150 })))
    end)
  end)

  it("begins anew with any byte, a ping's too", function()
    with_server(function(_, _, stream)
      local opened = assert(stream("/comments?n=8&ms=50", { idle_timeout_ms = 200 }))
      local got = {}
      for event in opened:events() do
        got[#got + 1] = event.data
      end
      assert.same({ "there" }, got)
      assert.equal("closed", select(2, opened:reason()))
    end)
  end)

  it("of silence does not run while nobody reads", function()
    with_server(function(_, _, stream)
      local opened = assert(stream("/big?n=10000000",
        { idle_timeout_ms = 100, buffer_bytes_max = 65536 }))
      aw.sleep(400)
      local len = 0
      for bytes in opened:chunks() do
        len = len + #bytes
      end
      assert.equal(10000000, len)
      assert.equal("closed", select(2, opened:reason()))
    end)
  end)
end)

describe("the end of an HTTP request", function()
  after_each(process.stop_all)

  -- How long after `act` the server saw its client go.
  local function seen_after(server, path, act)
    local began = now_us()
    act()
    return (server:when("gone", path) - began) / 1000
  end

  it("is at once: a task that is cancelled, a stream that is closed or that "
    .. "nobody holds", function()
    with_server(function(server, get, stream)
      local t = aw.spawn(get, "/silent")
      server:when("asked", "/silent")
      local ms = seen_after(server, "/silent", function()
        t:cancel("enough")
      end)
      assert.is_true(ms < 100, ms .. " ms")
      print(("# cancelled: seen after %.1f ms"):format(ms))
      local opened = assert(stream("/stall"))
      ms = seen_after(server, "/stall", function()
        opened:close()
      end)
      assert.is_true(ms < 100, ms .. " ms")
      print(("# closed: seen after %.1f ms"):format(ms))
    end)
    with_server(function(server, _, stream)
      local opened -- held, so that no collection ends it
      local reader = aw.spawn(function()
        opened = assert(stream("/stall"))
        assert.equal("data: first\n\n", opened:read())
        opened:read()
      end)
      server:when("stalls", "/stall")
      aw.sleep(20)
      local ms = seen_after(server, "/stall", function()
        reader:cancel("enough")
      end)
      assert.is_true(ms < 100, ms .. " ms")
      assert.equal("closed", select(3, opened:read()))
    end)
    with_server(function(server, _, stream)
      aw.spawn(function()
        assert(stream("/stall"))
      end):join()
      server:when("stalls", "/stall")
      local ms = seen_after(server, "/stall", function()
        collectgarbage()
        collectgarbage()
      end)
      assert.is_true(ms < 100, ms .. " ms")
    end)
  end)

  it("is seen although a child was started meanwhile", function()
    with_server(function(server, _, stream)
      local opened = assert(stream("/stall"))
      process.start { "sleep", "100" }
      local ms = seen_after(server, "/stall", function()
        opened:close()
      end)
      assert.is_true(ms < 100, ms .. " ms")
    end)
  end)

  it("leaves nothing behind", function()
    with_server(function(server, get, stream)
      assert(get("/hello"))
      local before = counters.take({})
      for _ = 1, 20 do
        local t = aw.spawn(get, "/silent")
        aw.sleep(2)
        t:cancel("enough")
        t:join()
        assert(stream("/stall")):close()
        get("/early")
        get("/silent", { first_byte_timeout_ms = 1 })
        get("/hello")
      end
      assert.equal("", counters.settled(before, {}))
      link.eventually(function()
        return server:seen().counts.open <= 2
      end)
    end)
  end)

  it("does not wait for a name that is being looked up", function()
    link.run(function()
      local began = now_us()
      for _ = 1, 20 do
        local t = aw.spawn(aw.http.request, { url = "http://nowhere.invalid/",
          proxy = "" })
        aw.task.yield()
        t:cancel("enough")
        t:join()
      end
      assert.is_true(now_us() - began < 2e6)
    end)
  end)
end)
