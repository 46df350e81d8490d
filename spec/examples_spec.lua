local compat = require("agentwire._compat")
local link = require("spec.support.link")

--- Runs a script as `lua PATH ...` would, with what it prints collected.
local function run_script(path, ...)
  local output = {}
  local function put(...)
    for index = 1, select("#", ...) do
      output[#output + 1] = tostring((select(index, ...)))
    end
  end
  local environment = setmetatable({
    arg = { [0] = path, ... },
    print = function(...)
      put(...)
      put("\n")
    end,
    io = setmetatable({ write = put }, { __index = io }),
  }, { __index = _G })
  local chunk = assert(loadfile(path, "t", environment))
  chunk()
  return table.concat(output)
end

describe("examples", function()
  local cases = {
    { "01_stream.lua", {}, "stop reason: stop" },
    { "02_agent.lua", {}, "-> read_file" },
    { "02_agent.lua", { "no-such-file.txt" }, "no-such-file.txt" },
    { "03_remote_tool.lua", {}, "83 89 97" },
    { "04_many_streams.lua", { "8" }, "7 streams complete" },
    { "05_http.lua", {}, "It comes as it is said." },
  }
  for _, case in ipairs(cases) do
    it("run: " .. case[1] .. " " .. table.concat(case[2], " "), function()
      local path = "examples/" .. case[1]
      local output = run_script(path, compat.unpack(case[2]))
      assert.matches(case[3], output, 1, true)
    end)
  end
end)

describe("the file tools of chat and demo", function()
  local root

  local function shell(command)
    local ok = os.execute(command)
    assert(ok == true or ok == 0, command)
  end

  before_each(function()
    root = os.tmpname()
    os.remove(root)
    shell(("mkdir -p '%s/root/sub' '%s/root-two'"):format(root, root))
    shell(("printf 'one two\\nthree' > '%s/root/a.txt'"):format(root))
    shell(("printf 'needle here\\n' > '%s/root/sub/b.txt'"):format(root))
    shell(("printf 'secret\\n' > '%s/root-two/secret.txt'"):format(root))
    shell(("ln -s ../root-two/secret.txt '%s/root/link'"):format(root))
    shell(("printf x > \"%s/root/it's; odd\""):format(root))
  end)

  after_each(function()
    shell(("rm -r '%s'"):format(root))
  end)

  --- The text of one call's result, and whether it is an error.
  local function call(name, args)
    local result
    link.run(function()
      local file_tools = require("agentwire.command.files")
      result = assert(file_tools.new(root .. "/root"):execute {
        name = name, args = args,
      })
    end)
    return result.parts[1].text, result.is_error
  end

  it("list, read, count and search below the root", function()
    local names = call("list_files", {})
    assert.matches("a.txt", names, 1, true)
    assert.matches("sub/", names, 1, true)
    assert.equal("one two\nthree", (call("read_file", { path = "a.txt" })))
    local info = call("file_info", { path = "a.txt" })
    assert.matches('"lines":2', info, 1, true)
    assert.matches('"words":3', info, 1, true)
    assert.matches('"bytes":13', info, 1, true)
    assert.equal("sub/b.txt:1: needle here",
      (call("search_text", { query = "NEEDLE" })))
    assert.equal("(no match)", (call("search_text", { query = "absent" })))
    assert.equal("x", (call("read_file", { path = "it's; odd" })))
  end)

  local outside = {
    "../root-two/secret.txt", "sub/../../root-two/secret.txt", "link",
    "/etc/passwd", "..", "nothing", "a.txt\n/etc/passwd", "$(echo a.txt)",
  }
  for _, path in ipairs(outside) do
    it("refuse " .. path:gsub("\n", " "), function()
      local text, is_error = call("read_file", { path = path })
      assert.is_true(is_error)
      assert.not_matches("secret\n", text, 1, true)
      local _, no_list = call("list_files", { path = path })
      assert.is_true(no_list)
    end)
  end
end)
