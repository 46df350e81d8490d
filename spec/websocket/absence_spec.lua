-- What a client says and does while its server is away.
local aw = require("agentwire")
local link = require("spec.support.link")

local FAST = { min_ms = 1, max_ms = 10 }

local function hold(conn)
  conn:serve("provider", function(channel)
    assert(channel:receive())
    channel:send("text_delta", { content_index = 0, delta = "a" })
    channel:receive()
  end)
end

local function begin(conn)
  local channel = assert(conn:open("provider"))
  assert(channel:send("stream_request", {}))
  assert.equal("text_delta", assert(channel:receive(5000)).type)
  return channel
end

-- The log's entries while `body` runs, by event.
local function logged(body)
  local entries = {}
  aw.log.set(function(entry)
    entries[entry.event] = entries[entry.event] or {}
    table.insert(entries[entry.event], entry)
  end)
  local ok, problem = pcall(body, entries)
  aw.log.set(nil)
  assert(ok, problem)
end

local function with(options, body)
  link.run(function()
    logged(function(entries)
      local given = { reconnect = FAST }
      for name, value in pairs(options.client or {}) do
        given[name] = value
      end
      local server = assert(aw.listen({ url = "ws://127.0.0.1:0",
        window_ms = options.window_ms }, options.serve or hold))
      local conn = assert(aw.connect(server.url, given))
      assert(conn:ping(5000)) -- the welcome, which names the window, is there
      body(conn, server, entries)
      conn:close()
      server:close()
    end)
  end)
end

describe("a server that stays away", function()
  for what, options in pairs {
    ["the server's window"] = { window_ms = 80 },
    ["the client's, which is shorter"] = { client = { window_ms = 80 } },
  } do
    it("has lost what was open after " .. what, function()
      with(options, function(conn, server, entries)
        local channel = begin(conn)
        local sender = assert(conn:open("agent"))
        assert(sender:send("agent_start", {}))
        server:close()
        local event, _, code = channel:receive(5000)
        assert.is_nil(event)
        assert.equal("lost", code)
        assert.equal("lost", select(3, sender:send("agent_message", {})))
        assert.equal("resuming", conn:state())
        assert.equal("lost", entries.lost[1].event)
        assert.equal("warn", entries.lost[1].level)
      end)
    end)
  end

  it("is waited for as long as its window, and no shorter", function()
    with({ window_ms = 5000 }, function(conn, server)
      local channel = begin(conn)
      server:close()
      assert.equal("timeout", select(3, channel:receive(200)))
    end)
  end)

  it("has lost what is begun while it is away, too", function()
    with({ window_ms = 50 }, function(conn, server)
      local first = begin(conn)
      server:close()
      assert.equal("lost", select(3, first:receive(5000)))
      local second = assert(conn:open("provider"))
      assert(second:send("stream_request", {}))
      assert.equal("lost", select(3, second:receive(5000)))
    end)
  end)

  it("is served anew when it comes back after all", function()
    with({ window_ms = 50 }, function(conn, server, entries)
      local lost = begin(conn)
      server:close()
      assert.equal("lost", select(3, lost:receive(5000)))
      local again = assert(aw.listen(server.url, hold))
      begin(conn):close()
      assert.is_true(conn:is_open())
      assert.is_false(entries.reconnected[1].resumed)
      again:close()
    end)
  end)

  it("that had kept the scopes is told that they are gone", function()
    local held
    with({ client = { window_ms = 50, reconnect = {
      min_ms = 200, max_ms = 201,
    } }, serve = function(conn)
      held = conn
      hold(conn)
    end }, function(conn)
      local channel = begin(conn)
      conn:cut("cable")
      assert.equal("lost", select(3, channel:receive(5000)))
      link.eventually(function()
        return conn:is_open() and held:stats().open_scopes == 0
      end)
      begin(conn):close()
    end)
  end)

  it("ends a model's stream with lost, for its reader", function()
    with({ window_ms = 50 }, function(conn, server)
      local stream = assert(conn:provider():start_stream {
        model = "a/b", messages = {},
      })
      assert.equal("a", assert(stream:next(5000)).delta)
      server:close()
      for _ in stream:events() do
        assert.fail("nothing more came")
      end
      assert.equal("lost", select(3, stream:result()))
    end)
  end)
end)

describe("an absence", function()
  it("is told, attempt by attempt, and so is its end", function()
    with({}, function(conn, server, entries)
      begin(conn)
      conn:cut("the cable")
      link.eventually(function()
        return conn:is_open() and entries.reconnected
      end)
      local first = entries.reconnecting[1]
      assert.equal("warn", first.level)
      assert.equal(1, first.attempt)
      assert.equal("the cable", first.reason)
      assert.equal("number", type(first.delay_ms))
      assert.truthy(first.message:find("the cable; attempt 1 in", 1, true))
      assert.equal("info", entries.reconnected[1].level)
      assert.is_true(entries.reconnected[1].resumed)
      server:close()
      conn:close()
      assert.is_nil(entries.gone)
    end)
  end)

  it("that is final is told", function()
    with({}, function(conn, server, entries)
      begin(conn)
      for theirs in server:connections() do
        theirs:close("go away", 1008)
      end
      assert.is_true(conn:wait_closed(5000))
      assert.equal("go away", entries.gone[1].reason)
    end)
  end)

  it("shows no secret of its URL", function()
    with({}, function(_, server, entries)
      local conn = assert(aw.connect(server.url .. "/?token=hunter2",
        { reconnect = FAST }))
      server:close()
      link.eventually(function()
        return entries.reconnecting
      end)
      conn:close()
      assert.is_nil(aw.json.encode(entries):find("hunter2", 1, true))
      local _, message = aw.connect(server.url .. "/?token=hunter2")
      assert.is_nil(message:find("hunter2", 1, true))
    end)
  end)

  it("ends at once when the connection is closed in it", function()
    with({ client = { reconnect = { min_ms = 60000, max_ms = 60000 } } },
      function(conn)
        conn:cut("cable")
        link.eventually(function()
          return conn:state() == "resuming"
        end)
        conn:close()
        link.eventually(function()
          return conn._keeper:is_done()
        end)
      end)
  end)
end)

describe("a question that a cut swallows", function()
  it("is answered over the next link: a ping, without a limit", function()
    with({}, function(conn)
      for _ = 1, 20 do
        local pinger = aw.spawn(conn.ping, conn)
        aw.task.yield()
        conn:cut("cable")
        assert.is_true((pinger:join(5000)))
      end
      assert.is_nil(next(conn._pings))
      assert.is_nil(next(conn._questions))
    end)
  end)

  it("is answered over the next link: a ping begun in between", function()
    with({}, function(conn)
      conn:cut("cable")
      assert.is_true((conn:ping(5000)))
    end)
  end)

  it("is answered over the next link: the state of a stream", function()
    with({ serve = function(conn)
      aw.provider.attach(conn, { name = "m", api = "m",
        stream = function(_, _, emit)
          emit { type = "text_start", content_index = 0 }
          emit { type = "text_delta", content_index = 0, delta = "half" }
          aw.sleep(60000)
        end })
    end }, function(conn)
      local client = conn:provider()
      local stream = assert(client:start_stream {
        model = "m/m", messages = {},
      })
      repeat
        local event = assert(stream:next(5000))
      until event.type == "text_delta"
      local asker = aw.spawn(client.sync, client, stream, 60000)
      local impatient = aw.spawn(client.sync, client, stream, 0)
      aw.task.yield()
      conn:cut("cable")
      assert.equal("half", assert(asker:join(5000)).content[1].text)
      assert.equal("timeout", select(3, impatient:join()))
      stream:close()
    end)
  end)

  it("is lost when the peer stays away, and closed at the end", function()
    with({ window_ms = 50 }, function(conn, server)
      server:close()
      assert.equal("lost", select(3, conn:ping()))
      local pinger = aw.spawn(conn.ping, conn)
      aw.task.yield()
      conn:close("enough")
      assert.equal("closed", select(3, pinger:join(5000)))
      assert.is_nil(next(conn._questions))
      assert.equal("closed", select(3, conn:ping()))
    end)
  end)

  it("is forgotten with the task that asked", function()
    with({}, function(conn, server)
      server:close()
      local pinger = aw.spawn(conn.ping, conn)
      local asker = aw.spawn(function()
        conn:provider():sync("00000000-0000-4000-8000-000000000000", 60000)
      end)
      aw.task.yield()
      pinger:cancel()
      asker:cancel()
      pinger:join()
      asker:join()
      assert.is_nil(next(conn._pings))
      assert.is_nil(next(conn._questions))
      assert.is_nil(next(conn:provider()._syncs))
    end)
  end)
end)
