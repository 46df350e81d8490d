--- `agentwire doctor`: whether what agentwire needs is here and works.
local aw = require("agentwire")
local core = require("agentwire.core")
local version = require("agentwire.command.version")
local wraps = require("agentwire.command._wrap")

local M = {
  summary = "Say whether what it needs is here and works",
  takes = {},
  options = { { "--json", "one JSON value: ok, and a list of checks" } },
  more = { "Nothing leaves this machine. Of secrets it is said whether they are "
    .. "set, and nothing else. Ends with 1 if a check has failed; a warning is "
    .. "no failure." },
}

-- The clock of a machine that has lost it says 1970, or when it was made.
local EARLIEST = { year = 2025, month = 1, day = 1 }
local YEARS = 50
local KEYS = { "AGENTWIRE_TOKEN", "ANTHROPIC_API_KEY", "OPENAI_API_KEY",
  "OPENAI_BASE_URL", "OLLAMA_HOST" }
local PORTS = { 7450, 7451 }
local WAIT_MS = 5000

-- Each gives "ok", "warning" or "failed", a sentence, and perhaps the same as
-- data for programs.
local CHECKS = {}

local function add(name, fn)
  CHECKS[#CHECKS + 1] = { name = name, fn = fn }
end

add("versions", function()
  local found = version.versions()
  return "ok", ("agentwire %s, %s, libuv %s, OpenSSL %s"):format(found.agentwire,
    found.lua, found.libuv, found.openssl), found
end)

add("loop", function()
  local begun = core.monotonic_us()
  aw.sleep(10)
  local ms = (core.monotonic_us() - begun) / 1000
  if ms < 9 then
    return "failed", ("a timer of 10 ms came after %.1f ms"):format(ms)
  end
  return ms > 100 and "warning" or "ok", ("a timer of 10 ms took %.1f ms%s"):format(
    ms, ms > 100 and ": this machine is busy" or "")
end)

local function with_server(fn)
  local server, why = aw.listen({ url = "ws://127.0.0.1:0" }, function() end)
  if not server then
    return "failed", why
  end
  local verdict, text = fn(server)
  server:close()
  return verdict, text
end

add("websocket", function()
  return with_server(function(server)
    local conn, why = aw.connect(server.url, { timeout_ms = WAIT_MS,
      reconnect = false })
    if not conn then
      return "failed", why
    end
    local begun = core.monotonic_us()
    local ok
    ok, why = conn:ping(WAIT_MS)
    conn:close()
    if not ok then
      return "failed", why
    end
    return "ok", ("a message to this process and back took %.2f ms"):format(
      (core.monotonic_us() - begun) / 1000)
  end)
end)

-- A server without TLS: who gets as far as to say so has made what it needs of
-- OpenSSL, and sent its first flight.
add("tls", function()
  return with_server(function(server)
    local conn, why, code = aw.connect((server.url:gsub("^ws:", "wss:")),
      { timeout_ms = WAIT_MS, reconnect = false })
    if conn then
      conn:close()
    end
    if code ~= "not_tls" then
      return "failed", why or "TLS with a server that has none"
    end
    return "ok", "a handshake can be begun"
  end)
end)

local function exists(path)
  local file = io.open(path, "r")
  if file then
    file:close()
  end
  return file ~= nil
end

-- A folder opens like a file; whether it is empty plain Lua cannot tell, so the
-- names are tried under which systems keep all certificates in one.
add("authorities", function()
  local libraries = core.libraries()
  local file = os.getenv("SSL_CERT_FILE") or libraries.cert_file
  local folder = os.getenv("SSL_CERT_DIR") or libraries.cert_dir
  for _, path in ipairs { file, folder .. "/ca-certificates.crt",
    folder .. "/ca-bundle.crt" } do
    if exists(path) then
      return "ok", path
    end
  end
  return "warning", ("neither %s nor certificates in %s: wss:// works with "
    .. "--ca-file alone (Debian: apt install ca-certificates)"):format(file, folder)
end)

add("secrets", function()
  local set, unset, data = {}, {}, {}
  for _, name in ipairs(KEYS) do
    data[name] = (os.getenv(name) or "") ~= ""
    table.insert(data[name] and set or unset, name)
  end
  return "ok", ("set: %s; not set: %s"):format(
    #set > 0 and table.concat(set, ", ") or "none",
    #unset > 0 and table.concat(unset, ", ") or "none"), data
end)

add("ports", function()
  local taken = {}
  for _, port in ipairs(PORTS) do
    local server, why = aw.listen({ url = "ws://127.0.0.1:" .. port },
      function() end)
    if server then
      server:close()
    else
      taken[#taken + 1] = port .. ": " .. why:gsub("^cannot listen at %S+: ", "")
    end
  end
  if #taken > 0 then
    return "warning", table.concat(taken, "; ") .. " (serve --url takes another)"
  end
  return "ok", table.concat(PORTS, " and ") .. " of 127.0.0.1 are free"
end)

add("clock", function()
  local now, first = core.wall_ms() / 1000, os.time(EARLIEST)
  local text = os.date("!%Y-%m-%d %H:%M:%S UTC")
  if now < first or now > first + YEARS * 366 * 86400 then
    return "failed", text .. ": certificates will not be valid"
  end
  return "ok", text
end)

add("terminal", function(screen)
  local is, data = {}, { columns = screen:columns(), term = os.getenv("TERM") }
  for _, each in ipairs { "in", "out", "err" } do
    data["std" .. each] = screen[each .. "_terminal"]
    if screen[each .. "_terminal"] then
      is[#is + 1] = "std" .. each
    end
  end
  local set = (os.getenv("NO_COLOR") or "") ~= ""
  return "ok", ("%s; %d columns, TERM=%s%s"):format(
    #is > 0 and "at " .. table.concat(is, ", ") or "none", data.columns,
    data.term or "", set and ", NO_COLOR" or ""), data
end)

local COLOURS = { ok = "green", warning = "yellow", failed = "red" }

local function show(screen, check, widest)
  local mark = ("%-" .. #"warning" .. "s"):format(check.verdict)
  local indent = #"warning" + widest + 4
  screen:print(("%s  %s  %s"):format(
    screen:paint(COLOURS[check.verdict], mark),
    check.name .. (" "):rep(widest - #check.name),
    screen.out_terminal
      and wraps.indented(check.text, indent, screen:columns()) or check.text))
end

local function run_checks(screen)
  local results, ok = {}, true
  for index, check in ipairs(CHECKS) do
    screen:status("looking at " .. check.name)
    local verdict, text, data = check.fn(screen)
    results[index] = { name = check.name, verdict = verdict, text = text,
      data = data }
    ok = ok and verdict ~= "failed"
  end
  screen:status(nil)
  return results, ok
end

function M.run(_, screen)
  local results, ok = run_checks(screen)
  if screen.json then
    screen:value { ok = ok, checks = aw.json.array(results) }
    return ok or 1
  end
  local widest = 0
  for _, check in ipairs(results) do
    widest = math.max(widest, #check.name)
  end
  for _, check in ipairs(results) do
    show(screen, check, widest)
  end
  return ok or 1
end

return M
