-- What a process has used; Linux alone, as the benchmarks are.
local core = require("agentwire.core")

local M = {}

--- CPU time of this process in microseconds, user and system.
function M.cpu_us()
  return os.clock() * 1e6
end

--- Monotonic microseconds.
M.now_us = core.monotonic_us

---@return integer kibibytes
function M.peak_rss_kib()
  local file = assert(io.open("/proc/self/status"))
  local text = file:read("*a")
  file:close()
  return tonumber(text:match("VmHWM:%s*(%d+)"))
end

return M
