-- Every limit of DESIGN.md section 5 that a peer can reach over a WebSocket.
local aw = require("agentwire")
local limit = require("spec.support.limit")
local link = require("spec.support.link")
local server = require("spec.support.server")

local function ignore() end

local function hold(conn)
  conn:serve("provider", function(channel)
    while channel:receive() do
      ignore()
    end
  end)
end

--- The close code with which `client` ended.
local function end_of(client)
  assert.is_true(client:wait_closed(5000))
  return (select(2, client:why_closed()))
end

local ONCE = { reconnect = false }

describe("a limit on", function()
  it("the size of a message closes with 1009", function()
    server.run({ server = { message_max = 1000 }, client = ONCE }, hold,
      function(client)
        client._core:inject(("x"):rep(1001))
        assert.equal(1009, end_of(client))
      end)
  end)

  for option, status in pairs {
    connections_max = "503", per_address_max = "429",
  } do
    it(option .. " refuses the next connection with " .. status, function()
      link.run(function()
        local listening = assert(aw.listen({ url = "ws://127.0.0.1:0",
          [option] = 3 }, hold))
        limit.check { most = 3, says = status, code = "refused",
          begin = function()
            local before = listening:count()
            local function await(count)
              link.eventually(function()
                return listening:count() == count
              end)
            end
            local conn, why, code = aw.connect(listening.url, ONCE)
            if not conn then
              return nil, why, code
            end
            await(before + 1)
            return function()
              before = listening:count()
              conn:close()
              conn:wait_closed(1000)
              await(before - 1)
            end
          end }
        listening:close()
      end)
    end)
  end

  it("messages that wait to be confirmed parks their sender", function()
    local sent = 0
    server.run({}, function(conn)
      conn:serve("provider", function(channel)
        local request = assert(channel:receive())
        for n = 1, request.count do
          assert(channel:send("text_delta", { content_index = 0, delta = n }))
          sent = n
        end
        channel:send("result", { type = "result" })
      end)
    end, function(client, conn)
      local channel = assert(client:open("provider"))
      channel:confirm_manually()
      assert(channel:send("stream_request", { count = 200 }))
      for n = 1, 64 do
        assert.equal(n, assert(channel:receive(5000)).delta)
      end
      for _ = 1, 5 do -- whatever else they have to say to each other
        assert(client:ping(5000))
      end
      assert.equal(64, sent)
      assert.is_true(conn:stats().log_bytes > 0)
      for n = 65, 200 do
        channel:confirm()
        assert.equal(n, assert(channel:receive(5000)).delta)
      end
      assert.equal("result", assert(channel:receive(5000)).type)
    end)
  end)

  it("sessions sends the next one away with 1013", function()
    server.run({ server = { sessions_max = 1 } }, hold,
      function(_, _, listening)
        local late = assert(aw.connect(listening.url, ONCE))
        assert.equal(1013, end_of(late))
      end)
  end)

  it("the depth of JSON refuses what is deeper, and nothing else", function()
    server.run({ server = { depth_max = 5 } }, hold, function(client)
      local channel = assert(client:open("provider"))
      assert(channel:send("stream_request", { a = { b = { c = 1 } } }))
      client:ping() -- now the server's limits are known
      local ok, message, code =
        channel:send("more", { a = { b = { c = { d = {} } } } })
      assert.is_nil(ok)
      assert.equal("limit", code)
      assert.truthy(message:find("depth_max", 1, true), message)
      assert(channel:send("more", { a = { b = { c = {} } } }))
      -- Unreadable, so it is attributed to nothing: an error frame answers.
      client._core:inject(("["):rep(6) .. ("]"):rep(6))
      local said
      client:on_control("link", function(each)
        said = each
      end)
      link.eventually(function()
        return said
      end)
      assert.equal("error", said.type)
      assert.truthy(said.message:find("depth", 1, true)
        or said.message:find("nest", 1, true), said.message)
      assert.is_true(client:is_open())
    end)
  end)

  it("what a scope may have on its way is an option of its reader", function()
    local sent = 0
    local function push(size)
      return function(conn)
        conn:serve("provider", function(channel)
          assert(channel:receive())
          local text = ("x"):rep(size)
          while channel:send("text_delta", { content_index = 0, delta = text })
          do
            sent = sent + 1
          end
        end)
      end
    end
    local function assert_parked_at(expected, options, size, read)
      sent = 0
      server.run({ client = options }, push(size), function(client)
        local channel = assert(client:open("provider"))
        assert(channel:send("stream_request", {}))
        for _ = 1, read do
          assert(channel:receive(5000))
        end
        link.eventually(function()
          return sent >= expected
        end)
        for _ = 1, 5 do -- whatever else they have to say to each other
          assert(client:ping(5000))
        end
        assert.equal(expected, sent)
      end)
    end
    assert_parked_at(64, {}, 1, 0)
    assert_parked_at(64 + 200, { window_messages = 200 }, 1, 64)
    -- 256 KiB to begin with: three of them, the third beyond. Then 1 MiB more.
    assert_parked_at(3, {}, 100000, 0)
    assert_parked_at(3 + 11, { window_bytes = 2 ^ 20 }, 100000, 3)
  end)

  it("unsequenced messages that wait is told to who would add to them",
    function()
      server.run({ client = { control_bytes = 2000 } }, hold, function(client)
        local text, count = ("x"):rep(100), 0
        local ok, _, code
        repeat
          ok, _, code = client:send_control("provider",
            "00000000-0000-4000-8000-000000000001", "goodbye",
            { reason = text })
          count = count + 1
        until not ok or count == 1000
        assert.equal("would_block", code)
        assert.truthy(count < 10)
        link.eventually(function() -- there is room again
          return client:ping(5000)
        end)
      end)
    end)

  it("kept trace lines drops what nobody takes in time", function()
    server.run({ client = { trace = false } }, hold, function(client)
      client._core:trace("keep") -- and nobody takes them
      for _ = 1, 3000 do
        assert(assert(client:open("provider")):try_send("stream_request", {}))
      end
      link.eventually(function()
        return client:stats().messages_out >= 3000
      end)
      local kept = #client._core:trace_lines()
      assert.truthy(kept > 65536 - 1024 and kept <= 65536 + 1024, kept)
    end)
  end)

  it("open scopes refuses the next one in its protocol's form", function()
    server.run({ server = { scopes_max = 2 } }, hold, function(client)
      for _ = 1, 2 do
        assert(assert(client:open("provider")):send("stream_request", {}))
      end
      local third = assert(client:open("provider"))
      assert(third:send("stream_request", {}))
      local refused
      client:on_control("provider", function(message)
        refused = message
      end)
      link.eventually(function()
        return refused
      end)
      assert.equal("nack", refused.type)
      assert.equal(third.id, refused.id)
      assert.is_true(client:is_open())
    end)
  end)

  it("a session's scopes here refuses to open one more", function()
    server.run({ client = { scopes_max = 1 } }, hold, function(client)
      local only = assert(client:open("provider"))
      local none, _, code = client:open("provider")
      assert.is_nil(none)
      assert.equal("limit", code)
      only:close()
    end)
  end)

  it("credit parks the sender, and a peer that ignores it is closed with 4003",
    function()
      local function read_one(conn)
        conn:serve("provider", function(channel)
          channel:receive()
          aw.task.waiter("nothing"):wait()
        end)
      end
      server.run({ client = ONCE }, read_one, function(client)
        local channel = assert(client:open("provider"))
        assert(channel:send("stream_request", {}))
        assert(client:ping(5000)) -- what is injected overtakes what waits
        local id, big = channel.id, ("x"):rep(100000)
        for sequence = 2, 200 do
          client._core:inject(aw.json.encode {
            type = "more", stream_id = id, message_id = id,
            sequence = sequence, timestamp = 0, version = 1,
            payload = { text = big },
          })
        end
        assert.equal(4003, end_of(client))
      end)
    end)

  it("a base peer's backlog pauses its socket", function()
    local release = {}
    local function read_late(conn)
      conn:serve("provider", function(channel)
        release.waiter:wait()
        local count = 0
        while true do
          local event = channel:receive()
          if not event or event.last then
            channel:send("result", { type = "result", count = count })
            return
          end
          count = count + 1
        end
      end)
    end
    server.run({
      client = { protocols = "makai.v1" }, server = { inbound_bytes = 100000 },
    }, read_late, function(client, far)
      release.waiter = aw.task.waiter("the spec")
      local channel = assert(client:open("provider"))
      local text = ("x"):rep(10000)
      local writer = aw.spawn(function()
        for _ = 1, 3000 do
          assert(channel:send("stream_request", { text = text }))
        end
        assert(channel:send("stream_request", { last = true }))
      end)
      link.eventually(function()
        return far:stats().inbox_bytes >= 100000
      end)
      link.settle()
      assert.is_false(writer:is_done())
      release.waiter:wake()
      assert.equal(3000, assert(channel:receive(10000)).count)
      -- One read of the shared buffer may come on top of the limit.
      assert.truthy(far:stats().inbox_high < 100000 + 300000)
    end)
  end)

  it("a detached session's log parks its sender", function()
    local sent = 0
    local function send_for_ever(conn)
      conn:serve("provider", function(channel)
        channel:receive()
        while channel:send("text_delta", { content_index = 0, delta = "x" }) do
          sent = sent + 1
        end
      end)
    end
    server.run({ server = { log_messages = 500 }, client = ONCE },
      send_for_ever, function(client)
        local channel = assert(client:open("provider"))
        assert(channel:send("stream_request", {}))
        assert(channel:receive(5000))
        client:cut("by the spec")
        link.eventually(function()
          return sent >= 500
        end)
        link.settle()
        assert.truthy(sent <= 500 + 64, sent)
      end)
  end)

  it("a detached session's life ends it", function()
    local ended
    server.run({ server = { window_ms = 20 }, client = ONCE }, function(conn)
      conn:on_state(function(event)
        ended = event.type == "closed" and event
      end)
      hold(conn)
    end, function(client)
      assert(assert(client:open("provider")):send("stream_request", {}))
      client:ping(5000)
      client:cut("by the spec")
      link.eventually(function()
        return ended
      end)
      assert.truthy(ended.reason:find("window", 1, true))
    end)
  end)

  it("the logs of all sessions leaves each its share", function()
    local far = {}
    local function serve(conn)
      table.insert(far, conn)
      conn:serve("provider", function(channel)
        channel:receive()
        repeat
          local ok = channel:send("text_delta", { delta = ("x"):rep(5000) })
        until not ok
      end)
    end
    server.run({ server = { process_bytes = 200000 }, client = ONCE }, serve,
      function(client, _, listening)
        local other = assert(aw.connect(listening.url, ONCE))
        for _, conn in ipairs { client, other } do
          local channel = assert(conn:open("provider"))
          assert(channel:send("stream_request", {}))
          assert(channel:receive(5000))
          conn:cut("by the spec")
        end
        link.eventually(function()
          return far[2] and far[2]:stats().log_bytes >= 50000
        end)
        local all = far[1]:stats().log_bytes + far[2]:stats().log_bytes
        assert.truthy(far[1]:stats().log_bytes >= 50000)
        assert.truthy(all <= 200000, all)
        assert.equal("resuming", far[1]:state())
        assert.equal("resuming", far[2]:state())
      end)
  end)

  it("remembered scopes forgets the oldest", function()
    server.run({ client = { tombs_max = 3 } }, function(conn)
      conn:serve("provider", function(channel)
        channel:receive()
        channel:send("result", { type = "result" })
      end)
    end, function(client)
      for _ = 1, 10 do
        local channel = assert(client:open("provider"))
        assert(channel:send("stream_request", {}))
        assert(channel:receive(5000))
        channel:close()
      end
      assert.truthy(client:stats().ended_scopes <= 3)
    end)
  end)

  it("nothing shorter than its deadline ends a handshake", function()
    link.run(function()
      local silent = assert(aw.listen({ url = "ws://127.0.0.1:0",
        authenticate = function()
          aw.task.waiter("nothing"):wait()
        end, handshake_ms = 5000 }, ignore))
      local conn, message, code =
        aw.connect(silent.url, { handshake_ms = 50 })
      assert.is_nil(conn)
      assert.equal("timeout", code, message)
      silent:close()
    end)
  end)
end)
