local aw = require("agentwire")
local link = require("spec.support.link")

local function serve_on_demand(gate)
  return function(conn)
    conn:serve("provider", function(channel)
      assert(channel:receive())
      channel:send("text_delta", { content_index = 0, delta = "a" })
      gate:wait()
      channel:send("text_delta", { content_index = 0, delta = "b" })
      channel:send("result", { type = "result" })
    end)
  end
end

local function start(client)
  local channel = assert(client:open("provider"))
  assert(channel:send("stream_request", {}))
  assert.equal("a", assert(channel:receive(5000)).delta)
  return channel
end

describe("a draining server", function()
  it("lets open scopes end, then closes", function()
    link.run(function()
      local gate = aw.task.waiter("the gate")
      local server = assert(aw.listen("ws://127.0.0.1:0", serve_on_demand(gate)))
      local client = assert(aw.connect(server.url, { reconnect = false }))
      local channel = start(client)
      local drain = aw.spawn(function()
        return server:drain { timeout_ms = 5000 }
      end)
      client:ping(1000) -- a goodbye has come by then
      assert.is_false(drain:is_done())
      gate:wake()
      assert.equal("b", assert(channel:receive(5000)).delta)
      assert.equal("result", assert(channel:receive(5000)).type)
      assert.is_true((drain:join(5000)))
      assert.is_true(client:wait_closed(5000))
    end)
  end)

  it("cuts short what has not ended within the deadline", function()
    link.run(function()
      local gate = aw.task.waiter("a gate that never opens")
      local server = assert(aw.listen("ws://127.0.0.1:0", serve_on_demand(gate)))
      local client = assert(aw.connect(server.url, { reconnect = false }))
      local channel = start(client)
      assert.is_false(server:drain { timeout_ms = 50 })
      local event, _, code = channel:receive(5000)
      assert.is_nil(event)
      assert.equal("closed", code)
    end)
  end)

  it("accepts nobody any more", function()
    link.run(function()
      local server = assert(aw.listen("ws://127.0.0.1:0", function() end))
      assert.is_true(server:drain { timeout_ms = 1000 })
      local conn, _, code = aw.connect(server.url)
      assert.is_nil(conn)
      assert.truthy(code)
    end)
  end)

  it("hands its clients over to another one", function()
    link.run(function()
      local gate = aw.task.waiter("the gate")
      gate:wake()
      local first = assert(aw.listen("ws://127.0.0.1:0", serve_on_demand(gate)))
      local second = assert(aw.listen("ws://127.0.0.1:0", serve_on_demand(gate)))
      local client = assert(aw.connect(first.url, {
        follow = true, reconnect = { min_ms = 1, max_ms = 5 },
      }))
      assert.is_true(first:drain { url = second.url, after_ms = 1 })
      link.eventually(function()
        return second:count() == 1
      end)
      start(client):close()
      client:close()
      second:close()
    end)
  end)

  it("does not wait for sessions and tool servers that rest", function()
    link.run(function()
      local model = aw.providers.scripted.new {}
      local server = assert(aw.serve { listen = "ws://127.0.0.1:0",
        agent = { provider = model, model = "scripted/scripted" },
        pool = aw.tool.pool() })
      local client = assert(aw.connect(server.url, { reconnect = false }))
      local session = assert(client:agent():start {})
      assert(session:prompt("hi"))
      assert(session:result(5000))
      local tools = aw.tool.registry()
      tools:add { name = "here", handler = function() return "x" end }
      assert(aw.tool.register(client, tools))
      local before = link.host:now()
      assert.is_true(server:drain { timeout_ms = 20000 })
      assert.is_true(link.host:now() - before < 10000)
      assert.is_true(client:wait_closed(5000))
    end)
  end)

  it("waits for a run and for a call that are under way", function()
    link.run(function()
      local gate, begun = aw.task.waiter("the gate"), aw.task.waiter("begun")
      local model = aw.providers.scripted.new { decide = function(request)
        local last = request.context.messages[#request.context.messages]
        if last.role == "user" then
          return { calls = { { name = "slow", arguments_json = "{}" } } }
        end
        return { text = "done" }
      end }
      local tools = aw.tool.registry()
      tools:add { name = "slow", handler = function()
        begun:wake()
        gate:wait()
        return "x"
      end }
      local server = assert(aw.serve { listen = "ws://127.0.0.1:0",
        agent = { provider = model, model = "scripted/scripted",
          tools = tools } })
      local client = assert(aw.connect(server.url, { reconnect = false }))
      local session = assert(client:agent():start {})
      assert(session:prompt("go"))
      begun:wait(5000)
      local drain = aw.spawn(function()
        return server:drain { timeout_ms = 20000 }
      end)
      client:ping(1000) -- a goodbye has come by then
      assert.is_false(drain:is_done())
      gate:wake()
      assert.equal("done", assert(session:result(5000)).text)
      assert.is_true((drain:join(5000)))
    end)
  end)
end)
