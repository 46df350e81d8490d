-- Commands that ask a server: tools, call, models, serve, and what they say when
-- it is not there, does not let them in, or its tool fails.
local aw = require("agentwire")
local command = require("spec.support.command")
local json = require("agentwire.json")
local link = require("spec.support.link")
local process = require("spec.support.process")

local SERVICE = "spec/command/service.lua"

local function run(...)
  return command.run { ... }
end

describe("a server's", function()
  local server, url

  setup(function()
    server = command.serve { SERVICE }
    url = server.url
  end)

  teardown(function()
    server:signal("TERM")
    assert.equal(143, server:wait())
    assert.equal("", server:errors())
  end)

  it("tools are listed, with their arguments", function()
    local outcome = run("tools", url)
    assert.equal(0, outcome.status)
    assert.equal("", outcome.err)
    assert.matches("^add%s+a, b, %[note%]%s+Add two numbers\n", outcome.out)
    local list = assert(json.decode(run("tools", url, "--json").out))
    assert.equal("add", list[1].name)
    assert.equal(outcome.out, run("tools", url, "--agent").out)
  end)

  it("tools are cut where a terminal ends", function()
    local text = command.at_terminal(44, {}, { "tools", url })
    assert.truthy(text:find("Gives a text that woul…", 1, true), text)
    for line in text:gsub("\r", ""):gmatch("[^\n]+") do
      assert.truthy(#line:gsub("…", ".") <= 44 or line:find("\27[K", 1, true), line)
    end
  end)

  it("models are listed, and those of this process without a URL", function()
    local outcome = run("models", url)
    assert.matches("^scripted/scripted  100000 tokens  Scripted\n$", outcome.out)
    local list = assert(json.decode(run("models", url, "--json").out))
    assert.equal("scripted/scripted@scripted", list[1].model_ref)
    assert.equal(outcome.out, run("models").out)
  end)

  it("tool is called, with the arguments of the line or of stdin", function()
    local outcome = run("call", url, "add", '{"a":1,"b":2}')
    assert.same({ out = "3\n", err = "", status = 0 }, outcome)
    outcome = command.run({ "call", url:match("%d+$"), "add", "-" },
      { input = '{"a":40,\n"b":2}' })
    assert.same({ out = "42\n", err = "", status = 0 }, outcome)
    local result = assert(json.decode(
      run("call", url, "add", '{"a":1,"b":2}', "--json").out))
    assert.same({ { type = "text", text = "3" } }, result.parts)
    assert.is_false(result.is_error)
  end)

  local failures = {
    { { "fail" }, "fail: there is no more of it" },
    { { "add", '{"a":1}' }, "add: args.b: required, but missing" },
    { { "ad" }, "ad: no such tool: ad; did you mean add?" },
    { { "xyzzy" }, "xyzzy: no such tool: xyzzy; agentwire tools lists them" },
    { { "wait", "--wait=0.2" }, "wait: took longer than 200 ms" },
  }
  for _, case in ipairs(failures) do
    it("tool that fails is told: " .. case[2], function()
      local outcome = run("call", url, case[1][1], case[1][2])
      assert.same({ out = "", err = "agentwire: call: " .. case[2] .. "\n",
        status = 5 }, outcome)
    end)
  end

  it("tool that fails gives its result as JSON all the same", function()
    local outcome = run("call", url, "fail", "--json")
    assert.equal(5, outcome.status)
    assert.is_true(assert(json.decode(outcome.out)).is_error)
  end)

  it("tool's text is as it is in a pipe, and harmless on a terminal", function()
    local outcome = run("call", url, "paint")
    assert.equal("red\27[31m\7 \194\155 alert\n"
      .. "[image/png: 4 bytes of base64; --json has them]\n", outcome.out)
    local text, status = command.at_terminal(80, {}, { "call", url, "paint" })
    assert.equal(0, status)
    assert.truthy(text:find("red[31m  alert", 1, true), text)
  end)

  it("tool says on a terminal how far it is, and is stopped by Ctrl-C", function()
    local text, status = command.at_terminal(80,
      { "see:wait: 2 % so far", "int" }, { "call", url, "wait" })
    assert.equal(130, status, text)
  end)

  it("refusal of a path is a failed connection, told with its place", function()
    local outcome = run("tools", url .. "/elsewhere")
    assert.equal(3, outcome.status)
    assert.equal(("agentwire: tools: %s/elsewhere: handshake refused: HTTP 404 Not "
      .. "Found: nothing is served at this path\n"):format(url), outcome.err)
  end)
end)

describe("where no server is", function()
  for _, name in ipairs { "tools", "models", "chat" } do
    it(name .. " ends with 3 and says what would help", function()
      local outcome = run(name, "1")
      assert.same({ out = "", status = 3, err = ("agentwire: %s: ws://127.0.0.1:1: "
        .. "connection refused: 127.0.0.1:1 (nothing listens there; agentwire "
        .. "serve FILE would)\n"):format(name) }, outcome)
    end)
  end

  it("TLS is told by its own code", function()
    local server = command.serve { SERVICE, "tools" }
    local outcome = run("tools", (server.url:gsub("^ws", "wss")))
    server:stop()
    assert.equal(3, outcome.status)
    assert.truthy(outcome.err:find("(ws:// is for servers without TLS)", 1, true))
  end)
end)

describe("serve", function()
  after_each(process.stop_all)

  local folder

  before_each(function()
    folder = process.folder()
  end)

  after_each(function()
    process.remove(folder)
  end)

  local function write(name, text)
    local file = assert(io.open(folder .. "/" .. name, "w"))
    file:write(text)
    file:close()
    return folder .. "/" .. name
  end

  it("asks for the token of a variable or a file", function()
    local path = write("token", "  s3cret\nnot this\n")
    local server = command.serve { SERVICE, "--token-file", path }
    local outcome = run("tools", server.url)
    assert.equal(4, outcome.status)
    assert.truthy(outcome.err:find("HTTP 401", 1, true))
    assert.truthy(outcome.err:find("--token-env NAME or --token-file FILE", 1, true))
    assert.equal(0, run("tools", server.url, "--token-file", path).status)
    for env, words in pairs {
      ["AGENTWIRE_TOKEN=s3cret"] = { "tools", server.url },
      ["MINE=s3cret"] = { "tools", server.url, "--token-env", "MINE" },
    } do
      assert.equal(0, command.run(words, { env = env }).status)
    end
    local guess = command.run({ "tools", server.url }, { env = "AGENTWIRE_TOKEN=x" })
    assert.equal(4, guess.status)
  end)

  it("takes a function, which may wait, and its words", function()
    local path = write("s.lua", [[
      local aw = require("agentwire")
      local beside = require("beside")
      return function(name)
        aw.sleep(1)
        local tools = aw.tool.registry()
        tools:add { name = name, description = beside, handler = function() end }
        return { tools = tools }
      end]])
    write("beside.lua", 'return "from beside"')
    local server = command.serve { path, "mine" }
    assert.equal("mine    from beside\n", run("tools", server.url).out)
  end)

  it("says where it listens as JSON", function()
    local server = command.start { "serve", SERVICE, "--url", "0", "--json" }
    local said = assert(json.decode(server:line()))
    assert.equal("ws://127.0.0.1:" .. said.port, said.url)
    assert.same({ "provider", "agent", "tools" }, said.serves)
  end)

  it("serves whoever has started it", function()
    link.run(function()
      local conn = assert(aw.connect { argv = { process.interpreter(),
        "bin/agentwire", "serve", SERVICE, "--stdio" } })
      assert.equal(4, #assert(conn:tool():list()))
      conn:close()
      conn:wait_closed()
    end)
  end)

  it("lets what is under way end after a TERM", function()
    local server = command.serve { SERVICE, "tools" }
    link.run(function()
      local conn = assert(aw.connect(server.url, { reconnect = false }))
      local execution = assert(conn:tool():start { name = "wait", timeout_ms = 400 })
      assert.truthy(execution:next_update())
      server:signal("TERM")
      assert.equal("tool_timeout", select(3, execution:result(10000)))
      conn:wait_closed(10000)
    end)
    assert.equal(143, server:wait())
  end)

  it("ends with 130 after Ctrl-C", function()
    local text, status = command.at_terminal(80, { "see:Ctrl-C ends it", "int" },
      { "serve", SERVICE, "--url", "0" })
    assert.equal(130, status)
    assert.matches("listening at ws://127.0.0.1:%d+\n", text)
    assert.truthy(text:find("serves provider, agent, tools", 1, true))
  end)

  local broken = {
    { 'error("boom")', ":1: boom" },
    { "x x", ":1: " },
    { "return 5", ": returns neither a table of what to serve nor a function" },
    { 'return nil, "no database"', ": no database" },
    { 'return function() error("late") end', ":1: late" },
    { "return { tols = 1 }", ": unknown option tols; did you mean tools?" },
    { "return {}", ": nothing is served" },
  }
  for _, case in ipairs(broken) do
    it("tells what is wrong with its file: " .. case[1], function()
      local path = write("s.lua", case[1])
      local outcome = run("serve", path, "--url", "0")
      assert.equal(1, outcome.status)
      local begins = "agentwire: serve: " .. path .. case[2]
      assert.equal(begins, outcome.err:sub(1, #begins))
      assert.matches("^[^\n]*\n$", outcome.err)
    end)
  end

  it("tells where it cannot listen, and what contradicts", function()
    local server = command.serve { SERVICE, "tools" }
    local outcome = run("serve", SERVICE, "--url", server.url)
    assert.equal(1, outcome.status)
    assert.truthy(outcome.err:find("address already in use", 1, true))
    outcome = run("serve", "/nope.lua")
    assert.same({ out = "", status = 1, err = "agentwire: serve: cannot open "
      .. "/nope.lua: No such file or directory\n" }, outcome)
    local path = write("s.lua", 'return { tokens = "x", tools = '
      .. 'require("agentwire").tool.registry() }')
    outcome = command.run({ "serve", path }, { env = "AGENTWIRE_TOKEN=y" })
    assert.equal(2, outcome.status)
    assert.truthy(outcome.err:find("the file decides who may come in", 1, true))
  end)
end)
