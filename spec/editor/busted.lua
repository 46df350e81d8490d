-- Runs busted inside of Neovim, which has no other way to a script's arguments:
--
--   AW_SPECS="FILE..." nvim --headless -u NONE -i NONE -c "luafile spec/editor/busted.lua"
--
-- The runner ends the process with its own status.
local vim = rawget(_G, "vim")

local files = {}
for file in os.getenv("AW_SPECS"):gmatch("%S+") do
  files[#files + 1] = file
end

local arguments = { [0] = "busted", "-o", "TAP" }
for _, file in ipairs(files) do
  arguments[#arguments + 1] = file
end
rawset(_G, "arg", arguments)

local ok, problem = xpcall(function()
  require("busted.runner")({ standalone = false })
end, debug.traceback)
if not ok then
  io.stderr:write(tostring(problem), "\n")
  vim.cmd("cquit")
end
vim.cmd("qall!")
