--- The host in Neovim's own loop. The turn runs where the editor runs what is
--- scheduled, never in a callback of the loop: tasks, tool handlers and listeners
--- may call all of `vim.api`.
local host = require("agentwire.host")
local luv = require("agentwire.host.luv")
local misuse = require("agentwire._misuse")
local options = require("agentwire._options")

-- The editor is not this host's, so nobody has to drive or choose it, and its
-- signals are left alone.
local M = { is_embedded = true }

-- vim.wait takes milliseconds as a C int.
local MAX_WAIT_MS = 2147483647

-- What vim.wait answers, as its second value, to a Ctrl-C.
local INTERRUPTED = -2

local function editor()
  return rawget(_G, "vim")
end

local function loop_of(vim)
  return vim.uv or vim.loop -- Neovim 0.10, before
end

--- Whether this is Neovim, and its main thread: there is no editor to call in
--- others.
---@return boolean
function M.fits()
  local vim = editor()
  return type(vim) == "table" and vim.api ~= nil and vim.schedule ~= nil
    and loop_of(vim) ~= nil
end

local function has_screen(vim)
  return #vim.api.nvim_list_uis() > 0
end

--- Raises where a `run` would stop the editor: it may be one without a screen.
function M.check_run()
  local vim = editor()
  if vim.in_fast_event() or has_screen(vim) then
    misuse.raise("run: it would stop the editor until it returns; call "
      .. "aw.spawn(function() … end), which begins at once and waits beside it "
      .. "(docs/neovim.md)")
  end
end

-- The editor looks whether it is done after each thing that it does, so a long
-- interval is no delay.
local function block(vim)
  return function(is_done)
    repeat
      local done, why = vim.wait(MAX_WAIT_MS, is_done, MAX_WAIT_MS)
    until done or why == INTERRUPTED
  end
end

--- What knows Neovim's loop.
---@return agentwire.HostDriver
function M.driver()
  local vim = editor()
  return luv.driver(loop_of(vim), {
    name = "Neovim's loop",
    later = vim.schedule,
    block = block(vim),
  })
end

-- Has `h` closed when the editor leaves. One that leaves from inside a task cannot
-- close what runs there: its end is the process's, and the peers see the link
-- close. Returns the function that takes it back.
local function close_on_leave(vim, h)
  local id
  local function watch()
    id = not h:is_closed() and vim.api.nvim_create_autocmd("VimLeavePre", {
      desc = "agentwire: close connections",
      callback = function()
        pcall(h.close, h)
      end,
    })
  end
  local function in_editor(fn)
    if vim.in_fast_event() then
      vim.schedule(fn)
    else
      fn()
    end
  end
  in_editor(watch)
  return function()
    in_editor(function()
      pcall(vim.api.nvim_del_autocmd, id) -- gone by itself where it has run
    end)
  end
end

--- A host that Neovim turns, until it is closed or the editor leaves.
---@param given agentwire.HostOptions?
---@return agentwire.EmbeddedHost
function M.new(given)
  options.optional("nvim.new", "given", options.table, given)
  local driver, forget = M.driver(), nil
  local disarm = driver.disarm
  function driver.disarm()
    disarm()
    forget()
  end
  local h = host.embed(driver, given)
  forget = close_on_leave(editor(), h)
  return h
end

return M
