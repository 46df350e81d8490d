-- As a plugin without LuaRocks: a folder with `lua`, the core in it, and `doc`.
local nvim = require("spec.nvim.support")
local process = require("spec.support.process")

describe("as a plugin of Neovim's", function()
  local folder

  before_each(function()
    folder = process.folder()
    local core = rawget(package, "searchpath")("agentwire.core",
      (package.cpath:gsub("/5%.4/", "/5.1/")))
    process.shell(("cp -r lua doc examples %s && cp %s %s/lua/agentwire/core.so"):format(
      folder, core, folder))
  end)

  after_each(function()
    process.remove(folder)
  end)

  --- What an editor writes that has the plugin, from another folder.
  local function run(commands)
    local words = { "cd /tmp && env -u LUA_PATH -u LUA_CPATH", nvim.program,
      "--headless -u NONE -i NONE -n --cmd",
      process.quote("set rtp^=" .. folder .. "," .. folder .. "/examples/nvim") }
    for _, command in ipairs(commands) do
      words[#words + 1] = "-c " .. process.quote(command)
    end
    return process.shell("timeout 20 sh -c "
      .. process.quote(table.concat(words, " ") .. " -c qall!"))
  end

  it("it is found on the runtimepath, and healthy", function()
    local text = run {
      "checkhealth agentwire",
      "lua io.stdout:write(table.concat("
        .. "vim.api.nvim_buf_get_lines(0, 0, -1, false), '\\n'))",
    }
    assert.matches("OK:? the C core is loaded", text)
    assert.matches("OK:? a host in Neovim's loop", text)
    assert.not_matches("ERROR", text)
  end)

  it("without its core it says so", function()
    os.remove(folder .. "/lua/agentwire/core.so")
    local text = run {
      "checkhealth agentwire",
      "lua io.stdout:write(table.concat("
        .. "vim.api.nvim_buf_get_lines(0, 0, -1, false), '\\n'))",
    }
    assert.matches("ERROR:? the C core cannot be loaded", text)
  end)

  it("its help has tags, each once, and is found", function()
    assert.equal("", run { "helptags " .. folder .. "/doc" })
    assert.matches("agentwire.txt", run { "helptags " .. folder .. "/doc",
      "help agentwire-callbacks", "lua io.stdout:write(vim.fn.expand('%'))" })
  end)

  it("the example has its commands, and complains of an agent that is not there",
    function()
      local text = run {
        "lua require('agent_chat').setup { url = 'ws://127.0.0.1:1' }",
        "file notes.md",
        "AgentAsk are you there?",
        "lua vim.wait(5000, function() return table.concat("
          .. "vim.api.nvim_buf_get_lines(vim.fn.bufnr('agent://'), 0, -1, false))"
          .. ":find('failed') end, 10)",
        "lua io.stdout:write(table.concat("
          .. "vim.api.nvim_buf_get_lines(vim.fn.bufnr('agent://'), 0, -1, false), '|'),"
          .. " table.concat(vim.fn.getcompletion('AgentAsk ', 'cmdline'), ','))",
        "AgentStop",
      }
      assert.matches("## are you there?|", text, 1, true)
      assert.matches("*failed: ", text, 1, true)
      assert.matches("notes.md", text, 1, true)
    end)
end)
