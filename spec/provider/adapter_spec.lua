-- What adapters do by mistake, and what they may leave out.
local aw = require("agentwire")
local json = require("agentwire.json")
local registry = require("agentwire.tool.registry")
local router = require("agentwire.provider").router
local scripted = require("agentwire.providers.scripted")
local support = require("spec.support.provider")
local task = require("agentwire.task")

local function adapter_of(stream, more)
  local adapter = { name = "mine", api = "mine-api", stream = stream }
  for name, value in pairs(more or {}) do
    adapter[name] = value
  end
  return adapter
end

local function complete(client)
  return client:complete { model = "m", messages = {} }
end

describe("an adapter", function()
  local MISFITS = {
    ["a string"] = { "Hi", "returned a string" },
    ["a number"] = { 7, "returned the number 7" },
    ["true"] = { true, "returned true" },
    ["nothing"] = { nil, "returned nothing and has emitted nothing" },
    ["false"] = { false, "returned nothing and has emitted nothing" },
  }
  for name, case in pairs(MISFITS) do
    it(("that returns %s is told so"):format(name), function()
      support.with(adapter_of(function()
        return case[1]
      end), function(client)
        local message, why, code = complete(client)
        assert.is_nil(message)
        assert.matches(case[2], why)
        assert.equal("internal_error", code)
        assert.matches(case[2], support.reported())
        local stream = assert(client:start_stream {
          model = "m", messages = {},
        })
        assert.matches(case[2], (select(2, stream:result(1000))))
      end)
    end)
  end

  local UNFIT = {
    { "a delta that is no text",
      { type = "text_delta", content_index = 0, delta = 5 }, "delta" },
    { "a delta in a start that has no index",
      { type = "text_start", delta = "x" }, "content_index" },
  }
  for _, case in ipairs(UNFIT) do
    it(("that emits %s is told what is wrong"):format(case[1]), function()
      support.with(adapter_of(function(_, _, emit)
        emit { type = "text_start", content_index = 0 }
        emit(case[2])
      end), function(client)
        local message, why, code = complete(client)
        assert.is_nil(message)
        assert.matches(case[2].type .. ": .*" .. case[3], why)
        assert.equal("internal_error", code)
      end)
    end)
  end

  it("may return nothing after it has emitted something", function()
    support.with(adapter_of(function(_, _, emit)
      emit { type = "text_start", content_index = 0 }
      emit { type = "text_delta", content_index = 0, delta = "Hi" }
      emit { type = "text_end", content_index = 0 }
    end), function(client)
      assert.equal("Hi", assert(complete(client)).content[1].text)
    end)
  end)

  it("may leave out what its call's start has said", function()
    support.with(adapter_of(function(_, _, emit)
      emit { type = "toolcall_start", content_index = 0, id = "c", name = "n" }
      emit { type = "toolcall_delta", content_index = 0, delta = '{"a":' }
      emit { type = "toolcall_delta", content_index = 0, delta = "1}" }
      emit { type = "toolcall_end", content_index = 0 }
      emit { type = "toolcall_start", content_index = 1, name = "" }
      emit { type = "toolcall_end", content_index = 1,
        arguments_json = json.null }
    end), function(client)
      local stream = assert(client:start_stream { model = "m", messages = {} })
      local ends = {}
      for event in stream:events() do
        if event.type == "toolcall_end" then
          ends[#ends + 1] = event
        end
      end
      assert.equal("c", ends[1].id)
      assert.equal("n", ends[1].name)
      assert.equal('{"a":1}', ends[1].arguments_json)
      assert.equal("{}", ends[2].arguments_json)
      local message = assert(stream:result())
      assert.equal('{"a":1}', message.content[1].arguments_json)
      assert.equal("unnamed", message.content[2].name)
    end)
  end)

  it("is asked whether it is cancelled either way", function()
    local before, after
    support.with(adapter_of(function(_, _, _, call)
      before = { call.cancelled(), call:cancelled() }
      pcall(task.sleep, 60000)
      after = { call.cancelled(), call:cancelled() }
    end), function(client)
      local stream = assert(client:start_stream { model = "m", messages = {} })
      support.settle()
      stream:abort()
      stream:result(1000)
      assert.same({ false, false }, before)
      assert.same({ true, true }, after)
    end)
  end)

  it("lists models by what they have of their own", function()
    support.with(adapter_of(function() end, { models = function()
      return { { model_id = "m", context_window = 8192 } }
    end }), function(client)
      local models = assert(client:models())
      assert.equal("mine", models[1].provider_id)
      assert.equal("mine-api", models[1].api)
      assert.equal("m", models[1].model_id)
      assert.equal("mine/mine-api@m", models[1].model_ref)
    end)
  end)

  local LISTS = {
    ["raises"] = function()
      error("no list")
    end,
    ["returns nothing"] = function() end,
    ["returns text"] = function()
      return "m"
    end,
    ["lists what is none"] = function()
      return { { name = "m" } }
    end,
    ["fails"] = function()
      return nil, "down", "timeout"
    end,
    ["is silent"] = function()
      task.sleep(60000)
    end,
  }
  for way, models in pairs(LISTS) do
    it(("whose list %s hides no other's models"):format(way), function()
      local good = adapter_of(function() end, { models = function()
        return { { model_id = "m" } }
      end })
      local bad = adapter_of(function() end, { models = models })
      local both = router({ bad, good }, { models_timeout_ms = 20 })
      support.with(both, function(client)
        for _ = 1, 2 do
          assert.equal(1, #assert(client:models()))
          assert.equal(good, both:route {
            id = "m", provider = "mine", api = "",
          })
        end
      end)
      if way == "is silent" then
        return
      end
      support.with(bad, function(client)
        local list, why, code = client:models()
        assert.is_nil(list)
        assert.is_nil(why:find("[\n/]"))
        assert.is_string(code)
      end)
    end)
  end
end)

describe("a tool", function()
  it("is asked whether it is cancelled either way", function()
    local before, after
    support.run(function()
      local tools = registry.new():add {
        name = "t", timeout_ms = 5,
        handler = function(_, call)
          before = { call.cancelled(), call:cancelled() }
          pcall(task.sleep, 60000)
          after = { call.cancelled(), call:cancelled() }
        end,
      }
      assert.equal("tool_timeout", select(3, tools:execute { name = "t" }))
      support.settle()
    end)
    assert.same({ false, false }, before)
    assert.same({ true, true }, after)
  end)
end)

describe("a request", function()
  it("with messages that are no list is misuse", function()
    support.with(scripted.new(), function(client)
      for _, method in ipairs { "complete", "start_stream" } do
        assert.error_matches(function()
          client[method](client, {
            model = "m", messages = { role = "user", content = "hi" },
          })
        end, "messages: expected a list.*one message")
      end
    end)
  end)
end)

describe("options of the provider's parts", function()
  it("are known by name and kind", function()
    support.run(function()
      local client = aw.provider.loopback(scripted.new {})
      local CASES = {
        { aw.agent.loop, { porvider = client }, "did you mean provider" },
        { aw.agent.loop, { model = "m" }, "option provider" },
        { aw.agent.loop, { provider = client, max_turns = "5" },
          "max_turns: expected an integer" },
        { aw.agent.loop, { provider = client, tools = 7 }, "option tools" },
        { aw.agent.loop, { provider = client, steering_mode = "some" },
          "one of all, one_at_a_time" },
        { aw.agent.loop, { provider = client, messages = { role = "user" } },
          "option messages: expected a list" },
        { aw.providers.scripted.new, { word_delay = 1 },
          "did you mean word_delay_ms" },
        { aw.providers.scripted.new, { events = "x" }, "option events" },
        { aw.provider.router, {}, "the list is empty" },
        { aw.provider.router, { { name = "no stream" } }, "stream function" },
        { aw.provider.router, "adapter", "adapters: expected a list" },
      }
      for _, case in ipairs(CASES) do
        assert.error_matches(function()
          case[1](case[2])
        end, case[3])
      end
      client._connection:close()
    end)
  end)
end)
