-- A child process gets what it was given and nothing else; what a stdio
-- server's own code prints does not disturb its link.
local aw = require("agentwire")
local link = require("spec.support.link")
local process = require("spec.support.process")

-- What a shell says as a child, on stdout, is no envelope: it goes to a file.
local function said_by_child(command, options)
  local folder = process.folder()
  local target = { argv = { "sh", "-c",
    ("{ %s; } > %s/said 2>&1"):format(command, folder) } }
  for name, value in pairs(options or {}) do
    target[name] = value
  end
  link.run(function()
    aw.connect(target)
  end)
  local file = assert(io.open(folder .. "/said"))
  local text = file:read("*a")
  file:close()
  process.remove(folder)
  return text
end

describe("a child process", function()
  it("inherits no descriptor but the standard ones", function()
    local open = assert(io.open("README.md"))
    local listed = said_by_child("ls /proc/self/fd")
    open:close()
    assert.equal("0\n1\n2\n3\n", listed) -- the last is its own look
  end)

  it("leaves the host's own descriptors as they were", function()
    local child = process.run_text([[
      local aw = require("agentwire")
      local file = io.open("README.md")
      aw.run(function() aw.connect { argv = { "true" } } end)
      os.execute("ls -l /proc/self/fd")]])
    local listed = ""
    for line in function() return child:line() end do
      listed = listed .. line .. "\n"
    end
    assert.truthy(listed:find("README.md", 1, true), listed)
    assert.equal(0, child:wait())
  end)

  it("has the whole environment unless it is given one", function()
    assert.truthy(said_by_child("env"):find("\nPATH=", 1, true)
      or said_by_child("env"):find("^PATH="))
    local said = said_by_child("/usr/bin/env", {
      env = { PATH = true, KEY = "a b", NOT_THERE_AT_ALL = true },
    })
    assert.truthy(said:find("KEY=a b\n", 1, true), said)
    assert.truthy(said:find("PATH=" .. os.getenv("PATH"), 1, true), said)
    assert.is_nil(said:find("HOME=", 1, true), said)
    assert.is_nil(said:find("NOT_THERE_AT_ALL", 1, true), said)
  end)

  it("has an empty one if that is what is given", function()
    local said = said_by_child("/usr/bin/env", { env = {} })
    assert.is_nil(said:find("PATH=/", 1, true) and said:find("HOME=", 1, true))
  end)

  it("is refused names and texts that no environment holds", function()
    link.run(function()
      for _, env in ipairs { { ["A=B"] = "x" }, { A = "x\0y" }, { "A=x" },
        { A = 5 }, { [""] = "x" } } do
        local ok, message = pcall(aw.connect, { argv = { "true" }, env = env })
        assert.is_false(ok)
        assert.truthy(message:find("option env", 1, true))
      end
      assert.is_false((pcall(aw.connect, { argv = { "a\0b" } })))
    end)
  end)
end)

describe("a server on stdin and stdout", function()
  local PRINTS = {
    print = [[print("debug")]],
    json = [[print('{"debug":true}')]],
    write = [[io.write("50 % ") io.flush()]],
    execute = [[os.execute("printf 'two\\nlines'")]],
    popen = [[io.popen("echo x >&2; cat"):close()]],
    read = [[assert(io.read("*l") == nil)]],
  }
  for how, code in pairs(PRINTS) do
    it("is not disturbed by a handler's " .. how, function()
      link.run(function()
        local conn = assert(aw.connect { argv = { process.interpreter(), "-e",
          ([[
          package.path, package.cpath = %q, %q
          local aw = require("agentwire")
          local tools = aw.tool.registry()
          tools:add { name = "t", handler = function() %s return "r" end }
          aw.run(function()
            aw.serve { stdio = true, tools = tools }:wait_closed()
          end)]]):format(package.path, package.cpath, code) } })
        for _ = 1, 3 do
          local result, why = conn:tool():execute { name = "t", args = {},
            timeout_ms = 5000 }
          assert.is_truthy(result, why)
        end
        assert.is_true(conn:is_open())
        conn:close()
      end)
    end)
  end
end)
