-- What one peer may have at once of what a server has for all.
local aw = require("agentwire")
local limit = require("spec.support.limit")
local link = require("spec.support.link")
local wait = require("agentwire._wait")

local TOKENS = { a = "alice", b = "bob", c = { name = "carol",
  shares = { sessions = 5, connections = 2, streams = 5 } } }

--- Runs `body(env)`: `env.dial(token)` connects.
local function with_server(options, body)
  link.run(function()
    local env = { gate = wait.latch("the spec"), conns = {} }
    local model = { name = "script", api = "script" }
    function model.stream(_, _, emit)
      emit { type = "start" }
      if not env.gate:is_set() then
        env.gate:wait()
      end
      return { role = "assistant", stop_reason = "stop",
        content = { { type = "text", text = "ok" } } }
    end
    local tools = aw.tool.registry()
    tools:add { name = "wait", description = "", handler = function(_, call)
      call:progress(0, "begun")
      env.gate:wait()
    end }
    options.listen = "ws://127.0.0.1:0"
    options.provider = model
    options.tools = tools
    options.agent = { provider = model, model = "script/tiny",
      store = options.store }
    options.store = nil
    options.pool = aw.tool.pool()
    local server = assert(aw.serve(options))
    env.server, env.pool = server, options.pool
    function env.dial(token, more)
      local given = { token = token, reconnect = false }
      for name, value in pairs(more or {}) do
        given[name] = value
      end
      local conn = assert(aw.connect(server.url, given))
      table.insert(env.conns, conn)
      return conn
    end
    local ok, problem = pcall(body, env)
    env.gate:set(true)
    for _, conn in ipairs(env.conns) do
      conn:close()
      conn:wait_closed(1000)
    end
    link.eventually(function()
      return server:count() == 0
    end)
    link.settle()
    local left = server._shares:stats()
    server:close()
    if not ok then
      error(problem, 0)
    end
    assert.same({}, left)
  end)
end

-- Bounds what comes at once.
local PATIENCE_MS = 5000

--- What is begun, by kind: returns what ends it, or nil, message, code. What is
--- under way there has said so when this returns.
local BEGIN = {}

function BEGIN.sessions(conn)
  local session, why, code = conn:agent():start {}
  return session and function()
    session:stop()
  end, why, code
end

function BEGIN.streams(conn)
  local stream, why, code = conn:provider():start_stream {
    model = "script/tiny", messages = { { role = "user", content = "x" } },
  }
  if stream and not stream:next(PATIENCE_MS) then
    return nil, select(2, stream:result(PATIENCE_MS))
  end
  return stream and function()
    stream:abort()
    stream:result(1000)
  end, why, code
end

function BEGIN.executions(conn)
  local execution, why, code = conn:tool():start { name = "wait" }
  if execution and not execution:next_update() then
    return nil, select(2, execution:result(PATIENCE_MS))
  end
  return execution and function()
    execution:cancel()
    execution:result(1000)
  end, why, code
end

local serial = 0

function BEGIN.tools(conn)
  local tools = aw.tool.registry()
  serial = serial + 1
  tools:add { name = "t" .. serial, description = "", handler = print }
  local registration, why, code = aw.tool.register(conn, tools)
  return registration and function()
    registration:close()
  end, why, code
end

local function refused(begin, conn, option)
  local ended, why, code = begin(conn)
  assert.is_nil(ended)
  assert.equal("rate_limited", code)
  assert.truthy(why:find(option, 1, true), why)
end

local function fill(begin, conn, count)
  local ends = {}
  for i = 1, count do
    local why
    ends[i], why = begin(conn)
    assert(ends[i], why)
  end
  return ends
end

local function end_all(ends)
  for _, each in ipairs(ends) do
    each()
  end
  link.settle()
end

--- Waits until nothing is kept any more of what was sent, or came.
local function acknowledged(server)
  link.eventually(function()
    for conn in server:connections() do
      if conn:_held_bytes() > 0 then
        return false
      end
    end
    return true
  end)
end

describe("a share", function()
  for what, begin in pairs(BEGIN) do
    it("of " .. what .. " is a connection's: another one still has its own",
      function()
        with_server({ shares = { per_connection = { [what] = 3 } } },
          function(env)
            local one, other = env.dial(), env.dial()
            local ends = fill(begin, one, 3)
            limit.check { most = 3, says = "shares.per_connection." .. what,
              begin = function()
                return begin(other)
              end }
            refused(begin, one, "shares.per_connection." .. what)
            end_all(ends)
            end_all(fill(begin, one, 3))
          end)
      end)

    it("of " .. what .. " is an identity's, over all of its connections",
      function()
        with_server({ tokens = TOKENS,
          shares = { per_identity = { [what] = 3 } } }, function(env)
            local one, two, bob = env.dial("a"), env.dial("a"), env.dial("b")
            local ends, turn = fill(begin, bob, 3), 0
            limit.check { most = 3, says = "shares.per_identity." .. what,
              begin = function()
                turn = turn + 1
                return begin(turn % 2 == 0 and one or two)
              end,
              counts = function()
                local alice = env.server._shares:stats().alice
                return { alice and alice[what] or 0 }
              end }
            end_all(ends)
            -- What a connection had goes with it.
            fill(begin, one, 3)
            one:close()
            one:wait_closed(1000)
            link.eventually(function()
              return env.server._shares:stats().alice[what] == 0
            end)
            end_all(fill(begin, two, 3))
          end)
      end)
  end

  it("may be an identity's own", function()
    with_server({ tokens = TOKENS, shares = {
      per_identity = { sessions = 2 },
    } }, function(env)
      local carol = env.dial("c")
      local ends = fill(BEGIN.sessions, carol, 5)
      refused(BEGIN.sessions, carol, "shares.per_identity.sessions")
      end_all(ends)
      local alice = env.dial("a")
      ends = fill(BEGIN.sessions, alice, 2)
      refused(BEGIN.sessions, alice, "shares.per_identity.sessions")
      end_all(ends)
    end)
  end)

  it("of connections is told with 1013, and comes back", function()
    with_server({ tokens = TOKENS, shares = {
      per_identity = { connections = 2 },
    } }, function(env)
      for _ = 1, 13 do
        local one, two, three = env.dial("a"), env.dial("a"), env.dial("a")
        assert.is_true(three:wait_closed(1000))
        local why, code = three:why_closed()
        assert.equal(1013, code)
        assert.truthy(why:find("shares.per_identity.connections", 1, true), why)
        local bob = env.dial("b")
        assert.is_true(bob:ping(1000))
        for _, conn in ipairs { one, two, bob } do
          conn:close()
          conn:wait_closed(1000)
        end
        link.eventually(function()
          return env.server:count() == 0
        end)
      end
    end)
  end)

  it("is still there for a session that resumes", function()
    with_server({ tokens = TOKENS, shares = {
      per_identity = { connections = 1 },
    } }, function(env)
      local opened = 0
      local conn = env.dial("a", { reconnect = { min_ms = 1, max_ms = 5 },
        on_state = function(event)
          opened = opened + (event.type == "open" and 1 or 0)
        end })
      for i = 1, 12 do
        conn:cut("by the spec")
        link.eventually(function()
          return opened == i + 1
        end)
        assert.is_true(conn:ping(1000))
        assert.equal(1, env.server._shares:stats().alice.connections)
      end
    end)
  end)

  it("of bytes is what its connections hold when more is begun", function()
    with_server({ tokens = TOKENS, shares = {
      per_connection = { bytes = 20000 }, per_identity = { bytes = 30000 },
    }, on_connection = function(conn)
      conn:serve("provider", function(channel)
        local request = channel:receive()
        channel:send("text_delta", { delta = ("x"):rep(request.size) })
        channel:receive()
      end)
    end }, function(env)
      local one, two = env.dial("a"), env.dial("a")
      local function burden(conn, size)
        local channel = assert(conn:open("provider"))
        channel:confirm_manually()
        channel:send("stream_request", { size = size })
        assert(channel:receive(1000))
        return function()
          channel:confirm()
          channel:close()
        end
      end
      local light = burden(one, 21000)
      refused(BEGIN.sessions, one, "shares.per_connection.bytes")
      end_all(fill(BEGIN.sessions, two, 1))
      light()
      acknowledged(env.server)
      local first, second = burden(one, 15000), burden(two, 16000)
      link.eventually(function()
        return not BEGIN.sessions(one)
      end)
      refused(BEGIN.sessions, one, "shares.per_identity.bytes")
      refused(BEGIN.sessions, two, "shares.per_identity.bytes")
      first()
      second()
      acknowledged(env.server)
      end_all(fill(BEGIN.sessions, one, 1))
    end)
  end)

  it("of bytes counts the conversations that sessions hold", function()
    with_server({ tokens = TOKENS, shares = {
      per_connection = { bytes = 50000 }, per_identity = { bytes = 80000 },
    } }, function(env)
      env.gate:set(true)
      local one, two = env.dial("a"), env.dial("a")
      local text = ("x"):rep(15000)
      local function prompt(session)
        session:prompt(text)
        local _, why, code = session:result(5000)
        if code == "rate_limited" then
          return why
        end
        acknowledged(env.server)
      end
      local sessions = {}
      for i = 1, 3 do
        sessions[i] = assert(one:agent():start {})
        assert.is_nil((prompt(sessions[i])))
      end
      -- 45 000 bytes: one more may pass the limit, none may after it.
      prompt(sessions[1])
      for _ = 1, 10 do
        assert.truthy(prompt(sessions[2]):find("per_connection.bytes", 1, true))
        refused(BEGIN.sessions, one, "per_connection.bytes")
      end
      local other = assert(two:agent():start {})
      prompt(other)
      prompt(other)
      assert.truthy(prompt(other):find("per_identity.bytes", 1, true))
      for i = 1, 3 do
        sessions[i]:stop()
      end
      link.eventually(function()
        return env.server._shares:stats().alice.sessions == 1
      end)
      acknowledged(env.server)
      assert.is_nil((prompt(other)))
      end_all(fill(BEGIN.sessions, one, 1))
      other:stop()
      link.settle()
      assert.equal(0, env.server._shares._by_identity.alice.held)
    end)
  end)

  it("of bytes counts a conversation that was loaded", function()
    local store = { save = function() end }
    function store.load()
      return { { role = "user", content = ("x"):rep(60000) } }
    end
    with_server({ store = store, shares = {
      per_connection = { bytes = 50000 },
    } }, function(env)
      local conn = env.dial()
      local session = assert(conn:agent():start {})
      refused(BEGIN.sessions, conn, "per_connection.bytes")
      session:stop()
      end_all(fill(BEGIN.sessions, conn, 1))
    end)
  end)

  it("of bytes counts the messages that wait for a turn", function()
    with_server({ shares = { per_connection = { bytes = 50000 } } },
      function(env)
        local session = assert(env.dial():agent():start {})
        session:prompt("go")
        for _ = 1, 5 do
          session:steer(("x"):rep(20000))
        end
        link.settle()
        local connection = next(env.server._connections)
        local held = env.server._shares._by_connection[connection].held
        assert.is_true(held >= 50000 and held < 75000)
        env.gate:set(true)
        session:stop()
      end)
  end)

  it("does not hold peers that are no server's", function()
    link.run(function()
      local near, far = aw.pair()
      local model = { name = "m", api = "m", stream = function() end }
      aw.agent.attach(far, aw.agent.service {
        provider = aw.provider.loopback(model), model = "m/m",
      })
      local held = {}
      for i = 1, 70 do
        held[i] = assert(near:agent():start {})
      end
      near:close()
      assert.equal(70, #held)
    end)
  end)

  it("of an identity has to be one that there is", function()
    local ok, why = pcall(aw.serve, { listen = "ws://127.0.0.1:0",
      on_connection = print, tokens = { x = { id = "x",
        shares = { session = 5 } } } })
    assert.is_false(ok)
    assert.truthy(why:find("option tokens", 1, true), why)
    ok, why = pcall(aw.serve, { listen = "ws://127.0.0.1:0",
      on_connection = print, shares = { per_identity = { session = 5 } } })
    assert.is_false(ok)
    assert.truthy(why:find("did you mean sessions", 1, true), why)
  end)
end)

-- As DESIGN.md section 5 has them.
local DEFAULTS = {
  { "connection", "sessions", 64 }, { "connection", "tools", 128 },
  { "identity", "connections", 256 }, { "identity", "sessions", 128 },
  { "identity", "streams", 4000 }, { "identity", "executions", 256 },
  { "identity", "tools", 256 },
}

describe("a share that nothing is said of", function()
  local function connection(who, held)
    return { identity = who, _held_bytes = function()
      return held or 0
    end }
  end

  for _, case in ipairs(DEFAULTS) do
    local whose, what, most = case[1], case[2], case[3]
    it(("of %s of a %s is %d"):format(what, whose, most), function()
      local shares = require("agentwire._shares").new()
      local alice = whose == "identity" and { id = "a", name = "alice" } or nil
      local one = connection(alice)
      limit.check { most = most, says = "shares.per_" .. whose .. "." .. what,
        begin = function()
          -- An identity's are over all connections, of which each has few.
          return shares:take(alice and connection(alice) or one, what)
        end,
        settled = function() end }
    end)
  end

  it("of bytes is 32 MiB for a connection, 128 MiB for an identity", function()
    local shares = require("agentwire._shares").new()
    local alice = { id = "a", name = "alice" }
    local function check(conn)
      return (shares:_check(conn, "streams"))
    end
    assert.is_true(check(connection(nil, 32 * 2 ^ 20 - 1)))
    assert.is_nil(check(connection(nil, 32 * 2 ^ 20)))
    local most = connection(alice, 32 * 2 ^ 20 - 1)
    for _ = 1, 4 do
      assert(shares:take(connection(alice, 32 * 2 ^ 20 - 1), "connections"))
    end
    assert.is_true(check(most))
    assert(shares:take(connection(alice, 4), "connections"))
    assert.is_nil(check(most))
  end)

  it("of streams and executions of a connection is the services' own",
    function()
      local shares, one = require("agentwire._shares").new(), connection()
      for _ = 1, 5000 do
        assert(shares:take(one, "streams"))
        assert(shares:take(one, "executions"))
      end
    end)
end)
