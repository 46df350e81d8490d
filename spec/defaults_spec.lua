-- What the documentation says that a limit is by default is what it is: a limit
-- that protects is no use to whoever does not know that it has moved.
local aw = require("agentwire")
local link = require("spec.support.link")

local UNITS = { KiB = 1024, MiB = 1024 * 1024 }

--- The first number behind an option's name and type in docs/api.md.
local function documented(class, option)
  local file = assert(io.open("docs/api.md"))
  local text = file:read("*a")
  file:close()
  local _, first = text:find("\n## agentwire." .. class .. "\n", 1, true)
  assert(first, "docs/api.md has no " .. class)
  local section = text:sub(first, (text:find("\n## ", first, true)))
  local said = section:match("\n%- `" .. option .. "` %w+%?(.-)\n%- ")
    or section:match("\n%- `" .. option .. "` %w+%?(.*)")
  assert(said, class .. " has no " .. option)
  local digits, unit = said:match("(%d[%d ]*)([KM]?i?B?)")
  assert(digits, option .. " of " .. class .. ": no default is told")
  return tonumber((digits:gsub(" ", ""))) * (UNITS[unit] or 1)
end

--- A world of everything, with no option given.
local function with_world(body)
  link.run(function()
    local near, far = aw.pair()
    local adapter = { name = "m", api = "m", stream = function() end }
    local pool = aw.tool.pool()
    local provider = aw.provider.loopback(adapter)
    local service = aw.agent.service { provider = provider, model = "m/m" }
    local world = {
      conn = near,
      provider = aw.provider.attach(far, adapter),
      runs = aw.tool.attach(far, aw.tool.registry(), { pool = pool }),
      pool = pool,
      service = service,
      loop = aw.agent.loop { provider = provider, model = "m/m" },
      tool = near:tool(),
      agent = near:agent(),
      models = near:provider(),
      router = aw.provider.router { adapter },
    }
    aw.agent.attach(far, service)
    world.session = assert(near:agent():start {})
    assert(near:tool():list())
    body(world)
    world.session:stop()
    near:close()
    far:wait_closed(1000)
  end)
end

-- Class and option, as documented, and where a world has it.
local CASES = {
  { "AgentClientOptions", "timeout_ms", "agent", "_timeout_ms" },
  { "AgentClientOptions", "max_ended", "agent", "_sessions", "_max_ended" },
  { "AgentClientOptions", "max_queued_events", "session", "_max_queued" },
  { "AgentLoopOptions", "max_turns", "loop", "_max_turns" },
  { "AgentLoopOptions", "max_pending_messages", "loop", "_max_pending" },
  { "AgentLoopOptions", "max_parallel_tools", "loop", "_max_parallel" },
  { "AgentLoopOptions", "tools_timeout_ms", "loop", "_sources", "_timeout_ms" },
  { "AgentServiceOptions", "max_sessions", "service", "_max_sessions" },
  { "AgentServiceOptions", "store_timeout_ms", "service", "_conversations",
    "_timeout_ms" },
  { "AgentStart", "max_executions", "session", "_tools", "_max" },
  { "ExecutorOptions", "max_executions", "runs", "_max_executions" },
  { "ExecutorOptions", "max_finished", "runs", "_max_finished" },
  { "ExecutorOptions", "max_finished_bytes", "runs", "_max_finished_bytes" },
  { "ProviderClientOptions", "max_ended", "models", "_streams", "_max_ended" },
  { "ProviderServerOptions", "max_streams", "provider", "_max_streams" },
  { "RouterOptions", "models_timeout_ms", "router", "_models_timeout_ms" },
  { "ToolClientOptions", "timeout_ms", "tool", "_timeout_ms" },
  { "ToolClientOptions", "max_open", "tool", "_calls", "_max_open" },
  { "ToolClientOptions", "max_updates", "tool", "_calls", "_max_updates" },
  { "ToolClientOptions", "grace_ms", "tool", "_calls", "_grace_ms" },
  { "ToolPoolOptions", "max_tools", "pool", "_max_tools" },
}

describe("a documented default is the one that holds:", function()
  for _, case in ipairs(CASES) do
    it(case[2] .. " of " .. case[1], function()
      with_world(function(world)
        local value = world
        for index = 3, #case do
          value = value[case[index]]
          assert(value ~= nil, "the world has no " .. case[index])
        end
        assert.equal(documented(case[1], case[2]), value)
      end)
    end)
  end
end)

describe("a limit of the core", function()
  local limits = require("agentwire.core").limits

  for name, limit in pairs(limits) do
    it("is documented with its default: " .. name, function()
      assert.equal(documented("Limits", name), limit.default)
    end)

    it("is taken up to its most, and no further: " .. name, function()
      link.run(function()
        local near, far = aw.pair { [name] = limit.most }
        near:close()
        far:close()
        assert.error_matches(function()
          aw.pair { [name] = limit.most + 1 }
        end, name .. ": expected an integer from 0 to")
      end)
    end)
  end

  it("is there for each that is documented", function()
    local file = assert(io.open("docs/api.md"))
    local text = file:read("*a")
    file:close()
    local section = text:match("\n## agentwire%.Limits\n(.-)\n## ")
    local count = 0
    for name in section:gmatch("\n%- `([%w_]+)`") do
      assert.truthy(limits[name], name)
      count = count + 1
    end
    assert.truthy(count > 10)
  end)
end)
