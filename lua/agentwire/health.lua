--- `:checkhealth agentwire`
local M = {}

-- Neovim 0.10, and how it was called before.
local function reporter()
  local vim = rawget(_G, "vim")
  local health = vim.health or require("health")
  return {
    start = health.start or health.report_start,
    ok = health.ok or health.report_ok,
    warn = health.warn or health.report_warn,
    error = health.error or health.report_error,
  }
end

local function check_core(report)
  local ok, problem = pcall(require, "agentwire.core")
  if not ok then
    report.error("the C core cannot be loaded: " .. tostring(problem),
      { "build it for LuaJIT (5.1) and put core.so where Neovim finds it: "
        .. ":help agentwire" })
    return false
  end
  local search = rawget(package, "searchpath")
  local path = search and search("agentwire.core", package.cpath)
  report.ok("the C core is loaded" .. (path and ": " .. path or ""))
  return true
end

local function check_host(report)
  local vim = rawget(_G, "vim")
  local host = require("agentwire.host").current()
  local waker = vim.uv and "vim.uv" or "vim.loop"
  if getmetatable(host) and host.fd and not host:is_closed() then
    report.ok(("a host in Neovim's loop (%s), %d tasks"):format(waker,
      host:live_tasks()))
  else
    report.error("there is no host", { "the editor may be leaving" })
  end
end

--- What `:checkhealth agentwire` calls.
function M.check()
  local report, vim = reporter(), rawget(_G, "vim")
  report.start("agentwire")
  if vim.fn.has("nvim-0.7") == 0 then
    report.error("Neovim 0.7 or later is needed")
    return
  end
  if not rawget(_G, "jit") then
    report.error("this Neovim was built without LuaJIT, which agentwire needs")
    return
  end
  if not check_core(report) then
    return
  end
  local aw = require("agentwire")
  report.ok("agentwire " .. aw._VERSION)
  check_host(report)
end

return M
