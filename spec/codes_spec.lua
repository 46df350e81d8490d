-- A failure keeps its code on its way through the parts.
local aw = require("agentwire")
local link = require("spec.support.link")

local USER = { { role = "user", content = "x" } }

-- A client of an agent, whose provider is behind another connection, whose
-- server relays a third one: what fails there is told here.
local function with(adapter, body, window_ms)
  link.run(function()
    aw.log.set(function() end)
    local models = assert(aw.serve { listen = "ws://127.0.0.1:0",
      provider = adapter, window_ms = window_ms })
    local upstream = assert(aw.connect(models.url, {
      reconnect = { min_ms = 1, max_ms = 20 },
    }))
    local relay = assert(aw.serve { listen = "ws://127.0.0.1:0",
      provider = upstream:provider() })
    local middle = assert(aw.connect(relay.url))
    local agents = assert(aw.serve { listen = "ws://127.0.0.1:0",
      agent = aw.agent.service { provider = middle:provider(),
        model = "m/m" } })
    local conn = assert(aw.connect(agents.url))
    body(conn, models, middle)
    for _, each in ipairs { conn, middle, upstream } do
      each:close()
    end
    for _, each in ipairs { agents, relay, models } do
      each:close()
    end
    aw.log.set(nil)
  end)
end

local function failing(code)
  return { name = "m", api = "m", stream = function()
    return nil, "it failed", code
  end }
end

describe("a failure's code", function()
  for _, code in ipairs { "provider_error", "rate_limited", "overloaded",
    "model_not_found", "unauthenticated", "limit", "lost", "timeout" } do
    it("is the same for who prompts: " .. code, function()
      with(failing(code), function(conn, _, middle)
        local session = assert(conn:agent():start {})
        for _ in session:prompt("x") do
          aw.task.yield()
        end
        assert.equal(code, select(3, session:result(5000)))
        assert.equal(code, select(3, middle:provider():start_stream {
          model = "m/m", messages = USER,
        }:result(5000)))
      end)
    end)
  end

  it("is lost when the model's server never comes back", function()
    with({ name = "m", api = "m", stream = function(_, _, emit)
      emit { type = "text_start", content_index = 0 }
      aw.sleep(60000)
    end }, function(conn, models)
      local session = assert(conn:agent():start {})
      for event in session:prompt("x") do
        if event.type == "message_update" then
          models:close()
        end
      end
      local _, message, code = session:result(5000)
      assert.equal("lost", code)
      assert.truthy(message)
    end, 50)
  end)
end)

describe("tostring", function()
  it("says what it is, which, and how it is", function()
    with({ name = "m", api = "m", stream = function(_, _, emit)
      emit { type = "text_start", content_index = 0 }
    end }, function(conn, models, middle)
      local stream = assert(middle:provider():start_stream {
        model = "m/m", messages = USER,
      })
      assert.equal("stream " .. stream.id .. " of m (running)",
        tostring(stream))
      stream:result()
      assert.equal("stream " .. stream.id .. " of m (ended)", tostring(stream))
      local session = assert(conn:agent():start {})
      assert.equal("session " .. session.id .. " (idle)", tostring(session))
      session:prompt("x")
      assert.equal("session " .. session.id .. " (busy)", tostring(session))
      session:close()
      assert.equal("session " .. session.id .. " (ended)", tostring(session))
      assert.truthy(tostring(conn):find("^connection to 127"))
      assert.truthy(tostring(models):find("^server ws://127"))
      assert.equal("provider client of " .. tostring(middle),
        tostring(middle:provider()))
      assert.equal("agent client of " .. tostring(conn),
        tostring(conn:agent()))
      assert.equal("tool client of " .. tostring(conn), tostring(conn:tool()))
      local near = aw.pair()
      local execution = assert(near:tool():start { name = "t" })
      assert.equal("execution " .. execution.id .. " of t (running)",
        tostring(execution))
      near:close()
    end)
  end)
end)
