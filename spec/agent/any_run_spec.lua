-- Whatever a provider, a tool, a listener or whoever cancels does: each run has
-- one agent_end and one outcome, the conversation can be gone on with, and
-- nothing is left.
local aw = require("agentwire")
local json = require("agentwire.json")
local link = require("spec.support.link")
local loop = require("agentwire.agent.loop")
local registry = require("agentwire.tool.registry")
local task = require("agentwire.task")

local ROUNDS = tonumber(os.getenv("AGENTWIRE_ROUNDS")) or 60

-- A generator of its own, so that a failure can be repeated by its seed.
local function generator(seed)
  local state = seed
  return function(most)
    state = (state * 16807) % 2147483647
    return state % most + 1
  end
end

local function pick(random, list)
  return list[random(#list)]
end

local IDS = { "", "a", "a", "b", "call_1", "call_2" }
local NAMES = { "t", "t", "t", "none", "" }
local ARGUMENTS = { "{}", "", "null", "[]", '{"cut', '"text"', "7", '{"n":1}' }

local STEPS = {
  function(random, emit)
    emit { type = "text_start", content_index = random(3) - 1 }
  end,
  function(random, emit)
    emit { type = "text_delta", content_index = random(3) - 1, delta = "hi " }
  end,
  function(random, emit)
    emit { type = "text_end", content_index = random(3) - 1 }
  end,
  function(random, emit)
    emit { type = "toolcall_start", content_index = random(3) - 1,
      id = pick(random, IDS), name = pick(random, NAMES) }
  end,
  function(random, emit)
    emit { type = "toolcall_end", content_index = random(3) - 1,
      id = pick(random, IDS), arguments_json = pick(random, ARGUMENTS) }
  end,
  function(_, emit)
    emit { type = "teleport" }
  end,
  function(_, emit)
    emit { type = "done", reason = "stop" }
  end,
  function(_, emit)
    emit { type = "error", reason = "error", error_message = "down" }
  end,
  function(random, emit)
    emit { type = "text_delta", content_index = 0,
      delta = ("x"):rep(random(200000)) }
  end,
  function(_, emit)
    emit("nonsense")
  end,
  function()
    error("the adapter broke")
  end,
  function()
    coroutine.yield()
  end,
  function()
    task.sleep(60000)
  end,
  function(random)
    task.sleep(random(3))
  end,
}

local function whole_message(random)
  local content = {}
  for index = 1, random(4) - 1 do
    content[index] = random(2) == 1 and { type = "text", text = "hi" } or {
      type = "tool_call", id = pick(random, IDS), name = pick(random, NAMES),
      arguments_json = pick(random, ARGUMENTS),
    }
  end
  return { content = content, usage = { input = 1, output = 1 } }
end

local function any_adapter(random)
  return {
    name = "any", api = "any",
    stream = function(_, _, emit)
      if random(3) > 1 then
        return whole_message(random)
      end
      for _ = 1, random(8) do
        local step = pick(random, STEPS)
        if random(4) == 1 then
          pcall(step, random, emit)
        else
          step(random, emit)
        end
      end
      return pick(random, { {}, "text", 7, false, { content = 7 } })
    end,
  }
end

local DEEDS = {
  function()
    return "fine"
  end,
  function()
    error("the tool broke")
  end,
  function()
    error({ code = 7 })
  end,
  function()
    coroutine.yield()
  end,
  function()
    task.sleep(60000)
  end,
  function()
    task.shield(task.sleep, 5)
  end,
  function(random)
    task.sleep(random(3))
    return nil, "no luck"
  end,
  function()
    return print
  end,
  function()
    return "\255"
  end,
  function(_, call)
    call:update { step = 1 }
    return json.array { { type = "text", text = "part" } }
  end,
}

local function any_tools(random)
  return registry.new():add {
    name = "t",
    handler = function(_, call)
      return pick(random, DEEDS)(random, call)
    end,
  }
end

--- A source that is not our registry: it may do anything with a call itself.
local function any_source(random)
  return {
    list = function()
      if random(4) == 1 then
        return pick(random, DEEDS)(random, { update = function() end })
      end
      return { { name = "none" } }
    end,
    execute = function(_, call)
      return pick(random, DEEDS)(random, {
        update = function()
          call.on_update { partial_json = "{}" }
        end,
      })
    end,
  }
end

--- A listener that counts what begins and ends, over the runs of one agent.
local function watcher()
  local seen = { runs = 0, open = 0, calls = {}, messages = 0, turns = 0 }
  function seen.listen(event)
    local kind = event.type
    if kind == "agent_start" then
      seen.runs, seen.open = seen.runs + 1, seen.open + 1
    elseif kind == "agent_end" then
      seen.open = seen.open - 1
    elseif kind == "message_start" or kind == "message_end" then
      seen.messages = seen.messages + (kind == "message_start" and 1 or -1)
    elseif kind == "turn_start" or kind == "turn_end" then
      seen.turns = seen.turns + (kind == "turn_start" and 1 or -1)
    elseif kind == "tool_execution_start" then
      assert(not seen.calls[event.tool_call_id], "an id twice")
      seen.calls[event.tool_call_id] = "open"
    elseif kind == "tool_execution_end" then
      assert(seen.calls[event.tool_call_id] == "open", "an end without start")
      seen.calls[event.tool_call_id] = "ended"
    end
  end
  function seen.check(runs)
    assert.equal(runs, seen.runs)
    for _, name in ipairs { "open", "messages", "turns" } do
      assert.equal(0, seen[name], name)
    end
    for id, state in pairs(seen.calls) do
      assert.equal("ended", state, id)
    end
  end
  return seen
end

local function assert_outcome(result, why, code)
  if result == nil then
    assert.equal("string", type(why))
    assert.equal("string", type(code))
    assert.is_nil(why:find("\n"))
  else
    assert.equal("string", type(result.stop_reason))
  end
end

local function any_listener(random)
  local left = random(12)
  return function()
    left = left - 1
    if left == 0 then
      pick(random, { error, coroutine.yield, task.yield })("a listener")
    end
  end
end

local function provider_of(random)
  local near, far = link.pair()
  local served = aw.provider.attach(far, any_adapter(random))
  return near:provider(), served, near
end

local function assert_served(served)
  link.eventually(function()
    return served:stats().active == 0
  end)
end

describe("any run", function()
  it("of a loop ends once and leaves nothing", function()
    for seed = 1, ROUNDS do
      local random = generator(seed)
      link.run(function()
        link.host.on_error = function() end
        local client, served, connection = provider_of(random)
        local seen = watcher()
        local agent = loop.new {
          provider = client, model = "m", on_event = seen.listen,
          tools = { any_tools(random), any_source(random) },
          max_turns = 4, tools_timeout_ms = 10,
        }
        if random(3) == 1 then
          agent:subscribe(any_listener(random))
        end
        for run = 1, 3 do
          local running = task.spawn(agent.prompt, agent, "go")
          running:join(random(12))
          local way = random(3)
          if way == 1 then
            running:cancel("the task ends")
          else
            agent:cancel("the run ends")
          end
          local result, why, code = running:join(5000)
          assert_outcome(result, why, code)
          assert.is_false(agent:is_running(), "seed " .. seed)
          seen.check(run)
          assert.is_nil(loop.problem_of(agent.messages))
        end
        assert.is_nil(next(agent._telling))
        assert_served(served)
        assert.equal(0, client:stats().active)
        connection:close()
      end)
    end
  end)

  it("of a session ends once and leaves nothing", function()
    for seed = 1, ROUNDS do
      local random = generator(seed + 1000)
      link.run(function()
        link.host.on_error = function() end
        local client, served, connection = provider_of(random)
        local near, far = link.pair()
        local service = aw.agent.service {
          provider = client, model = "m", tools = any_tools(random),
          max_turns = 4, tools_timeout_ms = 10,
        }
        aw.agent.attach(far, service)
        local seen = watcher()
        local session = assert(near:agent():start {
          on_event = seen.listen, tools = any_source(random), timeout_ms = 200,
        })
        for run = 1, 3 do
          session:prompt("go")
          task.sleep(random(12))
          session:cancel("enough")
          local result, why, code = session:result(5000)
          assert_outcome(result, why, code)
          assert.are_not.equal("timeout", code, "seed " .. seed)
          seen.check(run)
        end
        link.eventually(function()
          return session._tools:count() == 0
        end)
        assert(session:stop("done", 5000))
        link.eventually(function()
          return service:stats().sessions == 0
        end)
        assert_served(served)
        near:close()
        connection:close()
      end)
    end
  end)

  it("of a remote tool ends once and leaves nothing", function()
    for seed = 1, ROUNDS do
      local random = generator(seed + 2000)
      link.run(function()
        link.host.on_error = function() end
        local near, far = link.pair()
        local runs = aw.tool.attach(far, any_tools(random))
        local open = {}
        for index = 1, 6 do
          open[index] = assert(near:tool():start { name = "t" })
          if random(3) == 1 then
            task.sleep(random(3))
          end
        end
        if random(4) == 1 then
          near:tool():close("enough")
        end
        for _, execution in ipairs(open) do
          execution:cancel("enough")
          local _, why, code = execution:result(5000)
          assert.are_not.equal("timeout", code, why)
        end
        link.eventually(function()
          return runs:running() == 0 and runs._live == 0
        end)
        assert.equal(0, near:tool()._calls._open_count)
        near:close()
      end)
    end
  end)
end)
