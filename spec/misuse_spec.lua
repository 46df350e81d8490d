-- Misuse is told to the caller; the process never dies of it.
local aw = require("agentwire")
local link = require("spec.support.link")
local process = require("spec.support.process")

describe("misuse", function()
  after_each(process.stop_all)

  for seed = 1, 8 do
    it("of the core by chance does not end the process, seed " .. seed,
      function()
        local small = os.getenv("AW_SMALL") == "1"
        local child = process.lua("spec/support/misuse.lua", seed,
          small and 500 or 4000)
        local line = child:line()
        assert.equal("alive", line, child:errors())
        assert.equal(0, child:wait())
      end)
  end

  for what, case in pairs {
    ["connecting outside of a task"] = { function()
      aw.connect("ws://127.0.0.1:1")
    end, "call it inside agentwire.run" },
    ["connecting to nothing"] = { function()
      aw.connect()
    end, "connect expects a URL" },
    ["listening nowhere"] = { function()
      aw.listen({}, print)
    end, "listen expects a URL, or stdio = true" },
    ["listening for nobody"] = { function()
      aw.listen("ws://127.0.0.1:0")
    end, "listen expects a function" },
    ["serving nowhere"] = { function()
      aw.serve {}
    end, "serve expects listen = URL, or stdio = true" },
    ["serving nothing"] = { function()
      aw.serve()
    end, "serve expects listen = URL, or stdio = true" },
    ["options that are none"] = { function()
      aw.connect("ws://127.0.0.1:1", "token")
    end, "options: expected a table, got a string" },
    ["a token that is no text"] = { function()
      aw.connect("ws://127.0.0.1:1", { token = {} })
    end, "option token: expected a string" },
    ["a policy that is none"] = { function()
      aw.connect("ws://127.0.0.1:1", { reconnect = 5 })
    end, "option reconnect: expected true or false, or a table, got the number 5" },
    ["TLS options that are none"] = { function()
      aw.connect("wss://127.0.0.1:1", { tls = "ca.pem" })
    end, "option tls: expected a table" },
    ["serving tools that are none"] = { function()
      aw.serve { listen = "ws://127.0.0.1:0", tools = "all" }
    end, "option tools: expected a tool source" },
    ["serving an agent that is none"] = { function()
      aw.serve { listen = "ws://127.0.0.1:0", agent = "me" }
    end, "option agent: expected an agent service" },
    ["a listener that is no function"] = { function()
      aw.pair():on_state("open")
    end, "on_state: fn: expected a function, got a string" },
    ["a handler that is no function"] = { function()
      aw.pair():serve("provider")
    end, "serve: handler: expected a function, got nothing" },
    ["a kind that is none"] = { function()
      aw.pair():serve("define", print)
    end, "serve: kind: expected one of provider, agent, tool" },
    ["a size that is none"] = { function()
      aw.listen({ url = "ws://127.0.0.1:0", log_bytes = 0 / 0 }, print)
    end, "option log_bytes: expected an integer" },
    ["a text with a zero byte"] = { function()
      aw.listen({ url = "ws://127.0.0.1:0\0x" }, print)
    end, "option url: contains a zero byte" },
  } do
    it("by " .. what .. " is told", function()
      local ok, message
      if what:find("outside", 1, true) then
        ok, message = pcall(case[1])
      else
        link.run(function()
          ok, message = pcall(case[1])
        end)
      end
      assert.is_false(ok)
      assert.truthy(tostring(message):find(case[2], 1, true), message)
    end)
  end
end)

-- Each line is noted once, so that what is asked often costs nothing; a program
-- that makes its code as it goes would have them noted without end.
local MANY_LINES = [[
  local task = require("agentwire").task
  local function ask(line)
    return pcall(load(("\n"):rep(line) .. "local t = ...\n"
      .. "return t.nothing and t.nothing()"), task)
  end
  local function call(line)
    return select(2, pcall(load(("\n"):rep(line)
      .. "local t = ...\nreturn t.nothing()"), task))
  end
  assert(call(5000):find("aw.task has no nothing", 1, true), call(5000))
  for line = 1, 1010 do
    assert(ask(line))
  end
  assert(not call(5001):find("aw.task has no", 1, true))
  assert(ask(5002))
  print("done")
]]

describe("a member that is not there", function()
  after_each(process.stop_all)

  it("is looked for in a thousand lines, and no longer", function()
    local child = process.run_text(MANY_LINES)
    assert.equal("done", child:line(), child:errors())
    child:wait()
  end)
end)
