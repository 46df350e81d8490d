-- Gathers what the runs of one engine left behind into one object of metrics:
--
--   lua5.4 collect.lua ENGINE OUT FILE...
--
-- wire-*.json: medians of the rounds. lua-*.json: counters. *.log: programs
-- under the sanitizers, each with its exit status in *.rc. What is not there
-- gives no metric, so that the judge sees that it is missing.
local json = require("agentwire").json
local unpack = require("agentwire._compat").unpack

local LEAKED = 23 -- LeakSanitizer's exit status

local metrics = { engine = arg[1] }
local wire, leak_sites, failed_cases = {}, {}, {}

local function read(path)
  local file = io.open(path)
  if not file then
    return ""
  end
  local text = file:read("*a")
  file:close()
  return text
end

local function add(name, count)
  metrics[name] = (metrics[name] or 0) + count
end

local function median(values)
  table.sort(values)
  local middle = (#values + 1) / 2
  return (values[math.floor(middle)] + values[math.ceil(middle)]) / 2
end

-- Where a leak comes from: the library, or the nearest line of ours.
local function site_of(frames)
  if frames:find("libwebsockets", 1, true) and not frames:find("/csrc/") then
    return "libwebsockets"
  end
  return frames:match("/csrc/[^\n]-([%w_]+%.c:%d+)")
    or frames:match("/tests/[^\n]-([%w_]+%.c:%d+)")
    or frames:match("%(([^()\n]+)%+0x") or "unknown"
end

local function count_leaks(text)
  for frames in (text .. "\n"):gmatch("Direct leak of (.-)\n\n") do
    local site = site_of(frames)
    leak_sites[site] = (leak_sites[site] or 0) + 1
    add("leaks", 1)
  end
end

local CRASHES = { "ERROR: AddressSanitizer", "runtime error: ",
  "Test failed with exception: " }

local function count_crashes(name, text, status)
  local crashes = 0
  for _, pattern in ipairs(CRASHES) do
    crashes = crashes + select(2, text:gsub(pattern, ""))
  end
  local is_workload = name:match("^lua%-")
  local died = status == nil or status == 124 or status > 128
    or (is_workload and status ~= 0 and status ~= LEAKED)
  if crashes == 0 and died then
    crashes = 1
  end
  add("crashes", crashes)
end

-- A case counts as failed until its program says that it passed.
local function count_cases(text)
  for planned in text:gmatch("\n?1%.%.(%d+)") do
    add("cases", tonumber(planned))
  end
  for role, name in text:gmatch("\nok %d+ %- (%l+), ([^\n]+)") do
    add(role .. "_cases_passed", name and 1)
  end
  for name in text:gmatch("\nnot ok %d+ %- ([^\n]+)") do
    table.insert(failed_cases, name)
  end
end

local function count_tests(text)
  add("transport_tests_passed", select(2, text:gsub("\nok ", "")))
  add("transport_tests_failed", select(2, text:gsub("\nnot ok ", "")))
end

local function take_log(path, name)
  local text = "\n" .. read(path)
  add("leaks", 0)
  count_leaks(text)
  count_crashes(name, text, tonumber(read((path:gsub("%.log$", ".rc")))))
  if name:match("^cases%-") then
    count_cases(text)
  elseif not name:match("^lua%-") then
    count_tests(text)
  end
end

local function take_counters(text)
  local counters = json.decode(text)
  for name, value in pairs(counters or {}) do
    metrics[name] = value
  end
end

local function take(path)
  local name = path:match("([^/]+)%.%w+$")
  if path:match("%.log$") then
    take_log(path, name)
  elseif name:match("^wire%-") then
    table.insert(wire, (json.decode(read(path))))
  else
    take_counters(read(path))
  end
end

local function conclude_wire()
  local columns = {}
  for _, round in ipairs(wire) do
    round.cpu_us_per_envelope = round.client_cpu_us_per_envelope
      + round.server_cpu_us_per_envelope
    for name, value in pairs(round) do
      if type(value) == "number" then
        columns[name] = columns[name] or {}
        table.insert(columns[name], value)
      end
    end
  end
  for name, values in pairs(columns) do
    metrics[name] = median(values)
  end
  if columns.ping_p99_us then -- without what else the machine did
    metrics.ping_p99_best_us = math.min(unpack(columns.ping_p99_us))
  end
  metrics.rounds = #wire
end

-- Both roles are asked the same cases. A stream that is lost is a hole in its
-- order, whatever else it is.
local function conclude_counts()
  if metrics.cases then
    for _, role in ipairs { "server", "client" } do
      metrics[role .. "_cases_failed"] = metrics.cases / 2
        - (metrics[role .. "_cases_passed"] or 0)
    end
  end
  if metrics.reconnects then
    metrics.reconnect_success_rate = metrics.reconnect_successes
      / metrics.reconnects
    metrics.ordering_violations = metrics.ordering_violations
      + metrics.lost_streams
  end
  metrics.leak_sites, metrics.failed_cases = leak_sites, failed_cases
end

-- One member a line, in order, so that two runs can be compared by eye.
local function write(path)
  local names, lines = {}, {}
  for name in pairs(metrics) do
    table.insert(names, name)
  end
  table.sort(names)
  for i, name in ipairs(names) do
    lines[i] = ("  %s: %s"):format(json.encode(name),
      json.encode(metrics[name]))
  end
  local file = assert(io.open(path, "w"))
  file:write("{\n", table.concat(lines, ",\n"), "\n}\n")
  file:close()
end

for i = 3, #arg do
  take(arg[i])
end
conclude_wire()
conclude_counts()
write(arg[2])
