-- Every call that waits, each with a server of everything and a client of it.
local aw = require("agentwire")
local task = require("agentwire.task")

local M = {}

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

--- A server of everything, and a client of it. Call it in a task.
---@param options table? of the client
---@param window_ms integer? how long the server keeps what is cut off
function M.world(options, window_ms)
  local pool = aw.tool.pool()
  local provider, own = aw.provider.loopback(adapter())
  local service = aw.agent.service { provider = provider, model = "m/m" }
  local server = assert(aw.serve {
    listen = "ws://127.0.0.1:0", provider = adapter(), tools = registry(),
    pool = pool, agent = service, window_ms = window_ms, authenticate = function()
      aw.sleep(1)
      return true
    end,
  })
  local conn = assert(aw.connect(server.url, options))
  assert(conn:tool():list()) -- the scope that all calls share
  local seen
  for theirs in server:connections() do
    seen = theirs
  end
  return {
    server = server, conn = conn, own = own, tools = registry(),
    provider = provider, pool = pool,
    parts = { conns = { conn, seen, own }, servers = { server }, pool = pool,
      services = { service } },
    close = function()
      conn:close()
      own:close()
      server:close()
    end,
  }
end

local REQUEST = { model = "m/m", messages = { { role = "user", content = "x" } } }

---@type table<string, fun(world: table)>
M.calls = {
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
  ["lines of a child"] = function()
    local lines = assert(aw.lines.spawn { argv = { "cat" },
      kill_after_ms = 10 })
    lines:send("x")
    lines:receive()
    lines:close()
    lines:wait_closed()
  end,
  ["a line that waits for room"] = function()
    local near, far = aw.lines.pair { outbox_bytes_max = 1,
      inbox_lines_max = 1 }
    local text = ("x"):rep(100000)
    while near:send(text, 1) do
    end
    near:close()
    far:close()
    far:wait_closed()
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

return M
