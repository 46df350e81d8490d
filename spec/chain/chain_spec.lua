-- The whole chain as four real processes: model server, agent server, tool
-- server, client.
local json = require("agentwire.json")
local process = require("spec.support.process")

local HERE = "spec/chain/"

local folder, secret

local function write(name, text)
  local file = assert(io.open(folder .. "/" .. name, "w"))
  file:write(text)
  file:close()
end

local function log(name)
  local lines, file = {}, io.open(folder .. "/" .. name)
  for line in file and file:lines() or function() end do
    lines[#lines + 1] = line
  end
  if file then
    file:close()
  end
  return lines
end

--- Starts the three servers; the executor is dialled, or dials (`nat`).
local function start(nat)
  local provider = process.lua(HERE .. "provider.lua", folder .. "/model")
  local provider_port = provider:expect("^port (%d+)$")
  local agent_port
  if nat then
    agent_port = process.lua(HERE .. "agent.lua", provider_port)
      :expect("^port (%d+)$")
    process.lua(HERE .. "executor.lua", folder, agent_port)
      :expect("^registered$")
  else
    local executor = process.lua(HERE .. "executor.lua", folder)
    agent_port = process.lua(HERE .. "agent.lua", provider_port,
      executor:expect("^port (%d+)$")):expect("^port (%d+)$")
  end
  return agent_port
end

--- What a client saw: events[session][run] is a list.
local function run_client(port, plan)
  local client = process.lua(HERE .. "client.lua", port,
    assert(json.encode(plan)))
  local events = {}
  for line in function() return client:line() end do
    local event = assert(json.decode(line))
    local runs = events[event.session] or {}
    events[event.session] = runs
    runs[event.run] = runs[event.run] or {}
    table.insert(runs[event.run], event)
  end
  local errors = client:errors()
  assert(client:wait() == 0, errors)
  return events
end

local function of_type(events, wanted)
  local found = {}
  for _, event in ipairs(events) do
    if event.type == wanted then
      found[#found + 1] = event
    end
  end
  return found
end

--- One run is begun once, ended once, and every inner thing that is started
--- is ended; the outcome comes last and is returned.
local function check_run(events)
  local open = {}
  for index, event in ipairs(events) do
    local what, edge = event.type:match("^(.*)_(%a+)$")
    local key = what and what .. (event.tool_call_id or "")
    if edge == "start" then
      assert(not open[key], key .. " was started twice")
      open[key] = true
    elseif edge == "end" then
      assert(open[key], key .. " was ended without a start")
      open[key] = nil
    elseif edge == "update" then
      assert(open[key], key .. " goes on without a start")
    end
    assert(event.type ~= "outcome" or index == #events)
  end
  assert.is_nil(next(open))
  assert.equal(1, #of_type(events, "agent_start"))
  assert.equal(1, #of_type(events, "agent_end"))
  assert.equal("outcome", events[#events].type)
  return events[#events]
end

describe("the chain of four processes", function()
  before_each(function()
    folder = process.folder()
    secret = process.shell("od -An -tx8 -N8 /dev/urandom"):gsub("%s", "")
    write("alpha.fact", "alpha is " .. secret)
    write("beta.fact", "beta is « ünïcode 🦜 »")
  end)

  after_each(function()
    process.stop_all()
    process.remove(folder)
  end)

  for _, nat in ipairs { false, true } do
    local how = nat and " that dials out" or ""

    it("answers with what only the tool server" .. how .. " knows", function()
      local runs = run_client(start(nat), { { { prompt = "read alpha" } } })
      local outcome = check_run(runs[1][1])
      assert.equal("It says: alpha is " .. secret, outcome.result.text)
      assert.equal("stop", outcome.result.stop_reason)
      local updates = of_type(runs[1][1], "tool_execution_update")
      assert.equal(4, #updates)
      for index, update in ipairs(updates) do
        assert.equal(25 * index, update.progress)
        assert.equal("reading alpha", update.status)
      end
      assert.same({ "read alpha" }, log("log"))
      assert.same({ "done", "done" }, log("model"))
    end)
  end

  it("keeps two sessions at once apart", function()
    local runs = run_client(start(false), {
      { { prompt = "read alpha beta" }, { prompt = "talk 30" } },
      { { prompt = "talk 30" }, { prompt = "read beta" } },
    })
    assert.equal("It says: alpha is " .. secret .. " | beta is « ünïcode 🦜 »",
      check_run(runs[1][1]).result.text)
    assert.equal("It says: beta is « ünïcode 🦜 »",
      check_run(runs[2][2]).result.text)
    for _, run in ipairs { runs[1][2], runs[2][1] } do
      local said = {}
      for _, event in ipairs(of_type(run, "message_update")) do
        said[#said + 1] = event.event.delta
      end
      assert.equal(check_run(run).result.text, table.concat(said))
      assert.equal(30, #said)
      assert.matches("^w1 w2 .* w30$", table.concat(said))
    end
    assert.equal(3, #log("log"))
  end)

  it("survives a handler that raises, and says what it raised", function()
    local runs = run_client(start(true), {
      { { prompt = "raise" }, { prompt = "read alpha" } },
    })
    local ended = of_type(runs[1][1], "tool_execution_end")
    assert.equal(1, #ended)
    assert.is_true(ended[1].is_error)
    local text = check_run(runs[1][1]).result.text
    assert.matches("It says: failed: ", text, 1, true)
    assert.matches("the tool broke on purpose", text, 1, true)
    assert.matches(secret, check_run(runs[1][2]).result.text, 1, true)
  end)

  it("tells the model of a tool error", function()
    local runs = run_client(start(false), { { { prompt = "read gamma" } } })
    local text = check_run(runs[1][1]).result.text
    assert.matches("failed: .*gamma.fact", text)
  end)

  it("cancels the model in mid-sentence, through the whole chain", function()
    local runs = run_client(start(false), { {
      { prompt = "talk 2000", cancel_on = "text_delta" },
      { prompt = "read alpha" },
    } })
    local outcome = check_run(runs[1][1])
    assert.equal("aborted", outcome.result.stop_reason)
    assert.matches("^w1", outcome.result.text)
    assert.matches(secret, check_run(runs[1][2]).result.text, 1, true)
    assert.same({ "cancelled", "done", "done" }, log("model"))
  end)

  it("cancels a tool that runs in another process", function()
    local runs = run_client(start(true), {
      {
        { prompt = "wait one", cancel_on = "tool_execution_update" },
        { prompt = "read alpha" },
      },
      { { prompt = "read beta" } },
    })
    assert.equal("aborted", check_run(runs[1][1]).result.stop_reason)
    assert.equal(1, #of_type(runs[1][1], "tool_execution_end"))
    assert.matches(secret, check_run(runs[1][2]).result.text, 1, true)
    assert.equal("It says: beta is « ünïcode 🦜 »",
      check_run(runs[2][1]).result.text)
    local seen = {}
    for _, line in ipairs(log("log")) do
      seen[line] = (seen[line] or 0) + 1
    end
    assert.same({
      ["wait one"] = 1, ["cancelled one"] = 1, ["read alpha"] = 1,
      ["read beta"] = 1,
    }, seen)
  end)
end)
