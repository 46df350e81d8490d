--- A question to the user, by whatever the editor has for `vim.ui.select`.
local await = require("agentwire._await")
local options = require("agentwire._options")
local task = require("agentwire.task")

local M = {}

local YES, NO, SHOW = "Yes", "No", "Show it first"

-- One question at a time: tools of one answer run at once, and there is one
-- screen.
local line, is_asking = nil, false

-- Not from within the turn: what most editors have waits for a key right there,
-- and all tasks would wait with it.
local function choose(question, choices)
  local vim = rawget(_G, "vim")
  return await(function(done)
    vim.schedule(function()
      local ok, problem = pcall(vim.ui.select, choices, { prompt = question }, done)
      if not ok then
        done(nil, problem)
      end
    end)
  end)
end

--- Shows text in a window of its own; returns what closes it.
local function show(text)
  local vim = rawget(_G, "vim")
  local buffer = vim.api.nvim_create_buf(false, true)
  vim.api.nvim_buf_set_lines(buffer, 0, -1, false, vim.split(text, "\n"))
  vim.bo[buffer].filetype = "diff"
  vim.bo[buffer].bufhidden = "wipe"
  vim.bo[buffer].modifiable = false
  vim.cmd("botright sbuffer " .. buffer)
  vim.cmd("wincmd p")
  vim.cmd("redraw")
  return function()
    pcall(vim.api.nvim_buf_delete, buffer, { force = true })
  end
end

local function ask(question, details)
  local choice = choose(question, details and { YES, NO, SHOW } or { YES, NO })
  if choice ~= SHOW then
    return choice == YES
  end
  local hide = show(details)
  local ok, again = pcall(choose, question, { YES, NO })
  hide()
  if not ok then
    error(again, 0)
  end
  return again == YES
end

--- Asks the user, and waits for the answer. Anything but a yes is a no, so is a
--- question that was left. The editor asks one question at a time.
---@async
---@param question string
---@param details string? what it is about, shown if the user asks to see it
---@return boolean
function M.ask(question, details)
  options.argument("nvim.confirm", "question", options.string, question)
  options.optional("nvim.confirm", "details", options.string, details)
  line = line or task.signal("a question to the user")
  while is_asking do
    line:wait()
  end
  is_asking = true
  local ok, answer = pcall(ask, question, details)
  is_asking = false
  line:wake_one()
  if not ok then
    error(answer, 0)
  end
  return answer
end

return M
