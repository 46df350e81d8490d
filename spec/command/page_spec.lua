-- docs/command.md does what it says: its `console` blocks are carried out, its
-- tables are those of the code.
local exits = require("agentwire.command._exit")
local process = require("spec.support.process")

local function read_page()
  local file = assert(io.open("docs/command.md", "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local function blocks(page, language)
  local found = {}
  for text in page:gmatch("\n```" .. language .. "\n(.-)\n```\n") do
    found[#found + 1] = text
  end
  return found
end

--- Lines of a block as { command, its output }.
local function steps_of(block)
  local steps = {}
  for line in (block .. "\n"):gmatch("([^\n]*)\n") do
    local command = line:match("^%$ (.*)$")
    if command then
      steps[#steps + 1] = { command = command, lines = {} }
    else
      table.insert(steps[#steps].lines, line)
    end
  end
  return steps
end

--- "…" stands for anything.
local function is_like(shown, got)
  local pattern = shown:gsub("[%^%$%(%)%%%.%[%]%*%+%-%?]", "%%%0"):gsub("…", ".*")
  return got:find("^" .. pattern .. "$") ~= nil
end

describe("docs/command.md", function()
  local page = read_page()
  local folder, environment, here

  setup(function()
    folder, here = process.folder(), process.shell("pwd")
    for _, text in ipairs(blocks(page, "lua")) do
      local file = assert(io.open(folder .. "/" .. text:match("^%-%- (%S+)"), "w"))
      file:write(text, "\n")
      file:close()
    end
    local paths = (package.path .. "\n" .. package.cpath):gsub("%f[^;\n%z]%./",
      here .. "/")
    environment = ("cd %s && unset AGENTWIRE_TOKEN && export AGENTWIRE_LUA=%s "
      .. "PATH=%s/bin:$PATH LUA_PATH=%s LUA_CPATH=%s; "):format(folder,
      process.interpreter(), here, process.quote(paths:match("^[^\n]*")),
      process.quote(paths:match("[^\n]*$")))
  end)

  teardown(function()
    process.stop_all()
    process.remove(folder)
  end)

  for number, block in ipairs(blocks(page, "console")) do
    it("shows what happens, block " .. number, function()
      local port
      for _, step in ipairs(steps_of(block)) do
        local command, shown = step.command, table.concat(step.lines, "\n")
        local got
        if command:find(" &$") then
          local server = process.start { "sh", "-c", environment .. "exec "
            .. command:gsub(" &$", " --url 0") }
          got = server:line()
          port = got:match(":(%d+)$")
          got = got:gsub(port, "7450")
        else
          command = port and command:gsub("7450", port) or command
          got = process.shell(environment .. "{ " .. command .. "; } 2>&1")
        end
        assert(is_like(shown, got), ("%s\nshown:\n%s\ngot:\n%s"):format(
          step.command, shown, got))
      end
    end)
  end

  it("has every command, and every status", function()
    local names = {}
    for row in page:match("| command |.-\n\n"):gmatch("\n| ([^|]*)|") do
      for name in row:gmatch("`(%l+)") do
        names[#names + 1] = name
      end
    end
    assert.same({ "demo", "chat", "serve", "tools", "call", "models", "doctor",
      "version", "help" }, names)
    for name, status in pairs(exits) do
      if type(status) == "number" then
        assert.truthy(page:find("\n| [%d, ]*" .. status .. "[,%d ]* | "), name)
      end
    end
  end)
end)
