local json = require("agentwire.json")
local link = require("spec.support.link")
local loop = require("agentwire.agent.loop")
local registry = require("agentwire.tool.registry")
local script = require("spec.support.script")
local task = require("agentwire.task")
local wait = require("agentwire._wait")

local say = script.say

--- One word for each event; updates of the model's message are left out.
local function short(event)
  if event.type == "message_start" or event.type == "message_end" then
    return event.type .. ":" .. event.message.role
  elseif event.tool_call_id then
    return event.type .. ":" .. event.tool_call_id
  end
  return event.type
end

--- Runs `body(agent, env)` with an agent whose provider plays `turns`.
local function with_agent(turns, options, body)
  link.run(function()
    local adapter = script.adapter(turns)
    local client, connection = script.client(adapter)
    local env = { adapter = adapter, events = {}, names = {} }
    options.provider = client
    options.model = options.model or "script/tiny"
    options.on_event = options.on_event or function(event)
      env.events[#env.events + 1] = event
      if event.type ~= "message_update" then
        env.names[#env.names + 1] = short(event)
      end
    end
    local agent = loop.new(options)
    --- Waits until an event fits.
    function env.seen(fits)
      local latch = wait.latch()
      local unsubscribe = agent:subscribe(function(event)
        if fits(event) then
          latch:set(true)
        end
      end)
      assert(latch:wait(1000))
      unsubscribe()
    end
    body(agent, env)
    assert.is_false(agent:is_running())
    connection:close()
  end)
end

local function count(names, wanted)
  local n = 0
  for _, name in ipairs(names) do
    n = n + (name == wanted and 1 or 0)
  end
  return n
end

local function add_tools()
  return registry.new():add {
    name = "add",
    parameters = { type = "object", required = { "a", "b" } },
    handler = function(args, call)
      call:update { text = "adding" }
      return args.a + args.b
    end,
  }
end

describe("agent.loop", function()
  it("asks once when no tool is called", function()
    with_agent({ say("Hello") }, {}, function(agent, env)
      local result = assert(agent:prompt("Hi"))
      assert.equal("Hello", result.text)
      assert.equal("stop", result.stop_reason)
      assert.equal(1, result.iterations)
      assert.equal(10, result.usage.input)
      assert.same({
        "agent_start", "message_start:user", "message_end:user", "turn_start",
        "message_start:assistant", "message_end:assistant", "turn_end",
        "agent_end",
      }, env.names)
      assert.equal(2, #agent.messages)
    end)
  end)

  it("hands over the model's deltas in order", function()
    with_agent({ say("Hello") }, {}, function(agent, env)
      assert(agent:prompt("Hi"))
      local deltas = {}
      for _, event in ipairs(env.events) do
        if event.type == "message_update" then
          deltas[#deltas + 1] = event.event.type
        end
      end
      assert.same({ "text_start", "text_delta", "text_end" }, deltas)
    end)
  end)

  it("runs tools and asks again, every event in its order", function()
    local turns = {
      say("Let me add", { "c1", "add", '{"a":2,"b":3}' }), say("It is 5"),
    }
    with_agent(turns, { tools = add_tools() }, function(agent, env)
      local result = assert(agent:prompt("2+3?"))
      assert.equal("It is 5", result.text)
      assert.equal(2, result.iterations)
      assert.equal(20, result.usage.input)
      assert.same({
        "agent_start", "message_start:user", "message_end:user",
        "turn_start", "message_start:assistant", "message_end:assistant",
        "tool_execution_start:c1", "tool_execution_update:c1",
        "tool_execution_end:c1", "message_start:tool", "message_end:tool",
        "turn_end", "turn_start", "message_start:assistant",
        "message_end:assistant", "turn_end", "agent_end",
      }, env.names)
      local sent = env.adapter.seen[2].context.messages
      assert.equal("tool", sent[3].role)
      assert.equal("c1", sent[3].tool_call_id)
      assert.equal("5", sent[3].content[1].text)
      assert.equal("add", env.adapter.seen[1].context.tools[1].name)
    end)
  end)

  it("runs a message's tools at the same time, results in call order",
    function()
      local first, second = wait.latch(), wait.latch()
      local tools = registry.new()
        :add { name = "one", handler = function()
          second:wait()
          return "1"
        end }
        :add { name = "two", handler = function()
          second:set(true)
          first:set(true)
          return "2"
        end }
      local turns = { say(nil, { "a", "one" }, { "b", "two" }), say("ok") }
      with_agent(turns, { tools = tools }, function(agent, env)
        assert(agent:prompt("go"))
        assert.is_true(first:is_set())
        local texts = {}
        for _, message in ipairs(agent.messages) do
          if message.role == "tool" then
            texts[#texts + 1] = message.tool_call_id .. message.content[1].text
          end
        end
        assert.same({ "a1", "b2" }, texts)
        assert.equal("tool_execution_start:a", env.names[7])
        assert.equal("tool_execution_start:b", env.names[8])
        assert.equal("tool_execution_end:b", env.names[9])
        assert.equal("tool_execution_end:a", env.names[10])
      end)
    end)

  it("tells the model of unknown tools, bad arguments and broken handlers",
    function()
      local tools = add_tools():add {
        name = "raise",
        handler = function()
          error("broken", 0)
        end,
      }
      local odd = {
        list = function()
          return { { name = "odd", description = "",
            parameters_schema_json = "{}" } }
        end,
        execute = function()
          error("odd source", 0)
        end,
      }
      local turns = {
        say(nil, { "a", "none" }, { "b", "add", "{}" }, { "c", "raise" },
          { "d", "odd" }),
        say("sorry"),
      }
      with_agent(turns, { tools = { tools, odd } }, function(agent)
        local result = assert(agent:prompt("go"))
        assert.equal("sorry", result.text)
        local texts = {}
        for _, message in ipairs(agent.messages) do
          if message.role == "tool" then
            assert.is_true(message.is_error)
            texts[#texts + 1] = message.content[1].text
          end
        end
        assert.same({ "no such tool: none", "args.a: required, but missing",
          "broken", "odd source" }, texts)
      end)
    end)

  it("makes ids for calls without one and for doubles", function()
    local turns = {
      say(nil, { "", "add", '{"a":1,"b":1}' }, { "x", "add", '{"a":2,"b":2}' },
        { "x", "add", '{"a":3,"b":3}' }),
      say("ok"),
    }
    with_agent(turns, { tools = add_tools() }, function(agent)
      assert(agent:prompt("go"))
      local ids = {}
      for index = 3, 5 do
        ids[#ids + 1] = agent.messages[index].tool_call_id
      end
      assert.same({ "call_1", "x", "call_2" }, ids)
      assert.equal("call_2", agent.messages[2].content[3].id)
    end)
  end)

  it("stops at the turn limit with a conversation that can go on", function()
    local function again()
      return say(nil, { "c", "add", '{"a":1,"b":1}' })
    end
    with_agent({ again(), again(), say("now") },
      { tools = add_tools(), max_turns = 2 }, function(agent, env)
        local result = assert(agent:prompt("go"))
        assert.equal("max_turns", result.stop_reason)
        assert.equal(2, result.iterations)
        assert.equal(2, #env.adapter.seen)
        assert.equal("tool", agent.messages[#agent.messages].role)
        assert.equal("now", assert(agent:prompt("and?")).text)
      end)
  end)

  it("ends with agent_end and the error when the provider fails", function()
    local turns = { function()
      return nil, "quota", "rate_limited"
    end, say("ok") }
    with_agent(turns, {}, function(agent, env)
      local result, why, code = agent:prompt("Hi")
      assert.is_nil(result)
      assert.equal("quota", why)
      assert.equal("rate_limited", code)
      assert.same({
        "agent_start", "message_start:user", "message_end:user", "turn_start",
        "message_start:assistant", "message_end:assistant", "turn_end",
        "agent_end",
      }, env.names)
      local last = env.events[#env.events].messages
      assert.equal("error", last[2].stop_reason)
      assert.equal("quota", last[2].error_message)
      assert.equal("ok", assert(agent:prompt("again")).text)
    end)
  end)

  it("ends a run whose provider cannot be reached", function()
    link.run(function()
      local client, connection = script.client(script.adapter {})
      connection:close()
      local names = {}
      local agent = loop.new { provider = client, model = "m", on_event =
        function(event)
          names[#names + 1] = event.type
        end }
      local result, _, code = agent:prompt("Hi")
      assert.is_nil(result)
      assert.equal("closed", code)
      assert.equal(1, count(names, "agent_end"))
    end)
  end)

  it("hands provider options and the system prompt through", function()
    with_agent({ say("ok") }, {
      system_prompt = "Be kind.",
      options = { max_tokens = 7, temperature = 0.5 },
    }, function(agent, env)
      assert(agent:prompt("Hi"))
      local request = env.adapter.seen[1]
      assert.equal("Be kind.", request.context.system_prompt)
      assert.equal(7, request.options.max_tokens)
      assert.equal(0.5, request.options.temperature)
      assert.equal("tiny", request.model.id)
    end)
  end)

  it("calls no provider when cancelled before it began", function()
    with_agent({ say("never") }, {}, function(agent, env)
      local run = assert(agent:begin("Hi"))
      assert.is_true(run:cancel("changed my mind"))
      local result = assert(run:execute())
      assert.equal("aborted", result.stop_reason)
      assert.equal("changed my mind", result.cancel_reason)
      assert.same({ "agent_start", "agent_end" }, env.names)
      assert.equal(0, #env.adapter.seen)
    end)
  end)

  it("aborts the model's stream, keeps its text and ends in order", function()
    local aborted = wait.latch()
    local turns = { function(_, emit)
      emit { type = "text_start", content_index = 0 }
      emit { type = "text_delta", content_index = 0, delta = "Once upon" }
      task.defer(function()
        aborted:set(true)
      end)
      task.sleep(60000)
    end, say("ok") }
    with_agent(turns, {}, function(agent, env)
      local running = task.spawn(agent.prompt, agent, "story")
      env.seen(function(event)
        return event.event and event.event.delta
      end)
      assert.is_true(agent:cancel("enough"))
      assert.is_false(agent:cancel("again"))
      local result = assert(running:join())
      assert.equal("aborted", result.stop_reason)
      assert.equal("Once upon", result.text)
      assert.is_true(aborted:wait(1000))
      assert.same({
        "agent_start", "message_start:user", "message_end:user", "turn_start",
        "message_start:assistant", "message_end:assistant", "turn_end",
        "agent_end",
      }, env.names)
      assert.equal("Once upon", agent.messages[2].content[1].text)
      assert.is_false(agent:cancel("idle"))
    end)
  end)

  it("keeps no tool call of a message that was not finished", function()
    local turns = { function(_, emit)
      emit { type = "text_start", content_index = 0 }
      emit { type = "text_delta", content_index = 0, delta = "Let me" }
      emit { type = "text_end", content_index = 0 }
      emit { type = "toolcall_start", content_index = 1, id = "c", name = "t" }
      task.sleep(60000)
    end }
    with_agent(turns, {}, function(agent, env)
      local running = task.spawn(agent.prompt, agent, "go")
      env.seen(function(event)
        return event.event and event.event.type == "toolcall_start"
      end)
      agent:cancel()
      assert(running:join())
      local message = agent.messages[2]
      assert.equal(1, #message.content)
      assert.equal("Let me", message.content[1].text)
      assert.equal(0, count(env.names, "tool_execution_start:c"))
    end)
  end)

  it("gives a cancelled tool exactly one start, one end and a result",
    function()
      local tools = registry.new():add {
        name = "slow",
        handler = function()
          task.sleep(60000)
        end,
      }
      local turns = { say(nil, { "a", "slow" }, { "b", "slow" }), say("ok") }
      with_agent(turns, { tools = tools, max_parallel_tools = 1 },
        function(agent, env)
          local running = task.spawn(agent.prompt, agent, "go")
          env.seen(function(event)
            return event.type == "tool_execution_start"
          end)
          agent:cancel("enough")
          assert.equal("aborted", assert(running:join()).stop_reason)
          for _, id in ipairs { "a", "b" } do
            assert.equal(1, count(env.names, "tool_execution_start:" .. id))
            assert.equal(1, count(env.names, "tool_execution_end:" .. id))
          end
          assert.equal(1, count(env.names, "agent_end"))
          assert.equal(1, count(env.names, "turn_end"))
          assert.equal("tool", agent.messages[4].role)
          assert.matches("enough", agent.messages[4].content[1].text)
          assert.equal("ok", assert(agent:prompt("again")).text)
        end)
    end)

  it("ends in order when the task around it is cancelled", function()
    local tools = registry.new():add {
      name = "slow",
      handler = function()
        task.sleep(60000)
      end,
    }
    with_agent({ say(nil, { "a", "slow" }) }, { tools = tools },
      function(agent, env)
        local running = task.spawn(agent.prompt, agent, "go")
        env.seen(function(event)
          return event.type == "tool_execution_start"
        end)
        running:cancel("host ends")
        local _, _, code = running:join()
        assert.equal("cancelled", code)
        assert.equal(1, count(env.names, "tool_execution_end:a"))
        assert.equal("agent_end", env.names[#env.names])
      end)
  end)

  it("puts steering before the next question, one at a time", function()
    local agent_of
    local tools = registry.new():add {
      name = "t",
      handler = function()
        assert(agent_of:steer("first"))
        assert(agent_of:steer("second"))
        return "ok"
      end,
    }
    local turns = { say(nil, { "a", "t" }), say("two"), say("three") }
    with_agent(turns, { tools = tools }, function(agent, env)
      agent_of = agent
      local result = assert(agent:prompt("go"))
      assert.equal("three", result.text)
      local seen = env.adapter.seen
      assert.equal("first", seen[2].context.messages[4].content)
      assert.equal(4, #seen[2].context.messages)
      assert.equal("second", seen[3].context.messages[6].content)
      assert.equal(1, count(env.names, "agent_end"))
    end)
  end)

  it("puts all steering before the next question in mode all", function()
    with_agent({ say("one"), say("two") }, { steering_mode = "all" },
      function(agent, env)
        agent:subscribe(function(event)
          if event.type == "turn_start" and #env.adapter.seen == 0 then
            agent:steer("first")
            agent:steer("second")
          end
        end)
        assert.equal("two", assert(agent:prompt("go")).text)
        assert.equal(4, #env.adapter.seen[2].context.messages)
      end)
  end)

  it("asks follow-ups only when it would stop", function()
    local agent_of
    local tools = registry.new():add {
      name = "t",
      handler = function()
        assert(agent_of:follow_up("and then?"))
        return "ok"
      end,
    }
    local turns = { say(nil, { "a", "t" }), say("two"), say("three") }
    with_agent(turns, { tools = tools }, function(agent, env)
      agent_of = agent
      assert.equal("three", assert(agent:prompt("go")).text)
      local seen = env.adapter.seen
      assert.equal(3, #seen[2].context.messages)
      assert.equal("and then?", seen[3].context.messages[5].content)
    end)
  end)

  it("limits the queues, and drops them with a cancelled run", function()
    with_agent({ say("x") }, { max_pending_messages = 2 }, function(agent)
      local run = assert(agent:begin("go"))
      assert(agent:steer("1"))
      assert(agent:steer("2"))
      local ok, _, code = agent:steer("3")
      assert.is_nil(ok)
      assert.equal("rate_limited", code)
      assert(agent:follow_up("4"))
      run:cancel()
      assert.equal(3, assert(run:execute()).dropped_messages)
      assert.equal(0, #agent:take_queued())
    end)
  end)

  it("runs one prompt at a time", function()
    with_agent({ say("x") }, {}, function(agent)
      local run = assert(agent:begin("one"))
      local second, _, code = agent:prompt("two")
      assert.is_nil(second)
      assert.equal("agent_busy", code)
      assert.has_error(function()
        agent:reset()
      end)
      assert(run:execute())
      agent:reset()
      assert.equal(0, #agent.messages)
    end)
  end)

  it("drops a listener that raises and goes on", function()
    with_agent({ say("x"), say("y") }, {}, function(agent, env)
      local calls = 0
      agent:subscribe(function()
        calls = calls + 1
        error("listener", 0)
      end)
      local reported = {}
      link.host.on_error = function(message)
        reported[#reported + 1] = message
      end
      assert.equal("x", assert(agent:prompt("go")).text)
      assert.equal(1, calls)
      assert.equal("agent_end", env.names[#env.names])
      link.eventually(function()
        collectgarbage()
        return #reported == 1
      end)
      assert.matches("listener", reported[1])
    end)
  end)

  it("stops telling a listener that has unsubscribed", function()
    with_agent({ say("x"), say("y") }, {}, function(agent)
      local calls = 0
      local unsubscribe = agent:subscribe(function()
        calls = calls + 1
      end)
      assert(agent:prompt("go"))
      local before = calls
      unsubscribe()
      assert(agent:prompt("go"))
      assert.equal(before, calls)
    end)
  end)

  it("takes the first of two sources that have a tool of one name", function()
    local function source(text)
      return registry.new():add { name = "who", handler = function()
        return text
      end }
    end
    with_agent({ say(nil, { "a", "who" }), say("ok") },
      { tools = { source("first"), source("second") } }, function(agent, env)
        assert(agent:prompt("go"))
        assert.equal("first", agent.messages[3].content[1].text)
        assert.equal(1, #env.adapter.seen[1].context.tools)
      end)
  end)

  it("tells events that have a JSON form", function()
    local turns = {
      say("Let me add", { "c1", "add", '{"a":2,"b":3}' }), say("It is 5"),
    }
    with_agent(turns, { tools = add_tools() }, function(agent, env)
      assert(agent:prompt("2+3?"))
      for _, event in ipairs(env.events) do
        assert.is_string((json.encode(event)))
      end
    end)
  end)
end)
