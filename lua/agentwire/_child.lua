--- What a child process is started with, whoever talks to it.
local limits = require("agentwire._limits")
local options = require("agentwire._options")

local M = {}

---@class agentwire.Child
---@field argv string[] a command that speaks on its stdin and stdout
---@field cwd string?
---@field env table<string, string|true>? its whole environment: texts, and true
--- for what this process has under that name; default: all of this process's
---@field kill_after_ms integer? after its stdin was closed, 2000
---@field own_group boolean? it leads a group of processes: what it has started
--- is killed with it; it has no terminal then

-- By name: a text, or true for what this process has.
local ENV = options.kind("a table of names, each with its text or true",
  function(value)
    if type(value) ~= "table" then
      return false
    end
    for name, given in pairs(value) do
      if type(name) ~= "string" or name == "" or name:find("[=%z]")
        or not (given == true
          or type(given) == "string" and not given:find("%z")) then
        return false
      end
    end
    return true
  end)

M.OPTIONS = options.spec("child", {
  argv = options.list_of(options.string),
  cwd = options.filled,
  env = ENV,
  kill_after_ms = limits.COUNT,
  own_group = options.boolean,
})

--- The option `env` as the core takes it: "NAME=text" for each.
---@param env table<string, string|true>?
---@return string[]? environment nil: all of this process's
function M.environment(env)
  if env == nil then
    return nil
  end
  local list = {}
  for name, given in pairs(env) do
    local text = given == true and os.getenv(name) or given
    if text ~= true then -- what this process does not have either
      table.insert(list, name .. "=" .. text)
    end
  end
  table.sort(list)
  return list
end

return M
