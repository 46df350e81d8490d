-- An agent over a real provider's adapter; the upstream is a fake that plays
-- answers. What the second request says is what the first answer needs.
local anthropic = require("agentwire.providers.anthropic")
local json = require("agentwire.json")
local link = require("spec.support.link")
local loop = require("agentwire.agent.loop")
local registry = require("agentwire.tool.registry")
local script = require("spec.support.script")
local task = require("agentwire.task")
local transcript = require("spec.support.transcript")
local upstream = require("spec.support.upstream")

local function ending(reason)
  return { type = "message_delta", delta = { stop_reason = reason },
    usage = { output_tokens = 2 } }
end

local STOP = { type = "message_stop" }

local function block(index, given, ...)
  local list = { { type = "content_block_start", index = index,
    content_block = given } }
  for _, delta in ipairs { ... } do
    list[#list + 1] = { type = "content_block_delta", index = index,
      delta = delta }
  end
  list[#list + 1] = { type = "content_block_stop", index = index }
  return list
end

--- An answer of these events and lists of events.
local function answer(...)
  local out = { { type = "message_start", message = { id = "m",
    usage = { input_tokens = 1, output_tokens = 1 } } } }
  for _, each in ipairs { ... } do
    for _, event in ipairs(each.type and { each } or each) do
      out[#out + 1] = event
    end
  end
  return { steps = { transcript.events(out) } }
end

local CALLS = answer(block(0, { type = "thinking", thinking = "" },
  { type = "thinking_delta", thinking = "hm" },
  { type = "signature_delta", signature = "Sig==" }),
  block(1, { type = "tool_use", id = "toolu_1", name = "look", input = {} },
    { type = "input_json_delta", partial_json = '{"x":1}' }),
  ending("tool_use"), STOP)

local SAYS = answer(block(0, { type = "text", text = "Done." }), ending("end_turn"),
  STOP)

--- An agent with a tool, messages to go on with, and the fake's answers.
local function with(answers, options, body)
  link.run(function()
    local http = upstream.new(answers)
    local client, connection = script.client(anthropic.new { http = http,
      api_key = "k" })
    options.provider, options.model = client, "anthropic/claude-x"
    options.tools = registry.new():add { name = "look",
      handler = options.handler or function()
        return "seen"
      end }
    options.handler = nil
    body(loop.new(options), function(number)
      return json.decode(http.requests[number].body)
    end, http)
    connection:close()
  end)
end

local function kinds(message)
  local list = {}
  for index, each in ipairs(message.content) do
    list[index] = each.type
  end
  return table.concat(list, " ")
end

describe("an agent over an adapter", function()
  it("gives a signature back with the result of the call that followed", function()
    with({ CALLS, SAYS }, {}, function(agent, request)
      local result = assert(agent:prompt("go"))
      assert.equal("Done.", result.text)
      local messages = request(2).messages
      assert.equal("thinking tool_use", kinds(messages[2]))
      assert.equal("Sig==", messages[2].content[1].signature)
      assert.equal("seen", messages[3].content[1].content[1].text)
    end)
  end)

  it("gives it back from a conversation that was saved and loaded", function()
    local saved
    with({ CALLS, SAYS }, {}, function(agent)
      assert(agent:prompt("go"))
      saved = json.encode(agent.messages)
    end)
    with({ SAYS }, { messages = json.decode(saved) }, function(agent, request)
      assert(agent:prompt("more"))
      assert.equal("Sig==", request(1).messages[2].content[1].signature)
    end)
  end)

  it("asks well after a run that was cancelled in the middle of a call (bug 4)",
    function()
      local running
      with({ CALLS, SAYS }, { handler = function()
        running = true
        task.sleep(60000)
      end }, function(agent, request)
        local run = task.spawn(agent.prompt, agent, "go")
        repeat
          task.yield()
        until running
        agent:cancel("enough")
        run:join()
        assert.equal("Done.", assert(agent:prompt("and now?")).text)
        local messages = request(2).messages
        assert.equal("tool_use", messages[2].content[2].type)
        assert.equal("tool_result text", kinds(messages[3]))
        assert.is_true(messages[3].content[1].is_error)
      end)
    end)

  it("executes no call of an answer that was cut (bug 10)", function()
    local cut = answer(block(0, { type = "tool_use", id = "t", name = "look",
      input = {} }, { type = "input_json_delta", partial_json = '{"x' }),
      ending("max_tokens"), STOP)
    local ran = false
    with({ cut, SAYS }, { handler = function()
      ran = true
      return ""
    end }, function(agent, request)
      assert.equal("Done.", assert(agent:prompt("go")).text)
      assert.is_false(ran)
      assert.matches("not executed",
        request(2).messages[3].content[1].content[1].text)
    end)
  end)

  it("goes on after a pause with the message as it was (bug 15)", function()
    local search = { type = "server_tool_use", id = "s", name = "web_search",
      input = { query = "x" } }
    local paused = answer(block(0, search), ending("pause_turn"), STOP)
    with({ paused, SAYS }, {}, function(agent, request)
      assert.equal("Done.", assert(agent:prompt("go")).text)
      local messages = request(2).messages
      assert.equal(2, #messages)
      assert.same({ search }, messages[2].content)
    end)
  end)
end)
