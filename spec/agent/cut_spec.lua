-- What an agent makes of messages that did not end well: half a call is none.
local link = require("spec.support.link")
local loop = require("agentwire.agent.loop")
local registry = require("agentwire.tool.registry")
local script = require("spec.support.script")

local say = script.say

--- Prompts an agent that has a tool `rm`, whose provider plays `turns`.
local function prompt(turns, body)
  link.run(function()
    local ran = {}
    local tools = registry.new():add {
      name = "rm",
      handler = function(args)
        ran[#ran + 1] = args.path or "/"
        return "gone"
      end,
    }
    local adapter = script.adapter(turns)
    local client, connection = script.client(adapter)
    local agent = loop.new { provider = client, model = "script/tiny",
      tools = tools }
    local result = assert(agent:prompt("go"))
    body(result, ran, agent, adapter)
    connection:close()
  end)
end

local function cut(stop_reason, incomplete)
  local message = say("Let me.", { "c1", "rm", incomplete and '{"pa' or "{}" })
  message.stop_reason = stop_reason
  message.content[2].incomplete = incomplete
  return message
end

describe("a cut tool call", function()
  it("is not executed with the arguments that came, nor with none", function()
    prompt({ cut("tool_use", true), say("Sorry.") }, function(result, ran, agent)
      assert.same({}, ran)
      assert.equal("Sorry.", result.text)
      local answer = agent.messages[3]
      assert.is_true(answer.is_error)
      assert.matches("not executed: its arguments are not complete",
        answer.content[1].text)
      assert.equal("{}", agent.messages[2].content[2].arguments_json)
    end)
  end)

  for _, reason in ipairs { "length", "refusal", "content_filter" } do
    it("is not executed though it reads well, where the message ended by "
      .. reason, function()
      prompt({ cut(reason) }, function(_, ran, agent)
        assert.same({}, ran)
        assert.matches("^not executed: ", agent.messages[3].content[1].text)
      end)
    end)
  end

  it("lets the model go on after the length limit", function()
    prompt({ cut("length"), say("Shorter.") }, function(result, _, _, adapter)
      assert.equal("Shorter.", result.text)
      assert.equal(2, #adapter.seen)
    end)
  end)
end)

describe("a message that ended by", function()
  it("pause is sent back as it is, within the limit of turns", function()
    local paused = say("Searching.")
    paused.stop_reason = "pause"
    prompt({ paused, say("Found.") }, function(result, _, _, adapter)
      assert.equal("Found.", result.text)
      assert.equal("stop", result.stop_reason)
      local back = adapter.seen[2].context.messages
      assert.equal("Searching.", back[#back].content[1].text)
    end)
  end)

  it("refusal ends the run with that reason", function()
    local refused = say("No.")
    refused.stop_reason = "refusal"
    prompt({ refused }, function(result, _, _, adapter)
      assert.equal("refusal", result.stop_reason)
      assert.equal(1, #adapter.seen)
    end)
  end)
end)
