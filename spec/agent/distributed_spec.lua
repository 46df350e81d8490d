local aw = require("agentwire")
local link = require("spec.support.link")
local provider_server = require("agentwire.provider.server")
local script = require("spec.support.script")
local task = require("agentwire.task")

--- A model that asks for a sum and then tells it, number by number.
local function summing(request, emit)
  local messages = request.context.messages
  local last = messages[#messages]
  if last.role ~= "tool" then
    local message = script.say("Adding", { "c1", "add", '{"a":19,"b":23}' })
    require("agentwire.provider.protocol").emit_message(message, emit)
    return message
  end
  local text = {}
  emit { type = "text_start", content_index = 0 }
  for i = 1, 400 do
    text[i] = last.content[1].text .. "/" .. i .. " "
    emit { type = "text_delta", content_index = 0, delta = text[i] }
    task.yield()
  end
  emit { type = "text_end", content_index = 0 }
  return script.say(table.concat(text))
end

--- Provider server, agent server, tool server behind NAT and client, each with
--- sockets of its own.
local function with_chain(body)
  link.run(function()
    local env = { runs = 0 }
    local provider = assert(aw.listen("ws://127.0.0.1:0", function(conn)
      provider_server.attach(conn, script.adapter { summing, summing })
    end))
    env.to_provider = assert(aw.connect(provider.url))
    local pool = aw.tool.pool()
    local service = aw.agent.service {
      provider = env.to_provider:provider(),
      model = "script/tiny",
      tools = pool,
      coalesce = false,
    }
    local agent = assert(aw.listen("ws://127.0.0.1:0", function(conn)
      aw.agent.attach(conn, service)
      aw.tool.attach(conn, nil, { pool = pool })
    end))
    env.to_agent = assert(aw.connect(agent.url))
    assert(aw.tool.register(env.to_agent, aw.tool.registry():add {
      name = "add",
      handler = function(args, call)
        env.runs = env.runs + 1
        for i = 1, 20 do
          call:update(i)
          if env.on_update then
            env.on_update(i)
          end
          task.yield()
        end
        return args.a + args.b
      end,
    }))
    env.conn = assert(aw.connect(agent.url))
    body(env)
    for _, each in ipairs { env.conn, env.to_agent, env.to_provider } do
      each:close()
    end
    agent:close()
    provider:close()
  end)
end

--- Prompts and collects; `on_delta` is told the number of each text delta.
local function run(session, on_delta)
  local seen = { text = {}, updates = 0, ends = 0 }
  for event in session:prompt("What is 19 + 23?") do
    if event.type == "message_update" and event.event.type == "text_delta" then
      seen.text[#seen.text + 1] = event.event.delta
      on_delta(#seen.text)
    elseif event.type == "tool_execution_update" then
      seen.updates = seen.updates + 1
    elseif event.type == "agent_end" then
      seen.ends = seen.ends + 1
    end
  end
  return seen
end

local function expected(result)
  assert.matches("^42/1 42/2 ", result.text)
  assert.matches("42/400 $", result.text)
  assert.equal(2, result.iterations)
end

describe("a chain of provider, agent, tool server and client", function()
  it("computes in two turns over sockets", function()
    with_chain(function(env)
      local session = assert(env.conn:agent():start {})
      local seen = run(session, function() end)
      local result = assert(session:result())
      expected(result)
      assert.equal("Adding" .. result.text, table.concat(seen.text))
      assert.equal(20, seen.updates)
      assert.equal(1, seen.ends)
      assert.is_true(session:stop())
    end)
  end)

  it("loses and repeats nothing while every link is cut in mid-run", function()
    with_chain(function(env)
      local session = assert(env.conn:agent():start {})
      env.on_update = function(number)
        if number == 7 then
          env.to_agent:cut("the tool server's link")
        end
      end
      local seen = run(session, function(number)
        if number == 50 or number == 150 then
          env.conn:cut("the client's link")
        elseif number == 250 then
          env.to_provider:cut("the provider's link")
        end
      end)
      local result = assert(session:result())
      expected(result)
      assert.equal("Adding" .. result.text, table.concat(seen.text))
      assert.equal(20, seen.updates)
      assert.equal(1, seen.ends)
      assert.equal(1, env.runs)
      assert.is_true(session:stop())
    end)
  end)
end)
