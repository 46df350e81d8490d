--- `agentwire version`.
local aw = require("agentwire")

local M = {
  summary = "Say which version this is",
  takes = {},
  options = { { "--json", "as JSON, with the versions below it" } },
}

---@return table
function M.versions()
  local libraries = require("agentwire.core").libraries()
  return {
    agentwire = aw._VERSION,
    lua = rawget(_G, "jit") and rawget(_G, "jit").version or _VERSION,
    libuv = libraries.libuv,
    openssl = libraries.openssl:match("^OpenSSL (%S+)") or libraries.openssl,
  }
end

function M.run(_, screen)
  local versions = M.versions()
  if screen.json then
    screen:value(versions)
  else
    screen:print("agentwire " .. versions.agentwire)
  end
  return true
end

return M
