-- Talking to an agent, at a terminal and in a pipe; the demo; the doctor.
local command = require("spec.support.command")
local json = require("agentwire.json")
local process = require("spec.support.process")

local SERVICE = "spec/command/service.lua"

-- What is written of the line of progress is not what stands there in the end.
local function plain(text)
  return (text:gsub("\27%[[%d;]*m", ""):gsub("[^\n]*\27%[K", ""))
end

local function events_of(text)
  local events = {}
  for line in text:gmatch("[^\n]+") do
    events[#events + 1] = assert(json.decode(line))
  end
  return events
end

describe("chat in a pipe", function()
  local server, url

  setup(function()
    server = command.serve { SERVICE }
    url = server.url
  end)

  teardown(function()
    server:stop()
  end)

  it("gives answers and nothing else", function()
    local outcome = command.run({ "chat", url },
      { input = "hello\n\nuse a tool\nlast" })
    assert.same({ err = "", status = 0, out = "You said: hello\n"
      .. "The tool has spoken.\nYou said: last\n" }, outcome)
  end)

  it("goes on after a failure, and ends with it", function()
    local outcome = command.run({ "chat", url }, { input = "break\nhello\n" })
    assert.same({ err = "agentwire: chat: on purpose\n", status = 1,
      out = "You said: hello\n" }, outcome)
  end)

  it("fails for a line that is too long to be read", function()
    local outcome = command.run({ "chat", url }, { input = "hello\n"
      .. ("x"):rep(1200000) .. "\nhello\n" })
    assert.same({ status = 1, out = "You said: hello\n",
      err = "agentwire: chat: stdin: a line is longer than 1048576 bytes\n" }, outcome)
  end)

  it("gives each event as JSON", function()
    local outcome = command.run({ "chat", url, "--json" },
      { input = "use a tool\nbreak\n" })
    local types, count = {}, 0
    for _, event in ipairs(events_of(outcome.out)) do
      types[event.type], count = event, count + 1
    end
    assert.truthy(count > 10)
    assert.equal("add", types.tool_execution_start.tool_name)
    assert.equal("The tool has spoken.", types.result.result.text)
    assert.equal("on purpose", types.error.message)
    assert.equal(1, outcome.status)
  end)

  it("is ended by a signal while it waits for a question", function()
    for name, status in pairs { INT = 130, TERM = 143 } do
      local child = command.start({ "chat", url },
        [[perl -e '$SIG{INT} = "DEFAULT"; exec @ARGV' --]])
      assert.equal("You said: x", child:ask("x"))
      child:signal(name)
      assert.equal(status, child:wait())
      assert.equal("", child:errors())
    end
  end)

  it("ends with 3 when the server goes for good", function()
    local mortal = command.serve { SERVICE }
    local child = command.start { "chat", mortal.url }
    assert.equal("You said: x", child:ask("x"))
    mortal:signal("KILL")
    mortal:wait()
    local again = process.start({ process.interpreter(), "bin/agentwire", "serve",
      SERVICE, "--url", mortal.url })
    again:expect("^listening") -- it knows nothing of the session
    child:say("y")
    assert.is_nil(child:line())
    again:stop()
    assert.equal(3, child:wait())
    assert.matches("^agentwire: chat: [^\n]+\n$", child:errors())
  end)

  it("ends quietly when nobody reads the answers", function()
    local input = ("question\n"):rep(20)
    for _, ignored in ipairs { "", "trap '' PIPE; " } do
      local outcome = command.run({ "chat", url }, { input = input,
        whole = ignored .. "{ %s; echo $? >&2; } | head -n 1" })
      assert.equal("You said: question\n", outcome.out)
      assert.equal("141\n", outcome.err)
    end
    local outcome = command.run({ "version" }, { whole = "%s >&-" })
    assert.equal(1, outcome.status)
    assert.matches("^agentwire: stdout: [^\n]+\n$", outcome.err)
    outcome = command.run({ "version" }, { whole = "%s >/dev/full" })
    assert.same({ out = "", status = 1,
      err = "agentwire: stdout: No space left on device\n" }, outcome)
  end)
end)

describe("chat at a terminal", function()
  local server, url

  setup(function()
    server = command.serve { SERVICE }
    url = server.url
  end)

  teardown(function()
    server:stop()
  end)

  local function talk(columns, steps, words, env)
    local text, status = command.at_terminal(columns, steps,
      words or { "chat", url }, env)
    return plain(text), status, text
  end

  it("shows the answer and each tool call in short lines", function()
    local text, status = talk(80, { "see:> ", "type:use a tool", "see:spoken.",
      "see:> ", "eof" })
    assert.equal(0, status, text)
    assert.truthy(text:find("scripted/scripted at " .. url .. ", with 4 tools\n",
      1, true), text)
    assert.truthy(text:find("> use a tool\nI will.\n  -> add {\"a\":1,\"b\":2}\n"
      .. "  <- 3\nThe tool has spoken.\n\n> ", 1, true), text)
  end)

  it("breaks lines between words, at the terminal's width", function()
    local text, status = talk(40, { "see:> ", "type:count", "see:word60",
      "int", "see:stopped", "see:> ", "eof" })
    assert.equal(0, status, text)
    local count = 0
    for line in text:gmatch("[^\n]+") do
      if line:find("^word%d") then
        assert.truthy(#line <= 42, line) -- where ^C was typed
        count = count + 1
      end
    end
    assert.truthy(count >= 10, text)
  end)

  it("stops an answer with Ctrl-C, and goes on", function()
    local text, status = talk(80, { "see:> ", "type:count", "see:word20", "int",
      "see:stopped", "see:> ", "type:hello", "see:You said: hello", "see:> ",
      "eof" })
    assert.equal(0, status, text)
    assert.is_nil(text:find("word150", 1, true))
    assert.truthy(text:find("\n  -- stopped\n", 1, true), text)
  end)

  it("is left with a second Ctrl-C while it stops an answer", function()
    local text, status = talk(80, { "see:> ", "type:count", "see:word20", "int",
      "see:stopping", "int" })
    assert.equal(130, status, text)
  end)

  it("is left with a second Ctrl-C when nothing runs", function()
    local text, status = talk(80, { "see:> ", "key:half a line", "int",
      "see:Ctrl-C again leaves", "see:> ", "int" })
    assert.equal(130, status, text)
    text, status = talk(80, { "see:> ", "int", "see:Ctrl-C again leaves", "see:> ",
      "type:hello", "see:You said: hello", "see:> ", "int", "see:again leaves",
      "eof" })
    assert.equal(0, status, text)
  end)

  it("takes what would repaint the screen out of an answer", function()
    local _, status, raw = talk(80, { "see:> ", "type:paint", "see:alert", "see:> ",
      "eof" })
    assert.equal(0, status, raw)
    assert.truthy(raw:find("red[31m alert", 1, true), raw)
  end)

  it("has no colours with NO_COLOR, and moves no cursor of a dumb terminal",
    function()
      for env, escapes in pairs { ["NO_COLOR=1"] = "\27%[[^K]",
        ["TERM=dumb"] = "\27" } do
        local text, status, raw = talk(80, { "see:> ", "type:use a tool",
          "see:spoken.", "see:> ", "eof" }, nil, env)
        assert.equal(0, status, text)
        assert.is_nil(raw:find(escapes), raw)
      end
    end)

  it("says when the connection is over", function()
    local mortal = command.serve { SERVICE }
    local text, status = talk(80, { "see:> ", "run:kill -KILL " .. mortal.pid,
      "see:attempt 1" }, { "chat", mortal.url, "--attempts", "2" })
    mortal:stop()
    assert.equal(3, status, text)
    assert.truthy(text:find("agentwire: chat: the connection is over", 1, true),
      text)
    local _, told = text:gsub("attempt %d", "")
    assert.equal(1, told)
  end)
end)

describe("chat without a URL", function()
  local folder

  before_each(function()
    folder = process.folder()
    process.shell("printf 'one\\ntwo\\n' >" .. folder .. "/notes.txt")
  end)

  after_each(function()
    process.remove(folder)
  end)

  it("asks the model of this process, which sees the files it is shown", function()
    local outcome = command.run({ "chat", "--files", folder },
      { input = "How many lines has notes.txt?\n" })
    assert.equal("", outcome.err)
    assert.matches("notes.txt has 2 lines", outcome.out, 1, true)
    outcome = command.run({ "chat" }, { input = "hello\n" })
    assert.matches("scripted model", outcome.out, 1, true)
  end)
end)

describe("the demo", function()
  it("cuts the link in the middle, and the answer is whole", function()
    local outcome = command.run { "demo" }
    assert.equal(0, outcome.status)
    assert.equal("agentwire: demo: the link is cut now\n", outcome.err)
    assert.truthy(outcome.out:find("> Which files are here?\nLet me look.\n"
      .. "  -> list_files", 1, true), outcome.out)
    assert.truthy(outcome.out:find("the link was cut once, the answer is whole.\n",
      1, true))
    local events = events_of(command.run({ "demo", "--json" }).out)
    assert.is_true(events[#events].cut and events[#events].whole)
  end)

  it("lets a person ask", function()
    local text, status = command.at_terminal(80, { "see:> ",
      "type:How many lines has LICENSE?", "see:LICENSE has 21 lines", "eof" },
      { "demo", "--chat" })
    assert.equal(0, status, text)
  end)
end)

describe("the doctor", function()
  it("looks at what is needed, and never shows a secret", function()
    local outcome = command.run({ "doctor" }, { env = "OPENAI_API_KEY=s3cret" })
    assert.equal(0, outcome.status)
    assert.equal("", outcome.err)
    for _, name in ipairs { "versions", "loop", "websocket", "tls", "clock",
      "terminal" } do
      assert.matches("ok%s+" .. name, outcome.out)
    end
    assert.matches("set: OPENAI_API_KEY; not set: ", outcome.out, 1, true)
    assert.is_nil(outcome.out:find("s3cret", 1, true))
  end)

  it("gives the same as JSON", function()
    local outcome = command.run({ "doctor", "--json" },
      { env = "OPENAI_API_KEY=s3cret SSL_CERT_FILE=/nope SSL_CERT_DIR=/nope" })
    assert.is_nil(outcome.out:find("s3cret", 1, true))
    local report, checks = assert(json.decode(outcome.out)), {}
    for _, check in ipairs(report.checks) do
      checks[check.name] = check
    end
    assert.is_true(report.ok)
    assert.is_true(checks.secrets.data.OPENAI_API_KEY)
    assert.is_false(checks.secrets.data.AGENTWIRE_TOKEN)
    assert.equal("warning", checks.authorities.verdict)
    assert.is_false(checks.terminal.data.stdout)
  end)
end)
