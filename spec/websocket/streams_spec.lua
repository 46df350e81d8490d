local aw = require("agentwire")
local server = require("spec.support.server")

local STREAMS, EVENTS = 64, server.scaled(3000)

local function serve_numbers(conn)
  conn:serve("provider", function(channel)
    local request = assert(channel:receive())
    for i = 1, request.count do
      assert(channel:send("text_delta", { content_index = 0, delta = i }))
    end
    assert(channel:send("result", { type = "result", sum = request.count }))
  end)
end

--- Reads one stream; says what was wrong with it, or nil.
local function read_numbers(conn, count)
  local channel = assert(conn:open("provider"))
  assert(channel:send("stream_request", { count = count }))
  for i = 1, count do
    local event, message = channel:receive(30000)
    if not event then
      return message
    elseif event.delta ~= i or event.sequence ~= i then
      return string.format("event %d is %s with sequence %d", i,
        tostring(event.delta), event.sequence)
    end
  end
  local last = channel:receive(30000)
  if not last or last.type ~= "result" then
    return "no result after the last event"
  end
  local _, _, code = channel:receive(1000)
  return code ~= "ended" and "something after the result" or nil
end

describe("streams over a WebSocket", function()
  for _, protocol in ipairs { "agentwire.v1", "makai.v1" } do
    it("keeps 64 interleaved streams in order with " .. protocol, function()
      server.run({ client = { protocols = protocol } }, serve_numbers,
        function(client)
          assert.equal(protocol, client:info().protocol)
          local tasks = {}
          for i = 1, STREAMS do
            tasks[i] = aw.spawn(read_numbers, client, EVENTS)
          end
          for i = 1, STREAMS do
            local wrong, failure = tasks[i]:join()
            assert.is_nil(wrong or failure)
          end
          local stats = client:stats()
          assert.equal(0, stats.duplicates)
          assert.equal(0, stats.refused.sequence)
        end)
    end)
  end

  it("keeps both directions in order at once", function()
    local function echo(conn)
      conn:serve("agent", function(channel)
        while true do
          local event = channel:receive()
          if not event then
            return
          end
          assert(channel:send("agent_event", { n = event.n }))
        end
      end)
    end
    server.run({}, echo, function(client)
      local count = server.scaled(2000)
      local channel = assert(client:open("agent"))
      assert(channel:send("agent_start", { n = 0 }))
      local writer = aw.spawn(function()
        for i = 1, count do
          assert(channel:send("agent_message", { n = i }))
        end
      end)
      for i = 0, count do
        local event = assert(channel:receive(30000))
        assert.equal(i, event.n)
        assert.equal(i + 1, event.sequence)
      end
      writer:join()
    end)
  end)

  it("keeps two protocols and three sessions apart on one connection", function()
    local function serve(conn)
      serve_numbers(conn)
      conn:serve("agent", function(channel)
        local start = assert(channel:receive())
        for i = 1, start.count do
          assert(channel:send("agent_event", { who = start.who, n = i }))
        end
        assert(channel:send("agent_stopped", { who = start.who }))
      end)
    end
    server.run({}, serve, function(client)
      local count = server.scaled(1000)
      local tasks = {}
      for who = 1, 3 do
        tasks[who] = aw.spawn(function()
          local channel = assert(client:open("agent"))
          assert(channel:send("agent_start", { who = who, count = count }))
          for i = 1, count do
            local event = assert(channel:receive(30000))
            assert(event.who == who and event.n == i and event.sequence == i)
          end
          return assert(channel:receive(30000)).type
        end)
      end
      local stream = aw.spawn(read_numbers, client, count)
      for who = 1, 3 do
        assert.equal("agent_stopped", (assert(tasks[who]:join())))
      end
      assert.is_nil((stream:join()))
    end)
  end)

  it("ends only the scope whose handler raises", function()
    local function serve(conn)
      conn:serve("provider", function(channel)
        local request = assert(channel:receive())
        if request.bad then
          error("on purpose")
        end
        channel:send("result", { type = "result" })
      end)
    end
    server.run({}, serve, function(client, far)
      far._host.on_error = function() end
      local bad, good = client:open("provider"), client:open("provider")
      bad:send("stream_request", { bad = true })
      good:send("stream_request", {})
      local event = assert(bad:receive(5000))
      assert.equal("stream_error", event.type)
      assert.equal("internal_error", event.code)
      assert.equal("result", assert(good:receive(5000)).type)
      assert.is_true(client:is_open())
    end)
  end)

  it("lets a state listener raise without harm", function()
    server.run({}, serve_numbers, function(client)
      client._host.on_error = function() end
      client:on_state(function()
        error("on purpose")
      end)
      client:cut("for the listener's sake")
      assert.is_nil(read_numbers(client, 5))
    end)
  end)
end)
