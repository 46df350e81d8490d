-- What the specs with nginx share: a model server, an agent server and an nginx
-- in front of and between them.
local nginx = require("spec.openresty.nginx")
local process = require("spec.support.process")

local LONG = { life_s = 1200 } -- a hundred reloads take their time
local HERE = "spec/openresty/"

local M = {}

---@class spec.World
local World = {}
World.__index = World

---@param given table? as of nginx.start
function M.new(given)
  local folder = process.folder()
  local self = setmetatable({ folder = folder }, World)
  self:start_model()
  self:start_agent()
  self.nginx = nginx.start(folder, given)
  return self
end

function World:start_model()
  self.model = process.lua(HERE .. "model.lua", self:socket("model"),
    self.folder .. "/model.log", LONG)
  self.model:expect("^ready$")
end

function World:start_agent()
  self.agent = process.lua(HERE .. "agent.lua", self:socket("agent"),
    self:socket("model"), LONG)
  self.agent:expect("^ready$")
end

function World:socket(name)
  return ("ws+unix:%s/%s.sock"):format(self.folder, name)
end

--- How many calls of the model have ended so.
function World:ended(how)
  return tonumber(process.shell(("grep -c '^%s$' %s/model.log || true"):format(
    how, self.folder)))
end

function World:close()
  if self.nginx then
    self.nginx:stop()
  end
  process.stop_all()
  process.remove(self.folder)
end

--- Lua's memory and tasks of each worker, as tables by the worker's number.
function World:states()
  local states = {}
  for pid, line in pairs(self.nginx:each_worker("/state")) do
    local tasks, rss = line:match("^%d+ (%d+) (%d+)")
    states[pid] = { tasks = tonumber(tasks), rss_kb = tonumber(rss) }
  end
  return states
end

--- Waits until no worker has more tasks than it had.
function World:settled(before)
  self.nginx:eventually("all tasks have ended", function()
    for pid, state in pairs(self:states()) do
      if before[pid] and state.tasks > before[pid].tasks then
        return false
      end
    end
    return true
  end)
end

return M
