-- What Neovim's host does beside what every host does; runs inside of it.
local aw = require("agentwire")
local hosts = require("agentwire.host")
local nvim_host = require("agentwire.host.nvim")
local task = require("agentwire.task")

local vim = rawget(_G, "vim")
local api = vim.api

describe("Neovim's host", function()
  local function watchers()
    return #api.nvim_get_autocmds { event = "VimLeavePre" }
  end

  it("is chosen without being asked for", function()
    assert.is_true(nvim_host.fits())
    assert.is_function(hosts.current().fd)
    assert.is_nil(hosts.current().run_process) -- the signals are the editor's
    local done
    aw.spawn(function()
      done = hosts.current()
    end)
    assert.is_true(vim.wait(5000, function()
      return done
    end))
    assert.equal(done, hosts.current())
  end)

  it("is closed when the editor leaves, and what ran there has ended", function()
    local h = nvim_host.new()
    local cleaned
    h:spawn(function()
      task.defer(function()
        cleaned = true
      end)
      task.sleep(math.huge)
    end)
    h:turn()
    api.nvim_exec_autocmds("VimLeavePre", {})
    assert.is_true(h:is_closed())
    assert.is_true(cleaned)
  end)

  it("leaves no trace in the editor when it is closed", function()
    local before = watchers()
    for _ = 1, 5 do
      local h = nvim_host.new()
      assert.equal(before + 1, watchers())
      h:close()
      h:close()
      assert.equal(before, watchers())
    end
  end)

  it("does not raise when a task makes the editor leave", function()
    aw.run(function()
      assert.equal("", vim.fn.execute("doautocmd VimLeavePre", ""))
      task.sleep(1)
    end)
  end)

  it("may be made in a callback of the loop, and is closed all the same", function()
    local h
    local before = watchers()
    vim.loop.new_timer():start(1, 0, function()
      h = nvim_host.new()
    end)
    assert.is_true(vim.wait(5000, function()
      return h and watchers() > before
    end))
    h:close()
    assert.equal(before, watchers())
  end)

  it("run raises where there is a screen, or in a callback of the loop", function()
    local list = api.nvim_list_uis
    api.nvim_list_uis = function()
      return { {} }
    end
    local ok, why = pcall(aw.run, print)
    api.nvim_list_uis = list
    assert.is_false(ok)
    assert.matches("run: it would stop the editor", why)
    assert.matches("aw.spawn", why)
    local problem
    vim.loop.new_timer():start(1, 0, function()
      problem = select(2, pcall(aw.run, print))
    end)
    assert.is_true(vim.wait(5000, function()
      return problem
    end))
    assert.matches("aw.spawn", problem)
  end)

  it("goes on after the editor has waited inside of a task", function()
    local ticks = 0
    aw.run(function()
      local ticker = task.spawn(function()
        while true do
          task.sleep(1)
          ticks = ticks + 1
        end
      end)
      task.sleep(5)
      local before = ticks
      vim.wait(30)
      assert.equal(before, ticks) -- as docs/neovim.md says
      task.sleep(20)
      assert.is_true(ticks > before)
      ticker:cancel()
    end)
  end)

  it("lets the editor have its turn while tasks have much to do", function()
    local turns, timer = 0, vim.loop.new_timer()
    timer:start(1, 1, vim.schedule_wrap(function()
      turns = turns + 1
    end))
    aw.run(function()
      local deadline = vim.loop.hrtime() + 100e6
      while vim.loop.hrtime() < deadline do
        task.yield()
      end
    end)
    timer:close()
    assert.is_true(turns >= 5, tostring(turns))
  end)
end)
