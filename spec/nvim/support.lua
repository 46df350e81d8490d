-- Neovim as a process for specs: started without a screen, told Lua by its
-- stdin, one line in and one out.
local process = require("spec.support.process")

local M = {}

local SERVE = [[
local uv = vim.uv or vim.loop
local input = uv.new_pipe(false)
input:open(0)
function say(...) io.stdout:write(table.concat({...}, " "), "\n") io.stdout:flush() end
local rest = ""
input:read_start(function(_, data)
  if not data then return end
  rest = rest .. data
  for line in rest:gmatch("([^\n]*)\n") do
    vim.schedule(function()
      local ok, problem = pcall(function() return assert(loadstring(line))() end)
      if not ok then say("raised: " .. tostring(problem):gsub("\n", " | ")) end
    end)
  end
  rest = rest:match("[^\n]*$")
end)
say("ready")
]]

--- The Neovim that is tested; another than the system's by AW_NVIM.
M.program = os.getenv("AW_NVIM") or "nvim"

-- Its Lua is LuaJIT, whatever runs the spec.
local MODULES = "LUA_CPATH=" .. process.quote((package.cpath
  :gsub("/5%.4/", "/5.1/")))

---@class spec.Nvim
---@field process spec.Process
local Nvim = {}
Nvim.__index = Nvim

local function write_file(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

--- Starts one in `folder`, with `aw` and `nvim` (agentwire.nvim) as globals.
function M.start(folder)
  local path = folder .. "/serve.lua"
  write_file(path, SERVE .. 'aw = require("agentwire")\n')
  local self = setmetatable({
    process = process.start({ M.program, "--headless", "-u", "NONE", "-i", "NONE",
      "-n", "-c", "luafile " .. path }, { prefix = "env " .. MODULES }),
  }, Nvim)
  self.process:expect("^ready$")
  return self
end

-- One line, which is what it reads.
local function in_line(text, ...)
  if select("#", ...) > 0 then
    text = text:format(...)
  end
  return (text:gsub("%s*\n%s*", " "))
end

--- Runs Lua in it, which says a line by `say(...)`; returns that. More arguments
--- are those of string.format.
function Nvim:ask(text, ...)
  return self.process:ask(in_line(text, ...))
end

--- Runs Lua in it, and goes on.
function Nvim:tell(text, ...)
  self.process:say(in_line(text, ...))
end

return M
