-- What comes into a conversation can be sent to a provider again: calls have
-- ids of their own, arguments are objects, nothing is empty or broken.
local compat = require("agentwire._compat")
local json = require("agentwire.json")
local link = require("spec.support.link")
local loop = require("agentwire.agent.loop")
local registry = require("agentwire.tool.registry")
local script = require("spec.support.script")
local task = require("agentwire.task")

local say = script.say

local function echo_tools(seen)
  return registry.new():add { name = "t", handler = function(args, call)
    seen[#seen + 1] = call.tool_call_id .. json.encode(args)
    return "r" .. #seen
  end }
end

--- Runs `body(agent, adapter, seen)`; `seen` has the calls that were executed.
local function with_agent(turns, options, body)
  link.run(function()
    local adapter, seen = script.adapter(turns), {}
    local client, connection = script.client(adapter)
    options.provider, options.model = options.provider or client, "script/tiny"
    options.tools = options.tools or echo_tools(seen)
    body(loop.new(options), adapter, seen, client)
    connection:close()
  end)
end

local function last_messages(adapter)
  return adapter.seen[#adapter.seen].context.messages
end

--- A turn that streams one call, `e` being its toolcall_end's members.
local function call_turn(start_id, deltas, ending)
  return function(_, emit)
    emit { type = "toolcall_start", content_index = 0, id = start_id,
      name = "t" }
    for _, delta in ipairs(deltas) do
      emit { type = "toolcall_delta", content_index = 0, delta = delta }
    end
    ending.type, ending.content_index = "toolcall_end", 0
    emit(ending)
    return { stop_reason = "tool_use" }
  end
end

describe("a call's id", function()
  local function ids_of(messages)
    local ids, count = {}, 0
    for _, message in ipairs(messages) do
      if message.role == "tool" then
        assert.is_nil(ids[message.tool_call_id])
        ids[message.tool_call_id] = true
        count = count + 1
      end
    end
    return count
  end

  local CASES = {
    ["none, in two runs"] = { { "" }, false, { "" }, false },
    ["one for two calls"] = { { "d", "d" }, false },
    ["one in two turns"] = { { "d" }, { "d" }, false },
    ["a given one that looks made"] = { { "", "call_1" }, { "call_2" }, false },
    ["a made one before a given one"] = { { "" }, { "call_1", "" }, false },
  }
  for name, plan in pairs(CASES) do
    it("is unlike all others of the conversation: " .. name, function()
      local turns, wanted, runs = {}, 0, 0
      for index, ids in ipairs(plan) do
        local calls = {}
        for at, id in ipairs(ids or {}) do
          calls[at] = { id, "t" }
          wanted = wanted + 1
        end
        turns[index] = ids and say(nil, compat.unpack(calls)) or say("done")
        runs = runs + (ids and 0 or 1)
      end
      with_agent(turns, {}, function(agent, _, seen)
        for _ = 1, runs do
          assert(agent:prompt("go"))
        end
        assert.equal(wanted, ids_of(agent.messages))
        assert.equal(wanted, #seen)
      end)
    end)
  end

  it("is unlike those of a conversation that is gone on with", function()
    local before = {
      { role = "user", content = "hi" },
      say(nil, { "call_1", "t" }, { "call_2", "t" }),
      { role = "tool", tool_call_id = "call_1", content = {} },
      { role = "tool", tool_call_id = "call_2", content = {} },
    }
    with_agent({ say(nil, { "", "t" }), say("ok") }, { messages = before },
      function(agent)
        assert(agent:prompt("go"))
        assert.equal(3, ids_of(agent.messages))
      end)
  end)
end)

describe("a call's arguments", function()
  local CASES = {
    ["absent"] = { {}, nil, "{}" },
    ["empty"] = { {}, "", "{}" },
    ["blank"] = { {}, " \n", "{}" },
    ["null"] = { {}, "null", "{}" },
    ["a JSON null"] = { {}, json.null, "{}" },
    ["an empty list"] = { {}, "[]", "{}" },
    ["deltas alone"] = { { '{"n"', ":7}" }, nil, '{"n":7}' },
    ["deltas and a blank end"] = { { '{"n":7}' }, "", '{"n":7}' },
    ["whole beside deltas"] = { { '{"n":' }, '{"n":8}', '{"n":8}' },
  }
  for name, case in pairs(CASES) do
    it("are an object: " .. name, function()
      local turns = {
        call_turn("a", case[1], { id = "", arguments_json = case[2] }),
        say("ok"),
      }
      with_agent(turns, {}, function(agent, adapter, seen)
        assert.equal("ok", assert(agent:prompt("go")).text)
        assert.same({ "a" .. case[3] }, seen)
        assert.equal(case[3],
          last_messages(adapter)[2].content[1].arguments_json)
      end)
    end)
  end

  it("that are no JSON are told to the model, and leave no trace that a "
    .. "provider would refuse", function()
    local cut = call_turn("a", {}, { arguments_json = '{"path": "/tm' })
    with_agent({ cut, say("ok") }, {}, function(agent, adapter, seen)
      assert.equal("ok", assert(agent:prompt("go")).text)
      assert.same({}, seen)
      local messages = last_messages(adapter)
      assert.equal("{}", messages[2].content[1].arguments_json)
      assert.is_true(messages[3].is_error)
      assert.matches('malformed arguments: .*"/tm', messages[3].content[1].text)
    end)
  end)

  it("that are no object are the tool's to refuse, and leave no trace",
    function()
      local odd = call_turn("a", {}, { arguments_json = '"text"' })
      with_agent({ odd, say("ok") }, {}, function(agent, adapter)
        assert.equal("ok", assert(agent:prompt("go")).text)
        local messages = last_messages(adapter)
        assert.equal("{}", messages[2].content[1].arguments_json)
        assert.matches("expected object", messages[3].content[1].text)
      end)
    end)

  it("may lack in a message that was returned whole", function()
    local turns = { function()
      return { content = { { type = "tool_call", name = "t" } } }
    end, say("ok") }
    with_agent(turns, {}, function(agent, _, seen)
      assert.equal("ok", assert(agent:prompt("go")).text)
      assert.same({ "call_1{}" }, seen)
    end)
  end)
end)

describe("an empty block", function()
  it("is not kept, nor a message of nothing else", function()
    local turns = {
      say(""), say(" ", { "a", "t" }), say("ok"),
    }
    with_agent(turns, {}, function(agent, adapter)
      assert(agent:prompt("one"))
      assert.equal(1, #agent.messages)
      assert(agent:prompt("two"))
      local messages = last_messages(adapter)
      assert.equal(4, #messages)
      assert.equal(1, #messages[3].content)
      assert.equal("tool_call", messages[3].content[1].type)
    end)
  end)
end)

describe("a prompt", function()
  local BAD = {
    ["is no UTF-8"] = "caf\233",
    ["is empty"] = "",
    ["is blank"] = " \n",
    ["has no parts"] = { role = "user", content = {} },
    ["has empty parts"] = { content = { { type = "text", text = "" } } },
    ["has a broken part"] = { content = { { type = "image" } } },
    ["has content of no kind"] = { content = 7 },
    ["is another's"] = { role = "assistant", content = "hi" },
    ["is one bad of two"] = { "good", "caf\233" },
  }
  for name, prompt in pairs(BAD) do
    it(("that %s is refused at the door"):format(name), function()
      with_agent({ say("ok") }, {}, function(agent)
        local result, why, code = agent:prompt(prompt)
        assert.is_nil(result)
        assert.is_string(why)
        assert.equal("invalid_request", code)
        if name ~= "is one bad of two" then
          assert.equal("invalid_request", select(3, agent:steer(prompt)))
          assert.equal("invalid_request", select(3, agent:follow_up(prompt)))
        end
        assert.equal("ok", assert(agent:prompt("good")).text)
        assert.equal(2, #agent.messages)
      end)
    end)
  end

  it("of any other type is misuse", function()
    with_agent({}, {}, function(agent)
      for _, prompt in ipairs { 7, true, print } do
        assert.error_matches(function()
          agent:prompt(prompt)
        end, "prompt: expected text, a message or a list")
      end
    end)
  end)
end)

describe("a conversation to go on with", function()
  local BAD = {
    ["no list"] = { { role = "user", content = "x" }, "expected a list" },
    ["one that cannot be sent"] =
      { { { role = "user", content = "caf\233" } }, "message 1: .*UTF%-8" },
    ["one of no role"] =
      { { { content = "x" } }, "message 1: unknown message role" },
    ["a result of no call"] =
      { { { role = "tool", content = {} } }, "message 1: .*tool_call_id" },
  }
  for name, case in pairs(BAD) do
    it("is looked through: " .. name, function()
      with_agent({}, {}, function(_, _, _, client)
        assert.error_matches(function()
          loop.new { provider = client, model = "m", messages = case[1] }
        end, "option messages: " .. case[2])
      end)
    end)
  end
end)

describe("a conversation that was cut off", function()
  it("is mended: calls get results, empty blocks go", function()
    local before = {
      { role = "user", content = "one" }, say(""), { role = "user",
        content = "two" }, say(" ", { "a", "t" }, { "b", "t" }, { "c", "t" }),
      { role = "tool", tool_call_id = "b", content = {} },
      { role = "user", content = "three" }, say("x", { "d", "t" }),
    }
    with_agent({ say("ok") }, { messages = before }, function(agent, adapter)
      assert.equal("ok", assert(agent:prompt("go")).text)
      local roles = {}
      for index, message in ipairs(last_messages(adapter)) do
        roles[index] = message.role .. (message.tool_call_id or "")
          .. (message.is_error and "!" or "")
      end
      assert.equal("user user assistant toolb toola! toolc! user assistant "
        .. "toold! user", table.concat(roles, " "))
      assert.equal(3, #last_messages(adapter)[3].content)
    end)
  end)
end)

describe("a tool source", function()
  local NONSENSE = {
    ["a string"] = "text",
    ["no parts"] = {},
    ["parts that are none"] = { parts = { 7 } },
    ["parts of no UTF-8"] = { parts = { { type = "text", text = "\255" } } },
    ["an image without data"] = { parts = { { type = "image" } } },
  }
  for name, result in pairs(NONSENSE) do
    it("that gives nonsense is an error to the model: " .. name, function()
      local source = {
        list = function()
          return { { name = "t" } }
        end,
        execute = function()
          return result
        end,
      }
      with_agent({ say(nil, { "a", "t" }), say("ok") }, { tools = source },
        function(agent)
          assert.equal("ok", assert(agent:prompt("go")).text)
          assert.is_true(agent.messages[3].is_error)
        end)
    end)
  end
end)

describe("a run", function()
  it("goes on when a tool source yields by hand", function()
    local source = {
      list = function()
        return { { name = "t" } }
      end,
      execute = function()
        coroutine.yield()
      end,
    }
    with_agent({ say(nil, { "a", "t" }), say("ok") }, { tools = source },
      function(agent)
        assert.equal("ok", assert(agent:prompt("go")).text)
        assert.matches("coroutine.yield", agent.messages[3].content[1].text)
      end)
  end)

  for _, at in ipairs { "agent_start", "message_start", "message_end",
    "turn_start", "message_update", "tool_execution_start",
    "tool_execution_end", "turn_end", "agent_end" } do
    it("ends in order when a listener yields by hand at " .. at, function()
      local open = {}
      with_agent({ say("x", { "a", "t" }), say("ok") }, {
        on_event = function(event)
          local what, part = event.type:match("^(.*)_(%l+)$")
          if part == "start" or part == "end" then
            open[what] = (open[what] or 0) + (part == "start" and 1 or -1)
          end
        end,
      }, function(agent)
        link.host.on_error = function() end
        local left = true
        agent:subscribe(function(event)
          if event.type == at and left then
            left = false
            coroutine.yield()
          end
        end)
        local _, why, code = agent:prompt("go")
        if code then
          assert.equal("internal_error", code)
          assert.is_nil(why:find("\n"))
        end
        for what, count in pairs(open) do
          assert.equal(0, count, what)
        end
        assert.equal(1, agent._listeners:count())
        assert(agent:prompt("again"))
      end)
    end)
  end
end)

describe("a conversation that is too large to be sent", function()
  --- A client of a provider that takes requests up to `limit` bytes.
  local function narrow(client, limit)
    return {
      start_stream = function(_, request)
        local size = #json.encode(request.messages)
        if size > limit then
          return nil, ("the message has %d bytes"):format(size), "limit"
        end
        return client:start_stream(request)
      end,
    }
  end

  local function with_large(limit, body)
    local tools = registry.new():add { name = "t", handler = function(args)
      return ("x"):rep(args.size)
    end }
    local turns = {
      say(nil, { "small", "t", '{"size":2000}' },
        { "large", "t", '{"size":50000}' }, { "mid", "t", '{"size":9000}' }),
      say("ok"), say("again"),
    }
    local events = {}
    with_agent(turns, { tools = tools, on_event = function(event)
      events[#events + 1] = event
    end }, function(agent, adapter, _, client)
      agent._provider = narrow(client, limit)
      body(agent, adapter, events)
    end)
  end

  it("is sent with notes in place of its largest tool results", function()
    with_large(20000, function(agent, adapter, events)
      assert.equal("ok", assert(agent:prompt("go")).text)
      local messages = last_messages(adapter)
      assert.equal(2000, #messages[3].content[1].text)
      assert.matches("50000 bytes were left out", messages[4].content[1].text)
      assert.equal(9000, #messages[5].content[1].text)
      local told
      for _, event in ipairs(events) do
        told = event.type == "results_left_out" and event or told
      end
      assert.same({ "large" }, { told.tool_call_ids[1] })
      assert.equal("again", assert(agent:prompt("more")).text)
    end)
  end)

  it("fails with limit where that does not help, and is as before", function()
    with_large(10, function(agent)
      local _, _, code = agent:prompt("go")
      assert.equal("limit", code)
      assert.equal(0, #agent.messages)
    end)
  end)

  it("goes on without a prompt that was too large for it", function()
    with_large(4000, function(agent, adapter)
      adapter.seen[1] = {} -- the turn that calls
      assert.equal("ok", assert(agent:prompt("go")).text)
      local before = #agent.messages
      assert.equal("limit", select(3, agent:prompt(("x"):rep(5000))))
      assert.equal(before, #agent.messages)
      assert.equal("again", assert(agent:prompt("more")).text)
    end)
  end)
end)

describe("the cost of a run", function()
  local function costly(how)
    return function(_, emit, call)
      call.usage = { input = 11, output = 3 }
      emit { type = "text_start", content_index = 0 }
      emit { type = "text_delta", content_index = 0, delta = "x" }
      return how()
    end
  end

  it("is known of one that was cancelled", function()
    local turns = { costly(function()
      task.sleep(60000)
    end) }
    with_agent(turns, {}, function(agent)
      local running = task.spawn(agent.prompt, agent, "go")
      link.eventually(function()
        return agent._run and agent._run._message_open
      end)
      agent:cancel("enough")
      local result = assert(running:join(2000))
      assert.equal(11, result.usage.input)
      assert.equal(3, result.usage.output)
      assert.equal(11, agent.messages[2].usage.input)
    end)
  end)

  it("is known of one that failed", function()
    local turns = { costly(function()
      return nil, "down", "overloaded"
    end) }
    with_agent(turns, {}, function(agent)
      local run = assert(agent:begin("go"))
      assert.equal("overloaded", select(3, run:execute()))
      assert.equal(11, run.usage.input)
    end)
  end)
end)
