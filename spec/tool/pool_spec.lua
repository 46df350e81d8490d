-- Whose the tools of a pool are, and who may register, see and call them.
local aw = require("agentwire")
local link = require("spec.support.link")
local task = require("agentwire.task")
local wait = require("agentwire._wait")

--- A registry with one tool that says who it is.
local function tools_of(who, name, handler)
  local tools = aw.tool.registry()
  tools:add {
    name = name or "look", description = who, handler = handler or function()
      return who
    end,
  }
  return tools
end

--- Runs `body(env)`: `env.connect(id)` gives both ends of a connection of
--- whoever has this id (nil: nobody in particular), served by `env.pool`.
local function with_pool(options, body)
  link.run(function()
    local env = { pool = aw.tool.pool(options) }
    local ends = {}
    function env.connect(id, tool_options)
      local near, far = link.pair()
      link.settle() -- until the pair is open
      far.identity = id and { id = id, name = id } or nil
      local settings = { pool = env.pool }
      for name, value in pairs(tool_options or {}) do
        settings[name] = value
      end
      aw.tool.attach(far, nil, settings)
      ends[#ends + 1] = near
      return near, far
    end
    local ok, problem = pcall(body, env)
    for _, near in ipairs(ends) do
      near:close()
    end
    link.settle()
    assert.equal(0, env.pool._count)
    assert.same({}, env.pool:list())
    if not ok then
      error(problem, 0)
    end
  end)
end

local function call(pool, name)
  local result, why, code = pool:execute { name = name or "look",
    args_json = "{}" }
  return result and result.parts[1].text, why, code
end

local function gone()
  return false
end

describe("a name in a pool", function()
  for _, case in ipairs { { nil, nil }, { "alice", "bob" }, { nil, "bob" },
    { "alice", nil } } do
    it(("of %s's is not taken over by %s"):format(case[1] or "nobody",
      case[2] or "nobody"), function()
        with_pool({}, function(env)
          assert(aw.tool.register((env.connect(case[1])), tools_of("first")))
          for _ = 1, 3 do
            local taken, why, code = aw.tool.register((env.connect(case[2])),
              tools_of("second"))
            assert.is_nil(taken)
            assert.equal("permission_denied", code)
            assert.truthy(why:find("the name is taken: look", 1, true), why)
          end
          assert.equal("first", call(env.pool))
          assert.equal(1, env.pool._count)
        end)
      end)
  end

  it("is overlaid by its owner, and comes back", function()
    with_pool({}, function(env)
      assert(aw.tool.register((env.connect("alice")), tools_of("old")))
      local registration = assert(aw.tool.register((env.connect("alice")),
        tools_of("new")))
      assert.equal("new", call(env.pool))
      registration:close()
      link.settle()
      assert.equal("old", call(env.pool))
    end)
  end)

  it("is free once it was given back", function()
    with_pool({}, function(env)
      for _ = 1, 20 do
        local near = env.connect()
        assert(aw.tool.register(near, tools_of("one")))
        near:close()
        link.settle()
        assert.equal(0, env.pool._count)
      end
      local registration = assert(aw.tool.register((env.connect("alice")),
        tools_of("one")))
      assert(registration:unregister("look"))
      assert(aw.tool.register((env.connect("bob")), tools_of("two")))
      assert.equal("two", call(env.pool))
    end)
  end)

  it("of nobody in particular is free when its connection is lost, and what it "
    .. "was asked ends at once", function()
      with_pool({}, function(env)
        local near, far = env.connect()
        assert(aw.tool.register(near, tools_of("old", "look", function()
          task.sleep(60000)
        end)))
        local asked = task.spawn(call, env.pool)
        link.settle()
        far.is_open = gone -- as after a loss: its window runs
        assert(aw.tool.register((env.connect()), tools_of("new")))
        local text, why, code = asked:join(1000)
        assert.is_nil(text)
        assert.equal("restarted", code)
        assert.truthy(why:find("started again", 1, true))
        assert.equal("new", call(env.pool))
        assert.equal(1, env.pool._count)
      end)
    end)

  it("of an identity stays its own while its connection is lost", function()
    with_pool({}, function(env)
      local near, far = env.connect("alice")
      assert(aw.tool.register(near, tools_of("old")))
      far.is_open = gone
      for _, id in ipairs { "bob", "" } do
        local taken, _, code = aw.tool.register(
          (env.connect(id ~= "" and id or nil)), tools_of("other"))
        assert.is_nil(taken)
        assert.equal("permission_denied", code)
      end
      assert(aw.tool.register((env.connect("alice")), tools_of("restarted")))
      assert.equal("restarted", call(env.pool))
    end)
  end)

  it("of nobody in particular is not ended by one that calls itself the same",
    function()
      with_pool({}, function(env)
        local victim = assert(aw.tool.register((env.connect()),
          tools_of("victim", "look", function()
            task.sleep(60000)
          end), { name = "files" }))
        local asked = task.spawn(call, env.pool)
        link.settle()
        for _, id in ipairs { "", "bob", "local" } do
          local other = env.connect(id ~= "" and id or nil)
          aw.tool.register(other, tools_of("x"), { name = "files" })
          assert(aw.tool.register(other, tools_of("x", "other" .. id),
            { name = "files" }))
        end
        assert.equal("timeout", select(3, asked:join(20)))
        assert.equal("timeout", select(3, victim:wait_ended(20)))
        asked:cancel("enough")
      end)
    end)

  it("is not several programs' because all of them are local", function()
    with_pool({}, function(env)
      assert(aw.tool.register((env.connect("local")), tools_of("first")))
      local taken, _, code = aw.tool.register((env.connect("local")),
        tools_of("second"))
      assert.is_nil(taken)
      assert.equal("permission_denied", code)
    end)
  end)

  it("costs one place, however often its scope registers it", function()
    with_pool({ max_tools = 2 }, function(env)
      local near = env.connect()
      local registration = assert(aw.tool.register(near, tools_of("one")))
      local calls = registration._scope.calls
      for _ = 1, 12 do
        assert(calls:request("tool_register",
          { tool = tools_of("more"):list()[1] }, 1000))
        assert.equal(1, env.pool._count)
      end
    end)
  end)

  it("is unregistered by its own scope alone", function()
    with_pool({}, function(env)
      local registration = assert(aw.tool.register((env.connect("alice")),
        tools_of("mine")))
      local id = registration.tool_ids.look
      for _, who in ipairs { "alice", "bob", "" } do
        local other = assert(aw.tool.register(
          (env.connect(who ~= "" and who or nil)), tools_of("x", "x" .. who)))
        local answer, _, code = other._scope.calls:request("tool_unregister",
          { tool_id = id }, 1000)
        assert.is_nil(answer)
        assert.equal("tool_not_found", code)
        other:close()
      end
      assert.equal("mine", call(env.pool))
      assert(registration:unregister("look"))
      assert.is_nil((call(env.pool)))
    end)
  end)

  it("costs nothing when it was refused: limit and ten more in turn", function()
    with_pool({ max_tools = 3 }, function(env)
      local many = aw.tool.registry()
      for i = 1, 13 do
        many:add { name = "t" .. i, description = "", handler = print }
      end
      local near = env.connect()
      local registered, why, code = aw.tool.register(near, many)
      assert.is_nil(registered)
      assert.equal("rate_limited", code)
      assert.truthy(why:find("max_tools", 1, true), why)
      link.settle()
      assert.equal(0, env.pool._count)
      for i = 1, 13 do
        local each = assert(aw.tool.register(near, tools_of("x", "n" .. i)))
        each:close()
        link.settle()
      end
    end)
  end)
end)

describe("who may register", function()
  it("is decided by a hook that may wait, for each tool", function()
    local seen = {}
    with_pool({ authorize = function(conn, tool)
      task.sleep(1)
      seen[#seen + 1] = { conn.identity.id, tool.name, tool.description }
      return tool.name ~= "deploy", "no deploying"
    end }, function(env)
      local near = env.connect("alice")
      assert(aw.tool.register(near, tools_of("d", "look")))
      local registered, why, code = aw.tool.register(near,
        tools_of("d", "deploy"))
      assert.is_nil(registered)
      assert.equal("permission_denied", code)
      assert.truthy(why:find("no deploying", 1, true))
      assert.same({ { "alice", "look", "d" }, { "alice", "deploy", "d" } },
        seen)
      assert.equal(1, env.pool._count)
    end)
  end)

  for what, hook in pairs {
    ["says nothing"] = function() end,
    ["says no"] = function()
      return false
    end,
    ["raises"] = function()
      error("hunter2")
    end,
  } do
    it("is nobody when the hook " .. what, function()
      with_pool({ authorize = hook }, function(env)
        local reported
        link.host.on_error = function(message)
          reported = message
        end
        local registered, why, code = aw.tool.register((env.connect()),
          tools_of("x"))
        assert.is_nil(registered)
        assert.equal("permission_denied", code)
        assert.is_nil(why:find("hunter2", 1, true))
        assert.equal(what == "raises", reported ~= nil)
      end)
    end)
  end

  it("is nobody without a pool", function()
    link.run(function()
      local near, far = link.pair()
      aw.tool.attach(far, tools_of("the server's"))
      local registered, _, code = aw.tool.register(near, tools_of("mine"))
      assert.is_nil(registered)
      assert.equal("permission_denied", code)
      near:close()
    end)
  end)
end)

describe("who may call", function()
  local function only_look(conn, tool)
    return tool.name == "look" and conn.identity.id == "alice", "not for you"
  end

  it("sees and calls what the hook allows, and is told nothing of the rest",
    function()
      with_pool({}, function(env)
        local server = env.connect("tools")
        local both = tools_of("one", "look")
        both:add { name = "deploy", description = "", handler = print }
        assert(aw.tool.register(server, both))
        local alice = env.connect("alice", { authorize = only_look }):tool()
        local list = assert(alice:list())
        assert.equal(1, #list)
        assert.equal("look", list[1].name)
        assert.equal("one", alice:execute { name = "look" }.parts[1].text)
        for _, name in ipairs { "deploy", "no such tool" } do
          local result, why, code = alice:execute { name = name }
          assert.is_nil(result)
          assert.equal("permission_denied", code)
          assert.equal("not for you", why)
        end
        local bob = env.connect("bob", { authorize = only_look }):tool()
        assert.same({}, { next(assert(bob:list())) })
        assert.equal("permission_denied",
          select(3, bob:execute { name = "look" }))
      end)
    end)

  it("is told to the handler", function()
    link.run(function()
      local seen = {}
      local near, far = link.pair()
      link.settle()
      aw.tool.attach(far, tools_of("x", "look", function(_, context)
        seen[#seen + 1] = context.identity.id
        return "x"
      end))
      far.identity = { id = "alice", name = "Alice" }
      assert(near:tool():execute { name = "look" })
      assert.same({ "alice" }, seen)
      near:close()
    end)
  end)

  it("is asked of an agent's sessions as well", function()
    link.run(function()
      local script = require("spec.support.script")
      local seen = {}
      local tools = tools_of("x", "look", function(_, context)
        seen[#seen + 1] = context.identity.id
        return "x"
      end)
      tools:add { name = "deploy", description = "", handler = function()
        seen[#seen + 1] = "deployed"
      end }
      local adapter = script.adapter {
        script.say(nil, { "a", "look", "{}" }, { "b", "deploy", "{}" }),
        script.say("done"),
      }
      local model, model_conn = script.client(adapter)
      local near, far = link.pair()
      link.settle()
      far.identity = { id = "alice", name = "Alice" }
      aw.agent.attach(far, aw.agent.service {
        provider = model, model = "script/tiny", tools = tools,
        authorize = only_look,
      })
      local session = assert(near:agent():start {})
      session:prompt("go")
      assert(session:result(1000))
      assert.same({ "alice" }, seen)
      assert.equal(1, #adapter.seen[1].context.tools)
      session:stop()
      near:close()
      model_conn:close()
    end)
  end)

  it("asks no more at once than it may run", function()
    link.run(function()
      local latch = wait.latch("the spec")
      local near, far = link.pair()
      local runs = aw.tool.attach(far, tools_of("x"), {
        max_executions = 3, authorize = function()
          latch:wait()
          return true
        end,
      })
      local channels = {}
      for i = 1, 13 do
        channels[i] = assert(near:open("tool"))
        assert(channels[i]:send("tool_list", {}))
        link.settle()
      end
      for i = 4, 13 do
        local event = assert(channels[i]:receive(1000))
        assert.equal("tool_error", event.type)
        assert.equal("rate_limited", event.code)
        assert.truthy(event.message:find("max_executions", 1, true))
      end
      latch:set(true)
      for i = 1, 3 do
        assert.equal("tool_list_response",
          assert(channels[i]:receive(1000)).type)
      end
      assert.equal(0, runs._asked)
      for i = 1, 13 do
        assert(channels[i]:send("tool_list", {}))
        assert.equal("tool_list_response",
          assert(channels[i]:receive(1000)).type)
      end
      near:close()
    end)
  end)

  it("has nothing to say of tools that cannot be listed", function()
    link.run(function()
      local asked = 0
      local near, far = link.pair()
      aw.tool.attach(far, {
        list = function()
          return nil, "the shelf is away", "closed"
        end,
        execute = function() end,
      }, { authorize = function()
        asked = asked + 1
        return true
      end })
      local list, why = near:tool():list()
      assert.is_nil(list)
      assert.matches("the shelf is away", why)
      assert.equal(0, asked)
      near:close()
    end)
  end)

  it("waits for a hook that waits, and goes when its caller goes", function()
    link.run(function()
      local latch = wait.latch("the spec")
      local ended
      local near, far = link.pair()
      aw.tool.attach(far, tools_of("x"), { authorize = function()
        local ok, problem = pcall(latch.wait, latch)
        ended = not ok and task.is_cancelled(problem)
        if not ok then
          error(problem, 0)
        end
        return true
      end })
      local caller = task.spawn(function()
        return near:tool():execute { name = "look" }
      end)
      link.settle()
      caller:cancel("by the spec")
      link.eventually(function()
        return ended
      end)
      latch:set(true)
      assert(near:tool():execute { name = "look" })
      near:close()
    end)
  end)
end)
