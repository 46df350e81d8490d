-- Requests that are no upgrades, through the core's binding, from clients that
-- are not ours.
local aw = require("agentwire")
local compat = require("agentwire._compat")
local http = require("spec.support.http")
local link = require("spec.support.link")
local process = require("spec.support.process")
local task = require("agentwire.task")

local no_curl, no_bash = http.missing("curl"), http.missing("bash")

-- A spec that a real client runs.
local function with_curl(name, body)
  it(name, function()
    if no_curl then
      pending(no_curl)
    end
    link.run(body)
  end)
end

-- A spec with bare sockets.
local function with_raw(name, body)
  it(name, function()
    if no_bash then
      pending(no_bash)
    end
    link.run(body)
  end)
end

local function field(x, name)
  for _, pair in ipairs(x.head.fields) do
    if pair[1]:lower() == name then
      return pair[2]
    end
  end
end

local function serve(options, handler, body)
  local server = http.serve(options, handler)
  body(server)
  server:close()
end

describe("an exchange", function()
  with_curl("shows the request, and gives the answer", function()
    local seen
    serve({}, function(x)
      seen = x
      assert(x.core:respond(201, { ["X-A"] = "b", ["Content-Type"] = "text/x" },
        "hello"))
      assert.same({ "the response has gone out", "ok" }, { x:over() })
    end, function(server)
      local text = http.curl("-i", "-H", "X-Two: 2", server.url .. "a%7eb?c=%20")
      assert.matches("^HTTP/1.1 201 Created\n", text)
      assert.matches("\nX%-A: b\n", text)
      assert.matches("\nContent%-Length: 5\n", text)
      assert.matches("hello$", text)
    end)
    assert.equal("GET", seen.head.method)
    assert.equal("/a~b?c=%20", seen.head.target)
    assert.equal(1, seen.head.minor)
    assert.equal("127.0.0.1", seen.head.peer)
    assert.equal(0, seen.head.length)
    assert.equal("2", field(seen, "x-two"))
    assert.is_nil(seen.head.tls_subject)
  end)

  with_curl("takes a body that its client asks for leave to send", function()
    local folder = process.folder()
    local file = assert(io.open(folder .. "/body", "wb"))
    local text = ("0123456789abcdef"):rep(100000) -- above curl's own limits
    file:write(text)
    file:close()
    local got, expected
    serve({}, function(x)
      expected = field(x, "expect")
      got = assert(x:read_all())
      assert(x.core:respond(200, nil, #got .. " bytes\n"))
    end, function(server)
      for _, how in ipairs {
        { "--data-binary", "@" .. folder .. "/body", "-H", "Expect: 100-continue" },
        { "-T", folder .. "/body", "-H", "Transfer-Encoding: chunked" },
      } do
        got = nil
        table.insert(how, server.url)
        assert.equal(#text .. " bytes", (http.curl(compat.unpack(how))))
        assert.is_true(got == text)
      end
    end)
    process.remove(folder)
    assert.equal("100-continue", expected)
  end)

  with_curl("streams, each piece as soon as it is written", function()
    local go_on = task.signal()
    serve({}, function(x)
      assert(x.core:respond(200, { ["Content-Type"] = "text/event-stream" }))
      for index = 1, 5 do
        assert(x:write("data: " .. index .. "\n\n"))
        assert(go_on:wait(10000))
      end
      assert(x.core:finish())
    end, function(server)
      local lines = http.start_curl(server.url)
      for index = 1, 5 do
        assert.equal("data: " .. index, lines:receive(10000))
        go_on:wake_all()
      end
      assert.is_nil((lines:receive(10000)))
      assert.same({ "exited", 0 }, { select(2, lines:reason()) })
      assert(lines:wait_closed(10000))
    end)
  end)

  with_curl("serves an old client, and one that wants the head alone", function()
    serve({}, function(x)
      assert(x.core:respond(200))
      assert(x:write("all of it\n"))
      assert(x.core:finish())
    end, function(server)
      assert.equal("all of it", (http.curl("-0", server.url)))
      local text, status = http.curl("-I", server.url)
      assert.matches("^HTTP/1.1 200 OK", text)
      assert.equal(0, status)
    end)
  end)

  with_curl("leaves the connection to the next one", function()
    serve({}, function(x)
      assert(x.core:respond(200, nil, "one\n"))
    end, function(server)
      local text = http.curl("-w", "%{num_connects}\n", server.url, server.url,
        server.url)
      assert.equal("one\n1\none\n0\none\n0", text)
    end)
  end)

  with_curl("hears at once that its client has gone", function()
    local message, code, streaming, ended
    serve({}, function(x)
      assert(x.core:respond(200))
      assert(x:write("one\n"))
      streaming = x
      message, code = x:over()
      ended = { x.core:write("two\n") }
    end, function(server)
      local lines = http.start_curl(server.url)
      assert.equal("one", lines:receive(10000))
      lines:kill("KILL")
      link.eventually(function()
        return code ~= nil
      end)
      assert(lines:wait_closed(10000))
      assert.is_true(streaming.events.OVER)
    end)
    assert.equal("closed", code)
    assert.same({ nil, message, "closed" }, { ended[1], ended[2], ended[3] })
  end)

  with_curl("waits for a client that reads slowly", function()
    local piece, all = ("x"):rep(99999) .. "\n", 40
    local blocked
    serve({}, function(x)
      assert(x.core:respond(200, nil, #piece * all))
      for _ = 1, all do
        assert(x:write(piece))
      end
      assert(x.core:finish())
      blocked = x.blocked
      x:over()
    end, function(server)
      local text, status = http.curl("--limit-rate", "8M", "-o", "/dev/null",
        "-w", "%{size_download}", server.url)
      assert.equal(0, status)
      assert.equal(tostring(#piece * all), text)
    end)
    assert.is_true(blocked)
  end)

  with_curl("that is let go is answered, or cut", function()
    local begun
    serve({}, function(x)
      if begun then
        assert(x.core:respond(200))
        assert(x:write("half\n"))
      end
      x:close()
      assert.same({ "let go", "closed" }, { x.core:reason() })
      for _, method in ipairs { "read", "finish", "describe" } do
        assert.equal("closed", (select(3, x.core[method](x.core))))
      end
    end, function(server)
      assert.matches("503", (http.curl("-w", "%{http_code}", server.url)))
      begun = true
      local _, status = http.curl(server.url)
      assert.truthy(status == 18 or status == 56 or status == 52,
        "curl ended with " .. tostring(status))
    end)
  end)

  with_raw("refuses headers that would split the response", function()
    local problems = {}
    serve({}, function(x)
      for _, headers in ipairs {
        { ["X-A"] = "b\r\nX-Evil: 1" }, { ["X-A"] = "b\nX-Evil: 1" },
        { ["X-A"] = "b\0" }, { ["X-A: b\r\nX-Evil"] = "1" },
        { ["Content-Length"] = "5" }, { Date = "x" }, { ["X-A"] = 5 },
      } do
        local ok, message, code = x.core:respond(200, headers, "no")
        table.insert(problems, ok == nil and code or tostring(ok) .. message)
      end
      assert.has_error(function()
        x.core:respond(200, {}, -1)
      end)
      assert.has_error(function()
        x.core:respond("x")
      end)
      assert(x.core:respond(200, { { "Set-Cookie", "a" }, { "Set-Cookie", "b" } },
        "fine"))
    end, function(server)
      local text = http.raw(server.port,
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
      assert.matches("\nSet%-Cookie: a\nSet%-Cookie: b\n", text)
      assert.matches("fine$", text)
      assert.is_nil(text:find("Evil", 1, true))
    end)
    assert.same({ "invalid_argument", "invalid_argument", "invalid_argument",
      "invalid_argument", "invalid_argument", "invalid_argument",
      "invalid_argument" }, problems)
  end)

  with_raw("comes after the one before it", function()
    local order, open = {}, 0
    serve({}, function(x)
      open = open + 1
      assert.equal(1, open)
      table.insert(order, x.head.target)
      task.sleep(5)
      open = open - 1
      assert(x.core:respond(200, nil, "answer to " .. x.head.target .. "\n"))
    end, function(server)
      local one = "POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
      local text = http.raw(server.port, one:format(1) .. one:format(2)
        .. "GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
      assert.matches("answer to /1.*answer to /2.*answer to /3$", text)
    end)
    assert.same({ "/1", "/2", "/3" }, order)
  end)

  -- RFC 9112: what two servers in a row may see differently.
  local SMUGGLED = {
    ["a length and chunks"] = "Content-Length: 5\r\n"
      .. "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ["two lengths"] = "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    ["a folded header"] = "X: y\r\n z: 1\r\n\r\n",
    ["a bare LF"] = "X: y\nContent-Length: 5\r\n\r\nhello",
    ["a blank before a colon"] = "Content-Length : 5\r\n\r\nhello",
  }
  for name, rest in pairs(SMUGGLED) do
    with_raw("is none for " .. name, function()
      local count = 0
      serve({}, function(x)
        count = count + 1
        x:close()
      end, function(server)
        local text = http.raw(server.port,
          "POST / HTTP/1.1\r\nHost: a\r\n" .. rest
          .. "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.matches("^HTTP/1.1 400 Bad Request\n", text)
        assert.is_nil(text:find("HTTP/1.1", 10, true))
      end)
      assert.equal(0, count)
    end)
  end

  with_raw("has limits that can be set", function()
    local codes = {}
    serve({ body_max = 10, stall_ms = 50, keep_alive_ms = 50 }, function(x)
      local text, _, code = x:read_all()
      table.insert(codes, code or text)
      if text then
        assert(x.core:respond(200, nil, "taken"))
      end
    end, function(server)
      local post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
      local text = http.raw(server.port, post:format(11))
      assert.matches("^HTTP/1.1 413.*body_max$", text)
      text = http.raw(server.port, post:format(10) .. "half")
      assert.matches("^HTTP/1.1 408", text)
      text = http.raw(server.port, post:format(10) .. "0123456789")
      assert.matches("^HTTP/1.1 200.*taken$", text) -- and the end, after 50 ms
    end)
    assert.same({ "timeout", "0123456789" }, codes)
  end)

  it("does not keep a WebSocket from its path", function()
    link.run(function()
      serve({}, function() end, function(server)
        local conn = assert(aw.connect("ws://127.0.0.1:" .. server.port .. "/",
          { reconnect = false }))
        local accepted
        link.eventually(function()
          accepted = accepted or server.hub:accept()
          return accepted
        end)
        conn:close()
        accepted:close()
      end)
    end)
  end)

  -- What is collected is let go.
  with_curl("that nobody holds is answered", function()
    local hub = link.host:loop():hub()
    local port = assert(hub:listen { url = "ws://127.0.0.1:0", exchanges = true })
    local lines = http.start_curl("-w", "%{http_code}",
      ("http://127.0.0.1:%d/"):format(port))
    link.eventually(function()
      return hub:exchange()
    end)
    local status
    link.eventually(function()
      collectgarbage()
      status = status or lines:receive(1)
      return status
    end)
    assert.equal("nobody has answered", status)
    assert.equal("503", lines:receive(1000))
    assert(lines:wait_closed(10000))
    hub:close()
  end)
end)
