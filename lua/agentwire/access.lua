--- Who may connect: bearer tokens, the browser's Origin, a hook of one's own.
--- Used by `server`, which has `_admission` carry out what is decided here. A
--- server that asks nobody says so in the log.
local identity = require("agentwire._identity")
local log = require("agentwire.log")
local misuse = require("agentwire._misuse")
local options_of = require("agentwire._options")
local origin = require("agentwire._origin")

local M = {}

---@class agentwire.AccessOptions
---@field tokens string|string[]|table<string, string|table>|nil bearer tokens;
--- a map has the identity of whoever brings one
---@field authenticate (fun(request: table): any, table?)|nil a hook of yours
---@field authenticating_max integer? hooks that run at once, 256
---@field origins string[]? of browsers; "*": any
---@field access false|nil false: everybody comes in unasked
---@field quiet boolean? do not warn of a server that asks nobody

local NAMED = options_of.kind("a table of tokens with whom each is for",
  function(value)
    if type(value) ~= "table" then
      return false
    end
    for token, who in pairs(value) do
      if type(token) ~= "string" or token == "" or who == true
        or not identity.read(who) then
        return false
      end
    end
    return true
  end)

M.OPTIONS = options_of.spec("access", {
  tokens = options_of.either(options_of.filled,
    options_of.list_of(options_of.filled), NAMED),
  authenticating_max = options_of.count,
  authenticate = options_of.func,
  origins = options_of.list_of(origin.kind),
  access = options_of.constant(false),
  quiet = options_of.boolean,
})

-- What decides who may come in; a process that was started by its one peer
-- asks nobody, and has no socket to guard.
local DOORS = { "tokens", "authenticate", "origins", "access", "tls" }

local function refuse_both(title, options, one, other, why)
  if options[one] ~= nil and options[other] ~= nil then
    misuse.raise("%s: options %s and %s contradict each other: %s", title, one,
      other, why)
  end
end

--- Raises for options that contradict each other.
---@param title string the entry point
---@param options table
function M.check(title, options)
  refuse_both(title, options, "tokens", "authenticate",
    "the hook would never be asked; compare tokens in it")
  for _, name in ipairs { "tokens", "authenticate", "origins" } do
    refuse_both(title, options, "access", name, "access = false asks nobody")
  end
  if options.authenticating_max and not options.authenticate then
    misuse.raise("%s: option authenticating_max: only with authenticate", title)
  elseif not options.stdio then
    return
  end
  for _, name in ipairs(DOORS) do
    refuse_both(title, options, "stdio", name,
      "whoever started the process is its peer")
  end
end

--- Compares two secrets in a time that depends on the length of `given` alone.
---@param given string
---@param wanted string
---@return boolean
function M.equal(given, wanted)
  local difference = #given == #wanted and 0 or 1
  for i = 1, #given do
    local a = given:byte(i)
    local b = wanted:byte((i - 1) % math.max(#wanted, 1) + 1) or -1
    -- Addition, not a branch, so that every byte costs the same.
    difference = difference + (a - b) * (a - b)
  end
  return difference == 0
end

local function bearer_of(request)
  local header = request.headers["authorization"] or ""
  return header:match("^[Bb][Ee][Aa][Rr][Ee][Rr] +(.+)$")
end

--- Tokens in each of their forms as a list of { token, identity }.
local function read_tokens(tokens)
  local list = {}
  if type(tokens) == "string" then
    tokens = { tokens }
  end
  for key, value in pairs(tokens) do
    if type(key) == "number" then
      list[#list + 1] = { value, true }
    else
      list[#list + 1] = { key, value }
    end
  end
  return list
end

--- A hook that lets in whoever brings one of the tokens, as whom it is for.
---@param tokens string|string[]|table<string, string|table>
---@return fun(request: table): any, table?
function M.bearer(tokens)
  local list = read_tokens(tokens)
  return function(request)
    local given = bearer_of(request)
    local found = false
    for _, each in ipairs(list) do
      if M.equal(given or "", each[1]) and given ~= nil then
        found = each[2]
      end
    end
    if found then
      return found
    end
    return false, { status = 401, message = "a valid bearer token is required" }
  end
end

local function check_origin(request, options, place)
  if origin.admits(request.headers["origin"], options.origins,
    place.is_local) then
    return true
  end
  return false, { status = 403, message = "this origin is not allowed" }
end

--- A server's admission: Origin first, then tokens or the hook.
---@param options table `url`, `origins`, `tokens`, `authenticate`; `access =
--- false` lets everybody in unasked
---@param place table `is_local` once it listens: reached from this machine alone
---@return (fun(request: table): any, table?)|nil admit who it is, or true for
--- nobody in particular; false and the refusal
function M.new(options, place)
  M.check("listen", options)
  if options.stdio then
    return nil
  elseif options.access == false then
    return options.tls and options.tls.verify_peer and function()
      return true -- who it is, its certificate says
    end or nil
  end
  local hook = options.authenticate
  if options.tokens then
    hook = M.bearer(options.tokens)
  end
  return function(request)
    local ok, why = check_origin(request, options, place)
    if not ok then
      return false, why
    end
    if hook then
      return hook(request)
    end
    return true
  end
end

--- Tells the log when anybody who can reach the address may come in: of a
--- service in the background too, whose stderr is no terminal.
---@param options table
---@param is_local boolean reached from this machine alone
function M.warn(options, is_local)
  local open = not is_local
    and not options.authenticate and not options.tokens
    and not (options.tls and options.tls.verify_peer)
  if open and not options.quiet then
    log.write("error", "unguarded", options.url
      .. " listens beyond loopback without authentication",
      { url = options.url })
  end
end

return M
