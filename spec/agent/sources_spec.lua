-- Tool sources that fail, hang or lie: each decides about its own tools alone.
local link = require("spec.support.link")
local loop = require("agentwire.agent.loop")
local registry = require("agentwire.tool.registry")
local script = require("spec.support.script")
local task = require("agentwire.task")

local say = script.say

local function own()
  return registry.new():add { name = "own", handler = function()
    return "o"
  end }
end

local function source(list)
  return { name = "far", list = list, execute = function() end }
end

local function names_of(tools)
  local names = {}
  for index, tool in ipairs(tools) do
    names[index] = tool.name
  end
  return table.concat(names, " ")
end

local BROKEN = {
  ["is closed"] = function()
    return nil, "the scope is closed", "closed"
  end,
  ["is silent"] = function()
    task.sleep(60000)
  end,
  ["raises"] = function()
    error("no")
  end,
  ["yields by hand"] = function()
    coroutine.yield()
  end,
  ["returns nothing"] = function() end,
  ["returns text"] = function()
    return "tools"
  end,
  ["lists what is none"] = function()
    return { 7, {}, { name = "" } }
  end,
}

describe("a tool source", function()
  local function with_loop(sources, body)
    link.run(function()
      local adapter = script.adapter { say("one"), say("two"), say("three") }
      local client, connection = script.client(adapter)
      local told = {}
      body(loop.new {
        provider = client, model = "m", tools = sources,
        tools_timeout_ms = 100,
        on_event = function(event)
          if event.type:find("^tool_source") then
            told[#told + 1] = event
          end
        end,
      }, adapter, told)
      connection:close()
    end)
  end

  for way, list in pairs(BROKEN) do
    it(("that %s takes no other's tools away"):format(way), function()
      with_loop({ source(list), own() }, function(agent, adapter, told)
        local start = link.host:now()
        assert.equal("one", assert(agent:prompt("go")).text)
        assert.is_true(link.host:now() - start < 5000)
        assert.equal("own", names_of(adapter.seen[1].context.tools))
        assert.equal("two", assert(agent:prompt("go")).text)
        if way ~= "lists what is none" then
          assert.equal(1, #told)
          assert.equal("tool_source_out", told[1].type)
          assert.equal("far", told[1].source)
          assert.is_string(told[1].message)
          assert.is_string(told[1].code)
        end
      end)
    end)

    it(("that %s is stood in for by its last list"):format(way), function()
      local working = true
      with_loop({ own(), source(function()
        if working then
          return { { name = "far" } }
        end
        return list()
      end) }, function(agent, adapter, told)
        assert(agent:prompt("go"))
        working = false
        assert(agent:prompt("go"))
        if way ~= "lists what is none" then
          assert.equal("own far", names_of(adapter.seen[2].context.tools))
          working = true
          assert(agent:prompt("go"))
          assert.equal("tool_source_back", told[2].type)
        end
      end)
    end)
  end

  it("is asked at the same time as the others", function()
    local function slow(name)
      return source(function()
        task.sleep(60)
        return { { name = name } }
      end)
    end
    with_loop({ slow("a"), slow("b"), slow("c") }, function(agent, adapter)
      assert(agent:prompt("go"))
      assert.equal("a b c", names_of(adapter.seen[1].context.tools))
    end)
  end)

  it("that is out leaves a client's session its other tools", function()
    link.run(function()
      local client, model = script.client(script.adapter { say("ok") })
      local near, far = link.pair()
      local aw = require("agentwire")
      aw.agent.attach(far, aw.agent.service { provider = client, model = "m" })
      local session = assert(near:agent():start {
        tools = { source(BROKEN["is closed"]), own() },
      })
      assert.equal("own", names_of(assert(session:tools())))
      near:close()
      model:close()
    end)
  end)
end)
