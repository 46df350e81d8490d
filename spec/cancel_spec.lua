-- Every call that waits, cancelled at each of its waits: what it had begun by
-- then is undone. And what a script drops without closing it is given up.
local aw = require("agentwire")
local counters = require("spec.support.counters")
local link = require("spec.support.link")
local task = require("agentwire.task")

-- Turns after which a call is cancelled: each of the first ones, then further
-- and further apart, until the call has ended by then.
local DENSE, TURNS_MAX = 12, 4000

local function turns(fn)
  local n = 0
  repeat
    local ended = fn(n)
    n = n < DENSE and n + 1 or math.ceil(n * 1.5)
  until ended or n > TURNS_MAX
end

local function adapter()
  return {
    name = "m", api = "m",
    models = function()
      aw.sleep(2)
      return {}
    end,
    stream = function(_, _, emit)
      for index = 0, 3 do
        emit { type = "text_start", content_index = index }
        emit { type = "text_delta", content_index = index, delta = "x" }
        aw.sleep(1)
        emit { type = "text_end", content_index = index }
      end
    end,
  }
end

local function registry()
  local tools = aw.tool.registry()
  tools:add { name = "t", handler = function(_, call)
    call:update("half")
    aw.sleep(3)
    return "r"
  end }
  return tools
end

-- A server of everything, and a client of it.
local function with_world(body)
  link.run(function()
    local pool = aw.tool.pool()
    local provider, own = aw.provider.loopback(adapter())
    local service = aw.agent.service { provider = provider, model = "m/m" }
    local seen
    local server = assert(aw.serve {
      listen = "ws://127.0.0.1:0", provider = adapter(), tools = registry(),
      pool = pool, agent = service, authenticate = function()
        aw.sleep(1)
        return true
      end,
    })
    local conn = assert(aw.connect(server.url))
    assert(conn:tool():list()) -- the scope that all calls share
    for theirs in server:connections() do
      seen = theirs
    end
    local world = { server = server, conn = conn, tools = registry(),
      provider = provider, pool = pool,
      parts = { conns = { conn, seen, own }, servers = { server },
        pool = pool, services = { service } } }
    body(world)
    conn:close()
    own:close()
    server:close()
  end)
end

local REQUEST = { model = "m/m", messages = { { role = "user", content = "x" } } }

local CALLS = {
  ["aw.connect"] = function(w)
    assert(aw.connect(w.server.url)):close()
  end,
  ["aw.connect with a token that waits"] = function(w)
    assert(aw.connect(w.server.url, { timeout_ms = 5000, token = function()
      aw.sleep(1)
      return "x"
    end })):close()
  end,
  ["aw.connect to a child"] = function()
    local conn = aw.connect { argv = { "cat" }, base = true,
      kill_after_ms = 10 }
    if conn then
      conn:close()
      conn:wait_closed(1000)
    end
  end,
  ["ping"] = function(w)
    w.conn:ping()
  end,
  ["start_stream"] = function(w)
    w.conn:provider():start_stream(REQUEST)
  end,
  ["a loop over a stream"] = function(w)
    local stream = assert(w.conn:provider():start_stream(REQUEST))
    for _ in stream:events() do
      aw.task.yield()
    end
  end,
  ["a stream's result"] = function(w)
    assert(w.conn:provider():start_stream(REQUEST)):result(5000)
  end,
  ["abort"] = function(w)
    local stream = assert(w.conn:provider():start_stream(REQUEST))
    stream:abort("enough")
    stream:result()
  end,
  ["sync"] = function(w)
    local stream = assert(w.conn:provider():start_stream(REQUEST))
    w.conn:provider():sync(stream)
  end,
  ["complete"] = function(w)
    w.conn:provider():complete(REQUEST)
  end,
  ["models"] = function(w)
    w.conn:provider():models { timeout_ms = 5000 }
  end,
  ["a stream of a provider in this process"] = function(w)
    assert(w.provider:start_stream(REQUEST)):result()
  end,
  ["start of a session"] = function(w)
    w.conn:agent():start { tools = w.tools }
  end,
  ["a prompt"] = function(w)
    local session = assert(w.conn:agent():start {})
    for _ in session:prompt("x") do
      aw.task.yield()
    end
    session:result()
  end,
  ["a prompt that a listener hears"] = function(w)
    local session = assert(w.conn:agent():start { on_event = function() end })
    session:steer("x")
    session:result()
  end,
  ["status and tools"] = function(w)
    local session = assert(w.conn:agent():start {})
    session:status()
    session:tools()
  end,
  ["stop"] = function(w)
    local session = assert(w.conn:agent():start {})
    session:prompt("x")
    session:stop()
  end,
  ["a tool's start"] = function(w)
    w.conn:tool():start { name = "t" }
  end,
  ["a tool's updates"] = function(w)
    local execution = assert(w.conn:tool():start { name = "t" })
    for _ in execution:updates() do
      aw.task.yield()
    end
    execution:result()
  end,
  ["a tool's execution"] = function(w)
    w.conn:tool():execute { name = "t", on_update = function() end,
      timeout_ms = 5000 }
  end,
  ["list and status of tools"] = function(w)
    w.conn:tool():list()
    w.conn:tool():status("x")
  end,
  ["register"] = function(w)
    local registration = assert(aw.tool.register(w.conn, w.tools))
    task.defer(function()
      registration:close()
    end)
    registration:unregister("t")
  end,
  ["an agent loop"] = function(w)
    local loop = aw.agent.loop { provider = w.provider, model = "m/m",
      tools = w.tools }
    loop:prompt("x")
  end,
  ["drain"] = function()
    local server = assert(aw.serve { listen = "ws://127.0.0.1:0",
      provider = adapter() })
    task.defer(function()
      server:close()
    end)
    local conn = assert(aw.connect(server.url, { reconnect = false }))
    task.defer(function()
      conn:close()
    end)
    server:drain { timeout_ms = 50 }
  end,
}

describe("a call that is cancelled", function()
  for name, call in pairs(CALLS) do
    it("leaves nothing: " .. name, function()
      with_world(function(world)
        -- What is made once and kept, is made before it is counted.
        aw.task.timeout(5000, call, world)
        aw.sleep(5)
        counters.settled({}, world.parts, 20)
        local before = counters.take(world.parts)
        turns(function(n)
          local runner = aw.spawn(call, world)
          for _ = 1, n do
            if runner:is_done() then
              break
            end
            task.yield()
          end
          local ended = runner:is_done()
          runner:cancel("no longer wanted")
          runner:join()
          runner = nil -- luacheck: ignore
          if n % 3 == 0 or ended then
            assert.equal("", counters.settled(before, world.parts),
              "cancelled after " .. n .. " turns")
          end
          return ended
        end)
      end)
    end)
  end
end)
