-- Prints the verdict; the exit status is 0 for GO, 1 for NO-GO:
--
--   lua5.4 report.lua CRITERIA BASELINE CANDIDATE
local json = require("agentwire").json
local judge = require("gate.judge")

local function read(path)
  local file = io.open(path)
  local text = file and file:read("*a")
  if file then
    file:close()
  end
  return text and json.decode(text) or {}
end

local FURTHER = { "cpu_us_per_envelope", "ping_p50_us", "ping_p99_best_us",
  "client_peak_rss_kib", "server_peak_rss_kib", "reconnects", "cases",
  "transport_tests_passed", "transport_tests_failed", "base_held_kib" }

local function print_further(baseline, candidate)
  print("\nfor information")
  for _, name in ipairs(FURTHER) do
    local a, b = tonumber(baseline[name]), tonumber(candidate[name])
    print(("%-24s %12s %12s %9s"):format(name,
      a and ("%.6g"):format(a) or "missing",
      b and ("%.6g"):format(b) or "missing",
      a and b and a > 0 and ("%.3f"):format(b / a) or ""))
  end
  for _, side in ipairs { baseline, candidate } do
    for site, count in pairs(side.leak_sites or {}) do
      print(("leak in %s: %s, %d times"):format(side.engine, site, count))
    end
  end
end

local baseline, candidate = read(arg[2]), read(arg[3])
local verdict = judge.judge(assert(read(arg[1])), baseline, candidate)
print(judge.render(verdict))
print_further(baseline, candidate)
os.exit(verdict.go and 0 or 1)
