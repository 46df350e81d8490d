-- What the documentation says that a limit is by default is what it is: a limit
-- that protects is no use to whoever does not know that it has moved.
local aw = require("agentwire")
local host = require("agentwire.host")
local link = require("spec.support.link")
local liveness = require("agentwire._liveness")
local reconnect = require("agentwire._reconnect")
local reconstruct = require("agentwire.provider.reconstruct")
local schema = require("agentwire.tool.schema")
local signal = require("agentwire.signal")
local task = require("agentwire.task")

local UNITS = { KiB = 1024, MiB = 1024 * 1024 }

--- The first number behind an option's name and type in docs/api.md.
local function documented(class, option)
  local file = assert(io.open("docs/api.md"))
  local text = file:read("*a")
  file:close()
  local _, first = text:find("\n## agentwire." .. class .. "\n", 1, true)
  assert(first, "docs/api.md has no " .. class)
  local section = text:sub(first, (text:find("\n## ", first, true)))
  local said = section:match("\n%- `" .. option .. "` %w+%?(.-)\n%- ")
    or section:match("\n%- `" .. option .. "` %w+%?(.*)")
  assert(said, class .. " has no " .. option)
  local digits, unit = said:match("(%d[%d ]*)([KM]?i?B?)")
  assert(digits, option .. " of " .. class .. ": no default is told")
  return tonumber((digits:gsub(" ", ""))) * (UNITS[unit] or 1)
end

--- A world of everything, with no option given.
local function with_world(body)
  link.run(function()
    local near, far = aw.pair()
    local adapter = { name = "m", api = "m", stream = function() end }
    local pool = aw.tool.pool()
    local provider = aw.provider.loopback(adapter)
    local service = aw.agent.service { provider = provider, model = "m/m" }
    local world = {
      conn = near,
      provider = aw.provider.attach(far, adapter),
      runs = aw.tool.attach(far, aw.tool.registry(), { pool = pool }),
      pool = pool,
      service = service,
      loop = aw.agent.loop { provider = provider, model = "m/m" },
      tool = near:tool(),
      agent = near:agent(),
      models = near:provider(),
      router = aw.provider.router { adapter },
    }
    aw.agent.attach(far, service)
    world.session = assert(near:agent():start {})
    world.served = assert(next(service._sessions))
    world.registered = assert(aw.tool.register(near, aw.tool.registry()))
    world.server = assert(aw.serve { listen = "ws://127.0.0.1:0",
      provider = adapter })
    world.host = host.current()
    world.reconnect = reconnect.policy(true)
    world.reconstructor = reconstruct.new()
    world.schema = schema.new {}
    assert(near:tool():list())
    body(world)
    world.session:stop()
    world.server:close()
    near:close()
    far:wait_closed(1000)
  end)
end

-- Class and option, as documented, and where a world has it.
local CASES = {
  { "AccessOptions", "authenticating_max", "server", "_admission", "_max" },
  { "AgentClientOptions", "timeout_ms", "agent", "_timeout_ms" },
  { "AgentClientOptions", "max_ended", "agent", "_sessions", "_max_ended" },
  { "AgentClientOptions", "max_queued_events", "session", "_max_queued" },
  { "AgentLoopOptions", "max_turns", "loop", "_max_turns" },
  { "AgentLoopOptions", "max_pending_messages", "loop", "_max_pending" },
  { "AgentLoopOptions", "max_parallel_tools", "loop", "_max_parallel" },
  { "AgentLoopOptions", "tools_timeout_ms", "loop", "_sources", "_timeout_ms" },
  { "AgentServiceOptions", "max_parallel_tools", "served", "loop",
    "_max_parallel" },
  { "AgentServiceOptions", "max_pending_messages", "served", "loop",
    "_max_pending" },
  { "AgentServiceOptions", "max_sessions", "service", "_max_sessions" },
  { "AgentServiceOptions", "max_turns", "served", "loop", "_max_turns" },
  { "AgentServiceOptions", "store_timeout_ms", "service", "_conversations",
    "_timeout_ms" },
  { "AgentServiceOptions", "tool_timeout_ms", "served", "client_tools",
    "_timeout_ms" },
  { "AgentServiceOptions", "tools_timeout_ms", "served", "loop", "_sources",
    "_timeout_ms" },
  { "AgentStart", "max_executions", "session", "_tools", "_max" },
  { "ExecutorOptions", "max_executions", "runs", "_max_executions" },
  { "ExecutorOptions", "max_finished", "runs", "_max_finished" },
  { "ExecutorOptions", "max_finished_bytes", "runs", "_max_finished_bytes" },
  { "HostOptions", "budget_ms", "host", "_budget_ms" },
  { "ProviderClientOptions", "max_message_bytes", "reconstructor",
    "_max_bytes" },
  { "ProviderClientOptions", "max_ended", "models", "_streams", "_max_ended" },
  { "ProviderServerOptions", "cache_max_age_ms", "provider",
    "_cache_max_age_ms" },
  { "ProviderServerOptions", "keepalive_ms", "provider", "_keepalive_ms" },
  { "ProviderServerOptions", "max_message_bytes", "reconstructor",
    "_max_bytes" },
  { "ProviderServerOptions", "max_streams", "provider", "_max_streams" },
  { "ReconnectPolicy", "max_ms", "reconnect", "max_ms" },
  { "ReconnectPolicy", "min_ms", "reconnect", "min_ms" },
  { "RegisterOptions", "max_executions", "registered", "_scope", "_runs",
    "_max_executions" },
  { "RegisterOptions", "timeout_ms", "registered", "_timeout_ms" },
  { "RouterOptions", "models_timeout_ms", "router", "_models_timeout_ms" },
  { "ToolClientOptions", "timeout_ms", "tool", "_timeout_ms" },
  { "ToolClientOptions", "max_open", "tool", "_calls", "_max_open" },
  { "ToolClientOptions", "max_updates", "tool", "_calls", "_max_updates" },
  { "ToolClientOptions", "grace_ms", "tool", "_calls", "_grace_ms" },
  { "ToolRegistryOptions", "max_check_steps", "schema", "max_steps" },
  { "ToolPoolOptions", "max_tools", "pool", "_max_tools" },
}

describe("a documented default is the one that holds:", function()
  for _, case in ipairs(CASES) do
    it(case[2] .. " of " .. case[1], function()
      with_world(function(world)
        local value = world
        for index = 3, #case do
          value = value[case[index]]
          assert(value ~= nil, "the world has no " .. case[index])
        end
        assert.equal(documented(case[1], case[2]), value)
      end)
    end)
  end
end)

--- What `fn` gives `task.timeout` as its time.
local function time_given(fn)
  local timeout, given = task.timeout, nil
  task.timeout = function(ms, ...)
    given = given or ms
    return timeout(ms, ...)
  end
  local ok, problem = pcall(fn)
  task.timeout = timeout
  assert(ok, problem)
  return given
end

local function with_server(body)
  link.run(function()
    local server = assert(aw.serve { listen = "ws://127.0.0.1:0",
      provider = { name = "m", api = "m", stream = function() end } })
    body(server)
    server:close()
  end)
end

describe("without an option", function()
  it("a drain has its documented time", function()
    with_server(function(server)
      local ms = time_given(function()
        server:drain()
      end)
      assert.equal(documented("DrainOptions", "timeout_ms"), ms)
    end)
  end)

  it("a server drains after a TERM for its documented time", function()
    local before_term, farewell = signal.before_term, nil
    signal.before_term = function(_, fn)
      farewell = fn
      return before_term(_, fn)
    end
    local ok, problem = pcall(with_server, function()
      local ms = time_given(farewell)
      assert.equal(documented("ListenOptions", "drain_ms"), ms)
    end)
    signal.before_term = before_term
    assert(ok, problem)
  end)

  it("the pong of a child has its documented time", function()
    local deadline
    liveness.keep({ _host = { spawn_under = function(_, _, _, _, _, ms)
      deadline = ms
    end } }, { ping_interval_ms = 5 })
    assert.equal(documented("LivenessOptions", "ping_deadline_ms"), deadline)
  end)

  it("a turn is slow after its documented time", function()
    link.run(function()
      assert.equal(documented("HostOptions", "slow_turn_ms") * 1000,
        host.current()._scheduler.slow_us)
    end)
  end)

  it("a session takes as many tools of its client as documented", function()
    local most = documented("AgentServiceOptions", "max_client_tools")
    local tools = aw.tool.registry()
    for number = 1, most do
      tools:add { name = "t" .. number, handler = function() end }
    end
    with_world(function(world)
      assert(world.agent:start { tools = tools }):stop()
      tools:add { name = "more", handler = function() end }
      local refused, why, code = world.agent:start { tools = tools }
      assert.is_nil(refused)
      assert.equal("rate_limited", code)
      assert.truthy(why:find("more than 128 tools", 1, true), why)
    end)
  end)

  it("a peer's own state is waited for 5 s", function()
    with_world(function(world)
      local asked
      world.conn._ask = function(_, _, timeout_ms)
        asked = timeout_ms
        return nil, "not asked", "timeout"
      end
      world.models:sync("a0000000-0000-4000-8000-000000000001")
      world.conn._ask = nil
      assert.equal(5000, asked)
    end)
  end)

  it("a goodbye sends nobody away for more than a minute", function()
    with_world(function(world)
      reconnect.heed_goodbye(world.conn, { after_ms = 1e9 })
      assert.equal(60000, world.conn._after_ms)
    end)
  end)

  it("a call that is given up has a second to be cancelled", function()
    link.run(function()
      local near, far = aw.pair()
      far:serve("tool", function()
        aw.sleep(math.huge) -- and says nothing
      end)
      local tools = aw.tool.client(near, { grace_ms = 0 })
      assert.equal(1000, time_given(function()
        tools:execute { name = "slow", timeout_ms = 1 }
      end))
      near:close()
      far:wait_closed(1000)
    end)
  end)

  it("twice as many executions as may run are on their way to their end",
    function()
      link.run(function()
        local near, far = aw.pair()
        local tools, over = aw.tool.registry(), task.latch()
        tools:add { name = "stuck", handler = function()
          task.shield(over.wait, over)
        end }
        aw.tool.attach(far, tools, { max_executions = 3 })
        local client, ended = near:tool(), {}
        for number = 1, 6 do
          local execution = assert(client:start { name = "stuck" })
          link.settle()
          execution:cancel("a test")
          local _, _, code = execution:result()
          ended[number] = code
        end
        assert.same({ "cancelled", "cancelled", "cancelled", "cancelled",
          "cancelled", "cancelled" }, ended)
        assert.equal("rate_limited",
          select(3, client:execute { name = "stuck" }))
        over:set(true)
        near:close()
        far:wait_closed(1000)
      end)
    end)

  it("a message has 4096 blocks", function()
    local rec = reconstruct.new()
    for index = 0, 4095 do
      assert.is_truthy(rec:push { type = "text_start", content_index = index })
    end
    assert.is_falsy(rec:push { type = "text_start", content_index = 4096 })
  end)

  it("a peer has the shares that DESIGN.md tells", function()
    with_server(function(server)
      local file = assert(io.open("DESIGN.md"))
      local text = file:read("*a")
      file:close()
      local shares = server._shares
      local function told(row)
        local digits = text:match("\n| " .. row .. "[^|]* | ([^|]-) | `shares")
        local numbers = {}
        for number, unit in digits:gmatch("(%d[%d ]*)([KM]?i?B?)") do
          table.insert(numbers, tonumber((number:gsub(" ", "")))
            * (UNITS[unit] or 1))
        end
        return numbers
      end
      local mine, whose = shares._per_connection, shares._per_identity
      assert.same({ whose.connections }, told("connections of an identity"))
      assert.same({ mine.sessions, whose.sessions }, told("agent sessions of a c"))
      assert.same({ whose.streams }, told("streams of an identity"))
      assert.same({ whose.executions }, told("executions of an identity"))
      assert.same({ mine.tools, whose.tools }, told("pool tools of a connection"))
      assert.same({ mine.bytes, whose.bytes }, told("bytes held"))
    end)
  end)
end)

describe("a limit of the core", function()
  local limits = require("agentwire.core").limits

  for name, limit in pairs(limits) do
    it("is documented with its default: " .. name, function()
      assert.equal(documented("Limits", name), limit.default)
    end)

    it("is taken up to its most, and no further: " .. name, function()
      link.run(function()
        local near, far = aw.pair { [name] = limit.most }
        near:close()
        far:close()
        assert.error_matches(function()
          aw.pair { [name] = limit.most + 1 }
        end, name .. ": expected an integer from 0 to")
      end)
    end)
  end

  it("is there for each that is documented", function()
    local file = assert(io.open("docs/api.md"))
    local text = file:read("*a")
    file:close()
    local section = text:match("\n## agentwire%.Limits\n(.-)\n## ")
    local count = 0
    for name in section:gmatch("\n%- `([%w_]+)`") do
      assert.truthy(limits[name], name)
      count = count + 1
    end
    assert.truthy(count > 10)
  end)
end)

-- What the core is asked for, which sends nothing.
local function asked_for(send)
  local asked
  link.run(function()
    local methods = getmetatable(link.host:loop()).__index
    local fetch = methods.fetch
    methods.fetch = function(_, given)
      asked = given
      return nil, "a test", "unsupported"
    end
    send { url = "http://127.0.0.1/" }
    methods.fetch = fetch
  end)
  return asked
end

describe("a documented default of an HTTP request is the one that holds:", function()
  for _, name in ipairs { "connect_timeout_ms", "first_byte_timeout_ms",
    "idle_timeout_ms", "body_bytes_max" } do
    it(name, function()
      assert.equal(documented("HttpRequest", name),
        asked_for(aw.http.request)[name])
    end)
  end

  it("none for a stream's body and for all of it", function()
    local asked = asked_for(aw.http.stream)
    assert.is_nil(asked.body_bytes_max)
    assert.equal(0, asked.timeout_ms)
    assert.is_true(asked.http1)
    assert.is_false(asked.compressed)
  end)
end)
