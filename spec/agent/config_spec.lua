-- What a session is asked for: at the client by name and kind, at the server
-- as data of a peer.
local aw = require("agentwire")
local json = require("agentwire.json")
local link = require("spec.support.link")
local script = require("spec.support.script")

local function with_service(body)
  link.run(function()
    local client, model = script.client(script.adapter { script.say("ok") })
    local near, far = link.pair()
    aw.agent.attach(far, aw.agent.service { provider = client, model = "m" })
    body(near)
    near:close()
    model:close()
  end)
end

local WRONG = {
  { { max_turns = "5" }, "max_turns" },
  { { max_turns = 0 }, "max_turns" },
  { { max_turns = -5 }, "max_turns" },
  { { max_turns = 2.5 }, "max_turns" },
  { { model = 7 }, "model" },
  { { model = "" }, "model" },
  { { model = json.array { 1 } }, "model" },
  { { tools = "all" }, "tools" },
  { { tools = { "all" } }, "tools%[0%]" },
  { { options = "none" }, "options" },
  { { steering_mode = "some" }, "steering_mode" },
  { { follow_up_mode = 1 }, "follow_up_mode" },
}

describe("a session's config", function()
  it("is refused by the server, by the member that is wrong", function()
    with_service(function(near)
      for _, case in ipairs(WRONG) do
        local channel = assert(near:open("agent"))
        channel:send("agent_start", { config_json = json.encode(case[1]) })
        local event = assert(channel:receive(1000))
        assert.equal("agent_error", event.type)
        assert.equal("invalid_request", event.code)
        assert.matches("config_json: " .. case[2], event.message)
        channel:close()
      end
    end)
  end)

  it("may have members that this version does not know, and nulls", function()
    with_service(function(near)
      local channel = assert(near:open("agent"))
      channel:send("agent_start", { config_json =
        '{"colour":"red","max_turns":null,"model":null,"tools":null}' })
      assert.equal("agent_started", assert(channel:receive(1000)).type)
      channel:close()
      assert(near:agent():start { config = { colour = "red" } })
    end)
  end)

  it("is checked by the client, at the caller's line", function()
    with_service(function(near)
      local CASES = {
        { { config = { max_turns = "5" } }, "option max_turns: expected" },
        { { config = { maxTurns = 2 } }, "did you mean max_turns" },
        { { config = { steering_mode = "some" } }, "one of all" },
        { { max_turns = 5 }, "max_turns; it belongs in config" },
      }
      for _, case in ipairs(CASES) do
        assert.error_matches(function()
          near:agent():start(case[1])
        end, case[2])
      end
    end)
  end)
end)
