-- What the command line may say: commands, options, help; what is wrong with it.
local arguments = require("agentwire.command._arguments")
local command = require("spec.support.command")
local json = require("agentwire.json")
local process = require("spec.support.process")

local COMMANDS = { "demo", "chat", "serve", "tools", "call", "models", "doctor",
  "version", "help" }

local function widest(text)
  local most = 0
  for line in text:gmatch("[^\n]+") do
    most = math.max(most, #line)
  end
  return most
end

describe("the command's help", function()
  it("lists every command, and each has its own", function()
    local overview = command.run { "help" }
    assert.equal(0, overview.status)
    assert.equal("", overview.err)
    for _, name in ipairs(COMMANDS) do
      assert.truthy(overview.out:find("\n  " .. name .. " ", 1, true), name)
      local own = require("agentwire.command." .. name)
      assert.truthy(own.summary and own.takes and own.options)
    end
    assert.equal(overview.out, command.run({ "--help" }).out)
    local help = command.run { "call", "--help" }
    assert.equal(0, help.status)
    assert.equal(help.out, command.run({ "help", "call" }).out)
    assert.truthy(help.out:find("usage: agentwire call [OPTION...] URL TOOL [JSON]",
      1, true))
    assert.truthy(help.out:find("\n  --wait SECONDS ", 1, true))
  end)

  it("fits the terminal", function()
    for _, columns in ipairs { 50, 120 } do
      local text, status = command.at_terminal(columns, {}, { "chat", "--help" })
      assert.equal(0, status)
      assert.truthy(widest(text:gsub("\r", "")) <= math.min(columns, 80))
    end
  end)

  it("is what no command gives, with the status of wrong usage", function()
    local outcome = command.run {}
    assert.equal(2, outcome.status)
    assert.truthy(outcome.out:find("usage: agentwire COMMAND", 1, true))
  end)
end)

describe("the command's version", function()
  it("is that of the module, and of what is below", function()
    local outcome = command.run { "version" }
    assert.equal("agentwire " .. require("agentwire")._VERSION .. "\n", outcome.out)
    assert.equal(outcome.out, command.run({ "--version" }).out)
    local versions = assert(json.decode(command.run({ "version", "--json" }).out))
    assert.matches("^1%.%d+%.%d+$", versions.libuv)
    assert.matches("^[13]%.%d+%.%d+", versions.openssl)
    assert.matches("^Lua", versions.lua)
  end)
end)

describe("wrong usage", function()
  local cases = {
    { { "chta" }, "unknown command chta; did you mean chat?" },
    { { "xyzzy" }, "unknown command xyzzy; agentwire help lists them" },
    { { "help", "tolls" }, "unknown command tolls; did you mean tools?" },
    { { "tools" }, "tools: URL is missing" },
    { { "call", "1" }, "call: TOOL is missing" },
    { { "tools", "" }, "tools: URL is empty" },
    { { "call", "1", "\255" }, "call: TOOL: it is no UTF-8" },
    { { "chat", "--system", "\255" }, "chat: --system: it is no UTF-8" },
    { { "tools", "1", "2" }, 'tools: unexpected "2"' },
    { { "models", "--jsn" }, "models: unknown option --jsn; did you mean --json?" },
    { { "models", "--xyzzy" }, "models: unknown option --xyzzy; --help lists them" },
    { { "models", "--json=1" }, "models: --json takes no value" },
    { { "models", "--json", "--json" }, "models: --json is given twice" },
    { { "tools", "1", "--timeout" }, "tools: --timeout needs a value: SECONDS" },
    { { "tools", "1", "--timeout", "soon" },
      "tools: --timeout: expected seconds, as in 2.5" },
    { { "tools", "1", "--timeout=-1" },
      "tools: --timeout: expected seconds, as in 2.5" },
    { { "call", "1", "t", "{" },
      "call: JSON: text ends inside a container at byte 2" },
    { { "call", "1", "t", "[1]" }, "call: JSON: it is no object" },
    { { "tools", "http://x" },
      "tools: cannot connect to http://x: URL scheme is not ws or wss" },
    { { "tools", "1", "--token-env", "NOPE" },
      "tools: --token-env: the variable NOPE is not set" },
    { { "tools", "1", "--token-env", "HOME", "--token-file", "x" },
      "tools: --token-env and --token-file: one of them" },
    { { "tools", "1", "--token-file", "/nope" },
      "tools: --token-file: /nope: No such file or directory" },
    { { "tools", "1", "--token-file", "/dev/null" },
      "tools: --token-file: it is empty" },
    { { "chat", "--files", "/nope" }, "chat: --files: no such folder: /nope" },
  }
  for _, case in ipairs(cases) do
    it("is told in one line: " .. table.concat(case[1], " "), function()
      local outcome = command.run(case[1])
      assert.equal("agentwire: " .. case[2] .. "\n", outcome.err)
      assert.equal("", outcome.out)
      assert.equal(2, outcome.status)
    end)
  end

  it("does not repeat a secret of the command line", function()
    for _, words in ipairs { { "--token", "s3cret" }, { "--token=s3cret" },
      { "--api-key=s3cret" } } do
      local outcome = command.run { "tools", "1", words[1], words[2] }
      assert.equal(2, outcome.status)
      assert.is_nil(outcome.err:find("s3cret", 1, true))
      assert.truthy(outcome.err:find("others see a command line", 1, true))
    end
  end)
end)

describe("the words of a command", function()
  local spec = { takes = { "FILE", "[MORE...]" },
    options = { { "--many COUNT", "" }, { "--some-name TEXT", "" }, { "--flag", "" } } }

  it("are read in any order, after -- as they are", function()
    local given = assert(arguments.read(spec, { "a", "--flag", "-", "--some-name=x=y",
      "-5", "--many", "3", "--", "--flag" }))
    assert.equal("a", given.FILE)
    assert.same({ "-", "-5", "--flag" }, given.rest)
    assert.equal("x=y", given.some_name)
    assert.equal(3, given.many)
    assert.is_true(given.flag)
    assert.is_true(arguments.read(spec, { "--flag", "-h" }).help)
  end)

  it("may be missing where they are in brackets", function()
    assert.same({}, assert(arguments.read(spec, { "a" })).rest)
    assert.is_nil((arguments.read(spec, {})))
    assert.is_nil((arguments.read(spec, { "a", "--many", "0" })))
    assert.is_nil((arguments.read(spec, { "a", "-x" })))
  end)
end)

describe("bin/agentwire", function()
  it("finds an interpreter that has the module, and the module, by itself",
    function()
      local folder = process.folder()
      local link = folder .. "/aw"
      local here = process.shell("pwd")
      process.shell(("ln -s %s/bin/agentwire %s"):format(process.quote(here), link))
      local text = process.shell(("cd / && env -u LUA_PATH -u LUA_CPATH "
        .. "AGENTWIRE_LUA=%s %s version"):format(process.interpreter(), link))
      assert.equal("agentwire " .. require("agentwire")._VERSION, text)
      text = process.shell(("cd / && env -u LUA_PATH -u LUA_CPATH %s/bin/agentwire "
        .. "version"):format(here))
      assert.equal("agentwire " .. require("agentwire")._VERSION, text)
      process.remove(folder)
    end)

  it("says what to set where there is none", function()
    local folder = process.folder()
    process.shell("cp bin/agentwire " .. folder)
    for named in pairs { [""] = 1, [process.interpreter()] = 1, ["/no lua"] = 1 } do
      local text = process.shell(("cd / && env -u LUA_PATH -u LUA_CPATH "
        .. "AGENTWIRE_LUA=%s %s/agentwire version 2>&1; echo $?"):format(
        process.quote(named), folder))
      assert.truthy(text:find("set AGENTWIRE_LUA to an interpreter", 1, true), text)
      if named ~= "/no lua" then
        assert.truthy(text:find("module 'agentwire.command' not found", 1, true), text)
      end
      assert.truthy(text:find("\n1$"))
    end
    process.remove(folder)
  end)
end)
