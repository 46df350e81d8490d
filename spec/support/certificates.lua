-- Certificates made for a spec by the openssl command, in a folder of its own.
local M = {}

local function run(...)
  local command = string.format(...)
  local ok = os.execute(command .. " >/dev/null 2>&1")
  assert(ok == true or ok == 0, command)
end

---@return string folder
function M.folder()
  local pipe = assert(io.popen("mktemp -d"))
  local folder = pipe:read("*l")
  pipe:close()
  return folder
end

function M.remove(folder)
  run("rm -rf '%s'", folder)
end

--- A certificate authority: `NAME.pem` and `NAME.key`.
function M.authority(folder, name)
  run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
    .. " -nodes -days 2 -subj '/CN=%s' -keyout '%s/%s.key' -out '%s/%s.pem'",
    name, folder, name, folder, name)
end

--- A certificate signed by `authority`.
function M.issue(folder, authority, name, subject, alternative)
  local base = folder .. "/" .. name
  run("openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    .. " -subj '%s' -keyout '%s.key' -out '%s.csr'", subject, base, base)
  local extension = assert(io.open(base .. ".ext", "w"))
  extension:write("subjectAltName=", alternative, "\n")
  extension:close()
  run("openssl x509 -req -in '%s.csr' -CA '%s/%s.pem' -CAkey '%s/%s.key'"
    .. " -CAcreateserial -days 2 -extfile '%s.ext' -out '%s.pem'", base,
    folder, authority, folder, authority, base, base)
end

--- A copy of a key under a passphrase: `LOCKED.key`.
function M.lock(folder, name, locked)
  run("openssl ec -in '%s/%s.key' -aes128 -passout pass:abcd -out '%s/%s.key'",
    folder, name, folder, locked)
end

return M
