local access = require("agentwire.access")
local aw = require("agentwire")
local link = require("spec.support.link")
local log = require("agentwire.log")

local function echo(conn)
  conn:serve("provider", function(channel)
    local request = assert(channel:receive())
    channel:send("result", { type = "result", said = request.said })
  end)
end

--- Listens with `options`, connects with `client`; gives both to `body`.
local function with_server(options, client, body)
  link.run(function()
    options.url = options.url or "ws://127.0.0.1:0"
    local server = assert(aw.listen(options, echo))
    local conn, message, code = aw.connect(server.url, client)
    body(conn, message, code, server)
    if conn then
      conn:close()
    end
    server:close()
  end)
end

local function works(conn)
  local channel = assert(conn:open("provider"))
  assert(channel:send("stream_request", { said = "yes" }))
  return assert(channel:receive(5000)).said == "yes"
end

describe("access to a server", function()
  it("is given for the right bearer token", function()
    with_server({ tokens = { "one", "two" } }, { token = "two" },
      function(conn)
        assert.is_true(works(assert(conn)))
      end)
  end)

  for what, client in pairs {
    ["no token"] = {},
    ["a wrong token"] = { token = "three" },
    ["a token that begins like the right one"] = { token = "on" },
    ["a token that goes on after the right one"] = { token = "oneone" },
  } do
    it("is refused for " .. what .. ", with the status", function()
      with_server({ tokens = "one" }, client, function(conn, message, code)
        assert.is_nil(conn)
        assert.equal("refused", code)
        assert.truthy(message:find("401", 1, true), message)
        assert.is_nil(message:find("three", 1, true))
      end)
    end)
  end

  it("is refused by a port where nobody listens", function()
    link.run(function()
      local server = assert(aw.listen("ws://127.0.0.1:0", echo))
      server:close()
      for _ = 1, 3 do
        local conn, message, code = aw.connect(server.url)
        assert.is_nil(conn)
        assert.equal("refused", code)
        assert.truthy(message:find("connection refused: 127.0.0.1", 1, true))
      end
    end)
  end)

  it("is decided by a hook that may wait", function()
    local seen
    with_server({
      authenticate = function(request)
        aw.sleep(5)
        seen = request
        return request.headers["x-name"] == "me"
      end,
      url = "ws://127.0.0.1:0/agents",
    }, { headers = { ["X-Name"] = "me" } }, function(conn)
      assert.is_true(works(assert(conn)))
      assert.equal("/agents", seen.path)
      assert.equal("127.0.0.1", seen.peer)
    end)
  end)

  it("is refused, with nothing told, when the hook raises", function()
    local reported
    with_server({
      authenticate = function()
        link.host.on_error = function(message)
          reported = message
        end
        error("the password is hunter2")
      end,
    }, {}, function(conn, message)
      assert.is_nil(conn)
      assert.truthy(message:find("500", 1, true))
      assert.is_nil(message:find("hunter2", 1, true))
      assert.truthy(reported:find("hunter2", 1, true))
    end)
  end)

  for what, case in pairs {
    ["a page from elsewhere"] = { nil, "https://evil.example", false },
    ["a local page"] = { nil, "http://localhost:3000", true },
    ["a local page where none is allowed"] = { {}, "http://localhost", false },
    ["an allowed page"] = { { "https://ok.example" }, "https://ok.example", true },
    ["no browser at all"] = { {}, nil, true },
  } do
    it((case[3] and "is given to " or "is refused to ") .. what, function()
      local headers = case[2] and { Origin = case[2] }
      with_server({ origins = case[1] }, { headers = headers },
        function(conn, message)
          assert.equal(case[3], conn ~= nil)
          if not case[3] then
            assert.truthy(message:find("403", 1, true), message)
          end
        end)
    end)
  end

  it("warns when anybody who reaches the address may come in", function()
    for options, warned in pairs {
      [{}] = true,
      [{ tls = {} }] = true,
      [{ quiet = true }] = false,
      [{ tokens = "x" }] = false,
      [{ authenticate = function() end }] = false,
      [{ tls = { verify_peer = true } }] = false,
    } do
      options.url = "ws://0.0.0.0:1"
      local told = {}
      log.set(function(entry)
        table.insert(told, entry)
      end)
      access.warn(options, true)
      assert.same({}, told)
      access.warn(options, false)
      log.set(nil)
      assert.equal(warned and 1 or 0, #told)
      if warned then
        assert.equal("unguarded", told[1].event)
        assert.equal("ws://0.0.0.0:1", told[1].url)
        assert.truthy(told[1].message:find("without authentication", 1, true))
      end
    end
  end)

  it("compares secrets whole", function()
    assert.is_true(access.equal("abc", "abc"))
    for _, other in ipairs { "", "ab", "abd", "abcabc", "xbc", "abc\0" } do
      assert.is_false(access.equal(other, "abc"))
    end
    assert.is_false(access.equal("", "a"))
    assert.is_true(access.equal("", ""))
  end)

  it("does not try again after a refusal", function()
    local tries = 0
    with_server({
      authenticate = function()
        tries = tries + 1
        return tries == 1
      end,
    }, { reconnect = { min_ms = 1, max_ms = 2 } }, function(conn)
      assert(conn)
      conn:cut("by the spec")
      assert.is_true(conn:wait_closed(5000))
      assert.equal(2, tries)
      assert.truthy((conn:why_closed()):find("401", 1, true))
    end)
  end)
end)
