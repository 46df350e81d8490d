local aw = require("agentwire")
local link = require("spec.support.link")
local server = require("spec.support.server")

local function serve_slowly(conn)
  conn:serve("provider", function(channel)
    local request = assert(channel:receive())
    for i = 1, request.count do
      assert(channel:send("text_delta", { content_index = 0, delta = i }))
      if i % 50 == 0 then
        aw.task.yield()
      end
    end
    assert(channel:send("result", { type = "result" }))
  end)
end

local FAST = { min_ms = 1, max_ms = 10 }

describe("a dropped connection", function()
  it("loses, repeats and reorders nothing in 100 cuts", function()
    server.run({ client = { reconnect = FAST } }, serve_slowly,
      function(client)
        local count = server.scaled(20000)
        local channel = assert(client:open("provider"))
        assert(channel:send("stream_request", { count = count }))
        for i = 1, count do
          local event = assert(channel:receive(30000))
          assert.equal(i, event.delta)
          assert.equal(i, event.sequence)
          if i % math.floor(count / 100) == 0 then
            client:cut("by the spec")
          end
        end
        assert.equal("result", assert(channel:receive(5000)).type)
      end)
  end)

  it("tells the application by its states alone", function()
    local states = {}
    server.run({ client = { reconnect = FAST } }, serve_slowly,
      function(client)
        client:on_state(function(event)
          table.insert(states, event.type)
        end)
        client:cut("by the spec")
        local channel = assert(client:open("provider"))
        assert(channel:send("stream_request", { count = 1 }))
        assert.equal(1, assert(channel:receive(5000)).delta)
      end)
    assert.same({ "resuming", "open", "closed" }, states)
  end)

  it("ends every wait with a reason when nobody may come back", function()
    server.run({ client = { reconnect = false } }, serve_slowly,
      function(client)
        local channel = assert(client:open("provider"))
        local reader = aw.spawn(function()
          return select(3, channel:receive())
        end)
        aw.task.yield()
        client:cut("by the spec")
        assert.equal("closed", (reader:join(2000)))
        assert.equal("closed", client:state())
        local ok, _, code = channel:send("stream_request", {})
        assert.is_nil(ok)
        assert.equal("closed", code)
      end)
  end)

  it("announces as lost what a restarted server no longer has", function()
    link.run(function()
      local first = assert(aw.listen("ws://127.0.0.1:0", function(conn)
        conn:serve("provider", function(channel)
          channel:receive()
          channel:send("text_delta", { content_index = 0, delta = "one" })
          channel:receive()
        end)
      end))
      local client = assert(aw.connect(first.url, { reconnect = FAST }))
      local channel = assert(client:open("provider"))
      channel:send("stream_request", {})
      assert.equal("one", assert(channel:receive(5000)).delta)
      local port = first.port
      first._hub:stop()
      local second
      link.eventually(function()
        second = aw.listen("ws://127.0.0.1:" .. port, serve_slowly)
        return second
      end)
      client:cut("the server died")
      local event, _, code = channel:receive(5000)
      assert.is_nil(event)
      assert.equal("lost", code)
      local again = assert(client:open("provider"))
      again:send("stream_request", { count = 1 })
      assert.equal(1, assert(again:receive(5000)).delta)
      client:close()
      first:close()
      second:close()
    end)
  end)
end)
