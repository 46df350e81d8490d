---Who may connect: bearer tokens, the browser's Origin, a hook of one's own.
local misuse = require("agentwire._misuse")
local options_of = require("agentwire._options")
local origin = require("agentwire._origin")

local M = {}

---@class agentwire.AccessOptions
---@field tokens string|string[]|nil bearer tokens
---@field authenticate (fun(request: table): boolean, table?)|nil a hook of yours
---@field origins string[]? of browsers; "*": any
---@field access false|nil false: everybody comes in unasked
---@field quiet boolean? do not warn of a server that asks nobody

M.OPTIONS = options_of.spec("access", {
  tokens = options_of.either(options_of.filled,
    options_of.list_of(options_of.filled)),
  authenticate = options_of.func,
  origins = options_of.list_of(options_of.string),
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

---Raises for options that contradict each other.
---@param title string the entry point
---@param options table
function M.check(title, options)
  refuse_both(title, options, "tokens", "authenticate",
    "the hook would never be asked; compare tokens in it")
  for _, name in ipairs { "tokens", "authenticate", "origins" } do
    refuse_both(title, options, "access", name, "access = false asks nobody")
  end
  if not options.stdio then
    return
  end
  for _, name in ipairs(DOORS) do
    refuse_both(title, options, "stdio", name,
      "whoever started the process is its peer")
  end
end


---Compares two secrets in a time that depends on the length of `given` alone.
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

---A hook that lets in whoever brings one of the tokens.
---@param tokens string|string[]
---@return fun(request: table): boolean, table?
function M.bearer(tokens)
  if type(tokens) == "string" then
    tokens = { tokens }
  end
  return function(request)
    local given = bearer_of(request)
    local found = false
    for _, token in ipairs(tokens) do
      found = M.equal(given or "", token) and given ~= nil or found
    end
    if found then
      return true
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

---A server's admission: Origin first, then tokens or the hook.
---@param options table `url`, `origins`, `tokens`, `authenticate`; `access =
---false` lets everybody in unasked
---@param place table `is_local` once it listens: reached from this machine alone
---@return (fun(request: table): boolean, table?)|nil
function M.new(options, place)
  if options.stdio or options.access == false then
    return nil
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

---Says on stderr when anybody who can reach the address may come in.
---@param options table
---@param is_local boolean reached from this machine alone
---@return boolean warned
function M.warn(options, is_local)
  local open = not is_local
    and not options.authenticate and not options.tokens
    and not (options.tls and options.tls.verify_peer)
  if open and not options.quiet then
    io.stderr:write("agentwire: warning: ", options.url,
      " listens beyond loopback without authentication\n")
  end
  return open == true
end

return M
