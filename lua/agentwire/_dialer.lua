--- What starts each transport of a client's connection: the options that were
--- given to `aw.connect`, where `url`, `token` and `headers` may be functions.
--- Those are asked anew before each attempt, in the task that waits for it;
--- what they give is judged like what is given outright, but fails instead of
--- raising.
local child = require("agentwire._child")
local core = require("agentwire.core")
local request = require("agentwire._request")
local task = require("agentwire.task")
local wait = require("agentwire._wait")

local M = {}

---@class agentwire.Dialer
---@field url string? that was used last; nil: none yet, or a child process
---@field refreshes boolean whether something is asked for before each attempt
local Dialer = {}
Dialer.__index = Dialer

-- What may be a function, asked before each attempt.
local ASKED = { "url", "token", "headers" }

---@param merged agentwire.ConnectOptions|agentwire.SpawnOptions checked
---@return agentwire.Dialer
function M.new(merged)
  local refreshes = false
  for _, name in ipairs(ASKED) do
    refreshes = refreshes or type(merged[name]) == "function"
  end
  return setmetatable({
    url = type(merged.url) == "string" and merged.url or nil,
    refreshes = refreshes,
    _options = merged,
  }, Dialer)
end

--- The value of an option, or what its function gives.
local function ask(value, name, refused)
  if type(value) ~= "function" then
    return value
  end
  local ok, given, why = pcall(value, { refused = refused })
  if not ok and task.is_cancelled(given) then
    error(given, 0)
  elseif not ok then
    return nil, ("option %s: its function failed: %s"):format(name,
      wait.error_text(given))
  elseif given == nil then
    return nil, ("option %s: its function gave nothing: %s"):format(name,
      wait.error_text(why or "no reason given"))
  end
  return given
end

-- What a function gave is judged as what is given outright, but nobody is there
-- to blame.
local function problem_of(asked)
  if type(asked.url) ~= "string" or asked.url:find("%z") then
    return "option url: its function has to give a URL"
  elseif asked.token ~= nil and type(asked.token) ~= "string" then
    return "option token: its function has to give a string"
  elseif asked.headers ~= nil and type(asked.headers) ~= "table" then
    return "option headers: its function has to give a table"
  elseif asked.tls and asked.url:match("^[Ww][Ss][:+]") then
    return "option tls: a ws:// URL is plain text"
  end
  return core.header_problem { token = asked.token, headers = asked.headers }
end

--- What an attempt needs, asked where it is a function.
---@async
---@param url string? instead of the one that was given
---@param refused boolean? the last attempt was refused for its credentials
---@return table? asked
---@return string? message
---@return string? code
function Dialer:ask(url, refused)
  local given = self._options
  if given.argv then
    return given
  end
  local asked = setmetatable({}, { __index = given })
  for _, name in ipairs(ASKED) do
    local value, problem = given[name], nil
    if name == "url" and url then
      value = url
    elseif value ~= nil then
      value, problem = ask(value, name, refused or false)
    end
    if problem then
      return nil, problem, "no_credentials"
    end
    asked[name] = value
  end
  local problem = problem_of(asked)
  if problem then
    return nil, problem, "invalid_argument"
  end
  return asked
end

--- Starts a transport. Does not wait.
---@param conn userdata
---@param asked table
---@return boolean|nil ok
---@return string? message
---@return string? code
function Dialer:dial(conn, asked)
  if asked.url then
    self.url = asked.url
    asked.proxy = request.proxy_for(asked.proxy, asked.url)
  end
  asked.environment = child.environment(asked.env)
  return conn:dial(asked)
end

return M
