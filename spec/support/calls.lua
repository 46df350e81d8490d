-- Every call that waits, each with a server of everything and a client of it.
local aw = require("agentwire")

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

local function new_registry()
  local tools = aw.tool.registry()
  tools:add { name = "t", handler = function(_, call)
    call:update("half")
    call:progress(50)
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
    listen = "ws://127.0.0.1:0", provider = adapter(), tools = new_registry(),
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
    server = server, conn = conn, own = own, tools = new_registry(),
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

local function start_stream(w)
  return assert(w.conn:provider():start_stream(REQUEST))
end

local function start_session(w, given)
  return assert(w.conn:agent():start(given or {}))
end

--- Two ends of which the far one serves tool scopes so, both closed with the
--- task that calls.
local function raw_scope(options, serve)
  local near, far = aw.pair(options)
  aw.task.defer(function()
    near:close()
    far:close()
  end)
  far:serve("tool", serve)
  return assert(near:open("tool"))
end

-- Objects are called what docs/api.md calls them: the spec finds there what
-- waits, and here whether it is cancelled.
---@type table<string, fun(world: table)>
M.calls = {
  -- A server of WebSockets answers 426, which is an answer.
  ["aw.http.request"] = function(w)
    assert(aw.http.request { url = (w.server.url:gsub("^ws", "http")) })
  end,
  ["aw.http.stream"] = function(w)
    local stream = assert(aw.http.stream {
      url = (w.server.url:gsub("^ws", "http")),
    })
    assert(stream:read())
    stream:close()
  end,
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
    local lines, far = aw.lines.pair { outbox_bytes_max = 1,
      inbox_lines_max = 1 }
    local text = ("x"):rep(100000)
    while lines:send(text, 1) do
    end
    lines:close()
    far:close()
    far:wait_closed()
  end,
  ["ping"] = function(w)
    local conn = w.conn
    conn:ping()
  end,
  ["the end of a connection"] = function(w)
    local conn = assert(aw.connect(w.server.url))
    aw.task.defer(function()
      conn:close()
    end)
    aw.spawn(function()
      aw.sleep(1)
      conn:close()
    end)
    conn:wait_closed(5000)
  end,
  ["the rest of a connection"] = function(w)
    local conn = assert(aw.connect(w.server.url))
    aw.task.defer(function()
      conn:close()
    end)
    assert(conn:provider():start_stream(REQUEST))
    conn:wait_idle(5000)
  end,
  ["a message of a scope"] = function()
    local channel = raw_scope({}, function(channel)
      aw.sleep(1)
      channel:send("tool_list_request", {})
    end)
    channel:send("tool_list_request", {})
    channel:receive(1000)
  end,
  ["a message that waits for credit"] = function()
    local channel = raw_scope({ window_messages = 1 }, function(channel)
      while channel:receive() do
        aw.sleep(1)
      end
    end)
    for _ = 1, 4 do
      channel:send("tool_list_request", {})
    end
  end,
  ["start_stream"] = function(w)
    local client = w.conn:provider()
    client:start_stream(REQUEST)
  end,
  ["a loop over a stream"] = function(w)
    local stream = start_stream(w)
    for _ in stream:events() do
      aw.task.yield()
    end
  end,
  ["a stream's events, one by one"] = function(w)
    local stream = start_stream(w)
    while stream:next(5000) do
      aw.task.yield()
    end
  end,
  ["a stream's result"] = function(w)
    local stream = start_stream(w)
    stream:result(5000)
  end,
  ["a stream's result by id"] = function(w)
    local client = w.conn:provider()
    local stream = assert(client:start_stream(REQUEST))
    client:wait_result_for(stream.id, 5000)
  end,
  ["abort"] = function(w)
    local stream = start_stream(w)
    stream:abort("enough")
    stream:result()
  end,
  ["sync"] = function(w)
    local client = w.conn:provider()
    client:sync(assert(client:start_stream(REQUEST)))
  end,
  ["complete"] = function(w)
    local client = w.conn:provider()
    client:complete(REQUEST)
  end,
  ["models"] = function(w)
    local client = w.conn:provider()
    client:models { timeout_ms = 5000 }
    client:resolve { timeout_ms = 5000 }
  end,
  ["a stream that is handed on"] = function(w)
    local client = w.conn:provider()
    client:stream({ model = "m/m", context = { messages = REQUEST.messages } },
      aw.task.yield)
  end,
  ["an adapter that asks over HTTP"] = function(w)
    local provider = aw.providers.ollama.new {
      base_url = (w.server.url:gsub("^ws", "http")), retry = { attempts = 1 },
    }
    provider:stream({ model = { id = "m", provider = "ollama", api = "ollama" },
      options = {}, context = { messages = REQUEST.messages } },
      aw.task.yield, {})
  end,
  ["a router"] = function()
    local router = aw.provider.router { adapter(), adapter() }
    local model = { id = "m", provider = "m", api = "m" }
    router:models {}
    router:route(model)
    router:find(model)
    router:stream({ model = model,
      context = { messages = REQUEST.messages } }, aw.task.yield, {})
  end,
  ["a stream of a provider in this process"] = function(w)
    local stream = assert(w.provider:start_stream(REQUEST))
    stream:result()
  end,
  ["start of a session"] = function(w)
    local agent = w.conn:agent()
    agent:start { tools = w.tools }
  end,
  ["a prompt"] = function(w)
    local session = start_session(w)
    for _ in session:prompt("x") do
      aw.task.yield()
    end
    session:result()
  end,
  ["a prompt that a listener hears"] = function(w)
    local session = start_session(w, { on_event = function() end })
    session:steer("x")
    session:result()
  end,
  ["messages for an agent that runs"] = function(w)
    local session = start_session(w)
    session:prompt("x")
    session:follow_up("y")
    session:result(5000)
  end,
  ["the end of a run"] = function(w)
    local session = start_session(w)
    session:prompt("x")
    session:cancel("enough")
    session:result(5000)
  end,
  ["status and tools"] = function(w)
    local session = start_session(w)
    session:status()
    session:tools()
  end,
  ["stop"] = function(w)
    local session = start_session(w)
    session:prompt("x")
    session:stop()
  end,
  ["the end of a service"] = function(w)
    local near, far = aw.pair()
    aw.task.defer(function()
      near:close()
      far:close()
    end)
    local service = aw.agent.service { provider = w.provider, model = "m/m" }
    aw.agent.attach(far, service)
    near:agent():start {}
    service:stop("enough")
  end,
  ["a tool's start"] = function(w)
    local tools = w.conn:tool()
    tools:start { name = "t" }
  end,
  ["a tool's updates"] = function(w)
    local execution = assert(w.conn:tool():start { name = "t" })
    for _ in execution:updates() do
      aw.task.yield()
    end
    execution:result()
  end,
  ["a tool's updates, one by one"] = function(w)
    local execution = assert(w.conn:tool():start { name = "t" })
    while execution:next_update() do
      aw.task.yield()
    end
  end,
  ["a tool that is stopped"] = function(w)
    local execution = assert(w.conn:tool():start { name = "t" })
    execution:cancel("enough")
    execution:result(5000)
  end,
  ["a tool's execution"] = function(w)
    local tools = w.conn:tool()
    tools:execute { name = "t", on_update = function() end, timeout_ms = 5000 }
  end,
  ["a tool in this process"] = function(w)
    local registry = w.tools
    registry:execute { name = "t", args = {}, on_update = aw.task.yield }
  end,
  ["list and status of tools"] = function(w)
    local tools = w.conn:tool()
    tools:list()
    tools:status("x")
  end,
  ["register"] = function(w)
    local registration = assert(aw.tool.register(w.conn, w.tools))
    aw.task.defer(function()
      registration:close()
    end)
    registration:unregister("t")
  end,
  ["the end of a registration"] = function(w)
    local registration = assert(aw.tool.register(w.conn, w.tools))
    aw.task.defer(function()
      registration:close()
    end)
    registration:wait_ended(5)
  end,
  ["a pool"] = function(w)
    local pool, scope = aw.tool.pool { authorize = function()
      aw.sleep(1)
      return true
    end }, { connection = function()
      return w.conn
    end }
    aw.task.defer(function()
      pool:remove_all(scope)
    end)
    pool:add({ name = "p", description = "", parameters_schema_json = "{}" },
      scope)
  end,
  ["a tool of a pool"] = function(w)
    local pool = w.pool
    local registration = assert(aw.tool.register(w.conn, w.tools))
    aw.task.defer(function()
      registration:close()
    end)
    pool:execute { name = "t", timeout_ms = 5000 }
  end,
  ["an agent loop"] = function(w)
    local loop = aw.agent.loop { provider = w.provider, model = "m/m",
      tools = w.tools }
    loop:list_tools()
    loop:prompt("x")
  end,
  ["drain"] = function()
    local server = assert(aw.serve { listen = "ws://127.0.0.1:0",
      provider = adapter() })
    aw.task.defer(function()
      server:close()
    end)
    local conn = assert(aw.connect(server.url, { reconnect = false }))
    aw.task.defer(function()
      conn:close()
    end)
    server:drain { timeout_ms = 50 }
  end,
  ["the end of a server"] = function()
    local server = assert(aw.serve { listen = "ws://127.0.0.1:0",
      provider = adapter() })
    aw.task.defer(function()
      server:close()
    end)
    aw.spawn(function()
      aw.sleep(1)
      server:close()
    end)
    server:wait_closed(5000)
  end,
  ["tasks"] = function()
    local task = aw.spawn(aw.sleep, 1)
    task:join()
    aw.task.all({ aw.spawn(aw.sleep, 1), aw.spawn(aw.task.yield) })
    aw.task.first { aw.spawn(aw.sleep, 1), aw.spawn(aw.sleep, 2) }
    aw.task.shield(aw.task.sleep, 1)
    aw.task.timeout(1, aw.sleep, 5)
    aw.timeout(1, aw.sleep, 5)
    aw.task.yield()
  end,
  ["what tasks wait in"] = function()
    local waiter, signal = aw.task.waiter(), aw.task.signal()
    waiter:wait(1)
    signal:wait(1)
    local latch, queue = aw.task.latch(), aw.task.queue(1)
    latch:wait(1)
    queue:push("x")
    queue:push("y", 1)
    queue:pop()
    queue:pop(1)
  end,
  ["a callback"] = function()
    aw.await(function()
      return function() end
    end, 1)
  end,
  ["a signal"] = function()
    aw.signal("USR1", 1)
  end,
}

return M
