-- What a script drops without closing it is given up: at once where the
-- language says when a loop is left, when it is collected elsewhere.
local aw = require("agentwire")
local counters = require("spec.support.counters")
local link = require("spec.support.link")

local jit = rawget(_G, "jit")

local HAS_CLOSING = _VERSION == "Lua 5.4"

local ENDLESS = { name = "m", api = "m", stream = function(_, _, emit)
  emit { type = "text_start", content_index = 0 }
  while true do
    emit { type = "text_delta", content_index = 0, delta = "x" }
    aw.sleep(1)
  end
end }

local function with(body)
  link.run(function()
    local tools = aw.tool.registry()
    local running = 0
    tools:add { name = "t", handler = function()
      running = running + 1
      aw.task.defer(function()
        running = running - 1
      end)
      aw.sleep(60000)
    end }
    local provider, own = aw.provider.loopback(ENDLESS)
    local server = assert(aw.serve { listen = "ws://127.0.0.1:0",
      provider = ENDLESS, tools = tools,
      agent = aw.agent.service { provider = provider, model = "m/m" } })
    local conn = assert(aw.connect(server.url))
    assert(conn:tool():list())
    local parts = { conns = { conn, own }, servers = { server } }
    body(conn, parts, function()
      return running
    end)
    conn:close()
    own:close()
    server:close()
  end)
end

local function start(conn)
  return assert(conn:provider():start_stream {
    model = "m/m", messages = { { role = "user", content = "x" } },
  })
end

describe("what nobody holds", function()
  for name, drop in pairs {
    ["a stream that was read"] = function(conn)
      assert(start(conn):next(5000))
    end,
    ["a stream whose loop was left"] = function(conn)
      for _ in start(conn):events() do -- luacheck: ignore 512
        break
      end
    end,
    ["a stream with merged events whose loop was left"] = function(conn)
      for _ in start(conn):events { coalesce = true } do -- luacheck: ignore 512
        break
      end
    end,
    ["a session"] = function(conn)
      assert(conn:agent():start {})
    end,
    ["a session whose loop was left"] = function(conn)
      for _ in assert(conn:agent():start {}):prompt("x") do -- luacheck: ignore 512
        break
      end
    end,
    ["a session whose events nobody reads"] = function(conn)
      assert(conn:agent():start {}):prompt("x")
    end,
    ["a channel"] = function(conn)
      local channel = assert(conn:open("provider"))
      assert(channel:send("stream_request", { model = "x" }))
    end,
    ["a channel that sent nothing"] = function(conn)
      assert(conn:open("agent"))
    end,
    ["an execution"] = function(conn)
      assert(conn:tool():start { name = "t" })
    end,
    ["a client"] = function(conn)
      aw.provider.client(conn)
      aw.agent.client(conn)
      aw.tool.client(conn)
    end,
  } do
    it("is given up: " .. name, function()
      with(function(conn, parts, running)
        drop(conn)
        drop(conn)
        assert(counters.settled({}, parts, 20))
        local before = counters.take(parts)
        for _ = 1, 40 do
          drop(conn)
        end
        assert.equal("", counters.settled(before, parts))
        link.eventually(function()
          collectgarbage()
          return running() == 0
        end)
        assert.equal(0, conn:tool()._calls._open_count)
        for _, objects in pairs(conn._objects) do
          local known = 0
          for _ in pairs(objects) do
            known = known + 1
          end
          assert.is_true(known <= 1)
        end
      end)
    end)
  end

  -- What LuaJIT compiles differs each time, and with it what stays on a stack.
  it("is given up: a session whose listener has heard all", function()
    link.run(function()
      local heard_all = 0
      local provider, own = aw.provider.loopback { name = "m", api = "m",
        stream = function(_, _, emit)
          for index = 0, 3 do
            emit { type = "text_start", content_index = index }
            emit { type = "text_delta", content_index = index, delta = "x" }
            aw.sleep(1)
            emit { type = "text_end", content_index = index }
          end
        end }
      local near, far = aw.pair()
      aw.agent.attach(far, aw.agent.service { provider = provider,
        model = "m/m" })
      local function start_one()
        local session = assert(near:agent():start { on_event = function(event)
          heard_all = heard_all + (event.type == "agent_end" and 1 or 0)
        end })
        assert(session:steer("x"))
      end
      local parts = { conns = { near, far, own } }
      local before = counters.take(parts)
      for round = 1, 150 do
        aw.spawn(start_one):join()
        link.eventually(function()
          return heard_all == round
        end)
        if jit and round % 15 == 0 then
          jit.flush()
        end
      end
      assert.equal("", counters.settled(before, parts, 2000))
      near:close()
      own:close()
    end)
  end)

  it("ends at once when a loop is left, where the language tells", function()
    if not HAS_CLOSING then
      return
    end
    with(function(conn)
      local stream = start(conn)
      for _ in stream:events() do -- luacheck: ignore 512
        break
      end
      assert.is_true(stream:is_ended())
      assert.equal("closed", select(3, stream:result()))
    end)
  end)

  it("is not what a listener still hears", function()
    with(function(conn)
      local heard = 0
      assert(conn:agent():start { on_event = function()
        heard = heard + 1
      end }):prompt("x")
      for _ = 1, 5 do
        collectgarbage()
        aw.sleep(5)
      end
      local before = heard
      assert.truthy(before > 0)
      link.eventually(function()
        return heard > before
      end)
    end)
  end)

  it("is not what a task waits for", function()
    with(function(conn)
      local reader = aw.spawn(function()
        return start(conn):result()
      end)
      local prompted = aw.spawn(function()
        local count = 0
        for _ in assert(conn:agent():start {}):prompt("x") do
          count = count + 1
          if count == 30 then
            return count
          end
        end
      end)
      local id
      local waiting = aw.spawn(function()
        local session = assert(conn:agent():start {})
        id = session.id
        session:prompt("x")
        return session:result()
      end)
      for _ = 1, 20 do
        collectgarbage()
        aw.sleep(2)
      end
      assert.is_false(reader:is_done())
      assert.truthy(conn:agent():session_for(id))
      assert.equal(30, (prompted:join(5000)))
      reader:cancel()
      waiting:cancel()
    end)
  end)

  it("leaves a session's next answer alone when a loop was left", function()
    link.run(function()
      local provider, own = aw.provider.loopback({ name = "m", api = "m",
        stream = function(_, _, emit)
          emit { type = "text_start", content_index = 0 }
          for _ = 1, 2000 do
            emit { type = "text_delta", content_index = 0, delta = "x" }
          end
          emit { type = "text_end", content_index = 0 }
        end })
      local near, far = aw.pair()
      local service = aw.agent.service { provider = provider, model = "m/m" }
      aw.agent.attach(far, service)
      local session = assert(near:agent():start {})
      for _ = 1, 3 do
        for _ in session:prompt("x") do -- luacheck: ignore 512
          break
        end
        collectgarbage()
        assert.truthy(session:result(5000))
      end
      session:close()
      near:close()
      own:close()
    end)
  end)
end)
