--- The other end: what every command that takes a URL has in common.
local connect = require("agentwire._connect")
local reconnect = require("agentwire._reconnect")

local M = {}

M.OPTIONS = {
  { "--token-env NAME", "the variable with the bearer token; without it and "
    .. "--token-file: AGENTWIRE_TOKEN, if that is set" },
  { "--token-file FILE", "the file with the bearer token, in its first line" },
  { "--ca-file FILE", "whom to trust with wss://, in place of the system's" },
  { "--timeout SECONDS", "for the connection (30)" },
  { "--attempts COUNT", "to come back when the connection is lost (8, which is "
    .. "about half a minute)" },
}

-- A short absence is bridged; who does not come back is gone.
local ATTEMPTS = 8
local TIMEOUT_S = 30

--- The options of a command that connects.
---@param own string[][]
---@return string[][]
function M.with(own)
  local all = {}
  for _, option in ipairs(own) do
    all[#all + 1] = option
  end
  for _, option in ipairs(M.OPTIONS) do
    all[#all + 1] = option
  end
  return all
end

local function read_first_line(path)
  local file, why = io.open(path, "r")
  if not file then
    return nil, why
  end
  local line
  line, why = file:read("*l")
  file:close()
  return line, why or "it is empty"
end

local function check(token, where)
  token = token:gsub("^%s+", ""):gsub("%s+$", "")
  if token == "" or token:find("[%c ]") then
    return nil, where .. ": a token is one word", "usage"
  end
  return token, where
end

--- The token, where that is said.
---@param given table
---@return string|nil token
---@return string? where it is from, else a message
---@return string? code
function M.token(given)
  local name, path = given.token_env, given.token_file
  if name and path then
    return nil, "--token-env and --token-file: one of them", "usage"
  elseif path then
    local line, why = read_first_line(path)
    if not line then
      return nil, "--token-file: " .. why, "usage"
    end
    return check(line, path)
  elseif name then
    local value = os.getenv(name)
    if not value then
      return nil, ("--token-env: the variable %s is not set"):format(name), "usage"
    end
    return check(value, name)
  end
  local value = os.getenv("AGENTWIRE_TOKEN") or ""
  if value ~= "" then
    return check(value, "AGENTWIRE_TOKEN")
  end
end

--- A port, or host and port, stand for the URL that they make.
---@param place string
---@return string url
function M.url(place)
  if place:find("^%d+$") then
    return "ws://127.0.0.1:" .. place
  elseif place:find("^[%w.-]+:%d+$") then
    return "ws://" .. place
  end
  return place
end

-- What to do about it.
local HINTS = {
  tls_unknown_issuer = "--ca-file FILE names whom to trust",
  not_tls = "ws:// is for servers without TLS",
}

local function explain(url, message, code, token)
  local hint = HINTS[code]
  if code == "refused" and not message:find("HTTP", 1, true) then
    hint = "nothing listens there; agentwire serve FILE would"
  elseif message:find("HTTP 401", 1, true) and not token then
    hint = "--token-env NAME or --token-file FILE gives one"
  end
  local shown = reconnect.shown(url)
  if code ~= "invalid_argument" then
    message = ("%s: %s"):format(shown, message)
  end
  return hint and ("%s (%s)"):format(message, hint) or message
end

--- Connects, and says so while it lasts.
---@async
---@param given table
---@param screen agentwire.command.Screen
---@return agentwire.Connection|nil conn
---@return string? message
---@return string? code
function M.connect(given, screen)
  local url = M.url(given.URL)
  local token, message, code = M.token(given)
  if code then
    return nil, message, code
  end
  screen:status("connecting to " .. reconnect.shown(url))
  local conn
  conn, message, code = connect.connect(url, {
    token = token,
    tls = given.ca_file and { ca_file = given.ca_file },
    timeout_ms = 1000 * (given.timeout or TIMEOUT_S),
    reconnect = { attempts = given.attempts or ATTEMPTS },
  })
  screen:status(nil)
  if not conn then
    return nil, explain(url, message, code, token), code
  end
  return conn
end

return M
