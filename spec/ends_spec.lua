-- Whatever is counted is counted off, and whatever is waited for ends, however
-- the task behind it ended: also by a cancellation before its first step, or a
-- `coroutine.yield` of its own.
local aw = require("agentwire")
local executor = require("agentwire.tool.executor")
local json = require("agentwire.json")
local link = require("spec.support.link")
local pool = require("agentwire.tool.pool")
local registry = require("agentwire.tool.registry")
local script = require("spec.support.script")
local task = require("agentwire.task")

local LIMIT = 4
local TIMES = LIMIT + 10

local function tools()
  return registry.new():add { name = "t", handler = function()
    return "r"
  end }
end

local function with_pair(body)
  link.run(function()
    local near, far = link.pair()
    link.settle()
    body(near, far)
    near:close()
  end)
end

describe("what is counted", function()
  it("is counted off for executions that never began", function()
    with_pair(function(near, far)
      local runs = executor.attach(far, tools(), { max_executions = LIMIT })
      local client = near:tool()
      for _ = 1, TIMES do
        local execution = assert(client:start { name = "t" })
        client:close("done")
        assert.is_true(execution:is_done())
        link.settle()
      end
      assert.equal(0, runs:running())
      assert.equal(0, runs._live)
      assert.equal(0, client._calls._open_count)
      assert.equal("r", assert(client:execute { name = "t" }).parts[1].text)
    end)
  end)

  it("is counted off for executions that were cancelled at once", function()
    with_pair(function(near, far)
      local runs = executor.attach(far, tools(), { max_executions = LIMIT })
      for _ = 1, TIMES do
        local execution = assert(near:tool():start { name = "t" })
        execution:cancel()
        assert.equal("cancelled", select(3, execution:result(1000)))
      end
      link.settle()
      assert.equal(0, runs:running())
      assert.equal(0, runs._live)
    end)
  end)

  it("keeps what does not stop within twice the limit", function()
    with_pair(function(near, far)
      local going = true
      local stubborn = registry.new():add { name = "t", handler = function()
        task.shield(function()
          while going do
            task.sleep(1)
          end
        end)
      end }
      local runs = executor.attach(far, stubborn, { max_executions = LIMIT })
      local refused = 0
      for _ = 1, TIMES do
        local execution = assert(near:tool():start { name = "t" })
        link.settle()
        execution:cancel()
        local _, why, code = execution:result(1000)
        if code == "rate_limited" then
          refused = refused + 1
          assert.matches("max_executions", why)
        end
      end
      assert.equal(TIMES - 2 * LIMIT, refused)
      going = false
      link.eventually(function()
        return runs._live == 0
      end)
    end)
  end)

  it("is counted off for a session's own tools", function()
    with_pair(function(near, far)
      local scope
      far:serve("agent", function(channel)
        scope = channel
        channel:receive()
        channel:send("agent_started", { session_id = channel.id },
          channel:message_id())
        channel:receive()
      end)
      local session = assert(near:agent():start {
        tools = tools(), max_executions = LIMIT,
      })
      for index = 1, TIMES do
        local id = "c" .. index
        scope:send("tool_execute", {
          tool_call_id = id, tool_name = "t", args_json = "{}",
        })
        scope:send("agent_event", { event_json = json.encode {
          type = "tool_execution_end", tool_call_id = id, tool_name = "t",
          result_json = "[]", is_error = false,
        } })
        link.settle()
      end
      assert.equal(0, session._tools:count())
      assert.is_nil(next(session._tools._running))
      session:close()
    end)
  end)

  it("is counted off for streams that were closed at once", function()
    with_pair(function(near, far)
      local server = aw.provider.attach(far, script.adapter {},
        { max_streams = LIMIT })
      for _ = 1, TIMES do
        local stream = assert(near:provider():start_stream {
          model = "script/script/m", messages = {},
        })
        stream:close()
        link.settle()
      end
      assert.equal(0, server:stats().active)
      assert.equal(0, server:stats().refused)
      assert.equal(0, near:provider():stats().active)
    end)
  end)

  it("is counted off for sessions that were closed at once", function()
    with_pair(function(near, far)
      local service = aw.agent.service {
        provider = script.client(script.adapter {}),
        model = "script/script/m", max_sessions = LIMIT,
      }
      aw.agent.attach(far, service)
      for _ = 1, TIMES do
        local session = assert(near:agent():start())
        session:prompt("hi")
        session:close()
        link.settle()
      end
      assert.equal(0, service:stats().sessions)
      service._options.provider._connection:close()
    end)
  end)

  it("is counted off for pool entries, whose registrations end", function()
    with_pair(function(near, far)
      local offered = pool.new { max_tools = LIMIT }
      executor.attach(far, nil, { pool = offered })
      for _ = 1, TIMES do
        local registration = assert(executor.register(near, tools()))
        registration:close()
        assert.is_true(registration:wait_ended(1000))
        link.settle()
      end
      assert.equal(0, offered._count)
    end)
  end)

  it("is counted off for pings that nobody waits for any more", function()
    with_pair(function(near)
      for _ = 1, TIMES do
        local asked = task.spawn(near.ping, near)
        asked:cancel()
        local late = task.spawn(near.ping, near, 0)
        late:join()
        asked:join()
      end
      assert.is_nil(next(near._pings))
    end)
  end)

  it("is counted off for listeners that raise", function()
    with_pair(function()
      local provider = script.client(script.adapter {})
      local loop = aw.agent.loop { provider = provider, model = "m" }
      link.host.on_error = function() end
      for _ = 1, TIMES do
        loop:subscribe(error)
        assert(loop:prompt("hi"))
      end
      assert.equal(0, #loop._listeners)
      provider._connection:close()
    end)
  end)
end)

-- How a function can leave its task.
local WAYS = {
  ["returns"] = function() end,
  ["raises"] = function()
    error("broken")
  end,
  ["yields by hand"] = function()
    coroutine.yield()
  end,
}

local OPENING = {
  agent = { "agent_start", { config_json = "{}" } },
  tool = { "tool_list", {} },
  provider = { "models_request", {} },
}

local function assert_brief(text)
  assert.equal("string", type(text))
  assert.is_nil(text:find("[\n/]"))
end

describe("a scope's handler", function()
  for kind, opening in pairs(OPENING) do
    for way, leave in pairs(WAYS) do
      it(("ends the %s scope when it %s"):format(kind, way), function()
        with_pair(function(near, far)
          link.host.on_error = function() end
          far:serve(kind, leave)
          local channel = assert(near:open(kind))
          channel:send(opening[1], opening[2])
          local event = assert(channel:receive(1000))
          assert.matches("error$", event.type)
          assert.equal("internal_error", event.code)
          assert_brief(event.message)
        end)
      end)
    end
  end
end)

describe("a tool", function()
  for way, leave in pairs(WAYS) do
    it(("has one outcome when its handler %s"):format(way), function()
      with_pair(function(near, far)
        executor.attach(far,
          registry.new():add { name = "t", handler = leave })
        local result, why, code = near:tool():execute { name = "t" }
        if way == "returns" then
          return assert(result)
        end
        assert.equal("tool_execution_error", code)
        assert_brief(why)
      end)
    end)

    it(("has one outcome when its source %s"):format(way), function()
      with_pair(function(near, far)
        link.host.on_error = function() end
        local runs = executor.attach(far, {
          list = tools().list, execute = leave,
        })
        local _, why = near:tool():execute { name = "t" }
        assert_brief(why)
        link.settle()
        assert.equal(0, runs._live)
      end)
    end)
  end
end)

describe("a stream", function()
  for way, leave in pairs(WAYS) do
    it(("ends when its adapter %s"):format(way), function()
      with_pair(function(near, far)
        link.host.on_error = function() end
        local server = aw.provider.attach(far, {
          name = "m", api = "m", stream = leave,
        })
        local message, why = near:provider():complete {
          model = "m/m/m", messages = {},
        }
        if not message then
          assert_brief(why)
        end
        link.settle()
        assert.equal(0, server:stats().active)
      end)
    end)
  end
end)

describe("a scope of tools", function()
  it("executes while its source is silent about its list", function()
    with_pair(function(near, far)
      local source = tools()
      source.list = function()
        task.sleep(60000)
      end
      executor.attach(far, source)
      local listing = task.spawn(near:tool().list, near:tool())
      link.settle()
      assert.equal("r", assert(near:tool():execute { name = "t" }).parts[1].text)
      listing:cancel("enough")
    end)
  end)

  for way, leave in pairs(WAYS) do
    it(("goes on when its source's list %s"):format(way), function()
      with_pair(function(near, far)
        link.host.on_error = function() end
        executor.attach(far, { list = leave, execute = tools().execute })
        for _ = 1, 10 do
          local list, why, code = near:tool():list()
          assert.is_nil(list)
          assert.equal("internal_error", code)
          assert_brief(why)
        end
      end)
    end)

    it(("tells in one line that a listener of updates %s"):format(way),
      function()
        with_pair(function(near, far)
          executor.attach(far, registry.new():add {
            name = "t", handler = function(_, call)
              call:update(1)
              link.settle()
              return "r"
            end,
          })
          local result, why = near:tool():execute {
            name = "t", on_update = leave,
          }
          if not result then
            assert_brief(why)
          end
        end)
      end)
  end
end)
