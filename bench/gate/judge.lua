--- The verdict on two sets of metrics. Pure: tables in, a table out.
local M = {}

---@class agentwire.gate.Row
---@field metric string
---@field baseline number? nil: missing
---@field candidate number? nil: missing
---@field bound string what is demanded, in words
---@field measured number? what was compared with the bound
---@field ok boolean

---@class agentwire.gate.Verdict
---@field go boolean
---@field reliability agentwire.gate.Row[]
---@field performance agentwire.gate.Row[]
---@field reasons string[]

-- Anything but a finite number that counts something is no metric.
local function metric_of(metrics, name)
  local value = metrics[name]
  if type(value) == "number" and value >= 0 and value < math.huge then
    return value
  end
  return nil
end

local function show(value)
  if value == nil then
    return "missing"
  elseif value % 1 == 0 then
    return string.format("%.0f", value)
  elseif value >= 100 then
    return string.format("%.1f", value)
  end
  return string.format("%.3f", value)
end

local function compare(value, most, least)
  if most then
    return value <= most, "<= " .. show(most)
  end
  return value >= least, ">= " .. show(least)
end

local function new_row(criterion, baseline, candidate)
  return {
    metric = criterion.metric,
    baseline = metric_of(baseline, criterion.metric),
    candidate = metric_of(candidate, criterion.metric),
    bound = nil,
    measured = nil,
    ok = false,
  }
end

local function check_reliability(criterion, baseline, candidate)
  local row = new_row(criterion, baseline, candidate)
  local ok, bound = compare(row.candidate or 0, criterion.at_most,
    criterion.at_least)
  row.bound, row.measured = bound, row.candidate
  row.ok = row.candidate ~= nil and row.baseline ~= nil and ok
  return row
end

local function check_performance(criterion, baseline, candidate)
  local row = new_row(criterion, baseline, candidate)
  if row.baseline and row.candidate and row.baseline > 0
    and row.candidate > 0 then
    row.measured = row.candidate / row.baseline
  end
  local ok, bound = compare(row.measured or 0, criterion.ratio_at_most,
    criterion.ratio_at_least)
  row.bound = "ratio " .. bound
  row.ok = row.measured ~= nil and ok
  return row
end

local function is_missing(row)
  return row.baseline == nil or row.candidate == nil or row.measured == nil
end

local function explain(row)
  if row.candidate == nil then
    return row.metric .. ": the candidate has no figure"
  elseif row.baseline == nil then
    return row.metric .. ": the baseline has no figure"
  elseif row.measured == nil then
    return row.metric .. ": there is no ratio to a figure of 0"
  end
  return string.format("%s: %s, demanded %s", row.metric, show(row.measured),
    row.bound)
end

local function fail(verdict, reason)
  verdict.go = false
  table.insert(verdict.reasons, reason)
end

local function weigh_reliability(verdict)
  for _, row in ipairs(verdict.reliability) do
    if not row.ok then
      fail(verdict, explain(row))
    end
  end
  if #verdict.reliability == 0 then
    fail(verdict, "no criterion of reliability")
  end
end

-- One of them is enough, but none may be missing.
local function weigh_performance(verdict)
  local met, unmet = {}, {}
  for _, row in ipairs(verdict.performance) do
    if is_missing(row) then
      fail(verdict, explain(row))
    else
      table.insert(row.ok and met or unmet, explain(row))
    end
  end
  if #met == 0 then
    fail(verdict, "no criterion of performance is met")
  end
  for _, reason in ipairs(#met > 0 and met or unmet) do
    table.insert(verdict.reasons, reason)
  end
end

--- Every criterion of reliability has to hold for the candidate, and at least
--- one of performance. A metric that is missing on either side means no.
---@param criteria {reliability: table[], performance: table[]}
---@param baseline table<string, number>
---@param candidate table<string, number>
---@return agentwire.gate.Verdict
function M.judge(criteria, baseline, candidate)
  local verdict = { go = true, reliability = {}, performance = {}, reasons = {} }
  for i, criterion in ipairs(criteria.reliability or {}) do
    verdict.reliability[i] = check_reliability(criterion, baseline, candidate)
  end
  for i, criterion in ipairs(criteria.performance or {}) do
    verdict.performance[i] = check_performance(criterion, baseline, candidate)
  end
  weigh_reliability(verdict)
  weigh_performance(verdict)
  return verdict
end

local FORMAT = "%-24s %12s %12s %9s  %-16s %s"

local function add_rows(lines, rows, is_ratio)
  for _, row in ipairs(rows) do
    table.insert(lines, string.format(FORMAT, row.metric, show(row.baseline),
      show(row.candidate), is_ratio and show(row.measured) or "", row.bound,
      row.ok and "yes" or "no"))
  end
end

--- The verdict as a table for people; its last line begins with GO or NO-GO.
---@param verdict agentwire.gate.Verdict
---@return string
function M.render(verdict)
  local lines = { string.format(FORMAT, "metric", "baseline", "candidate",
    "ratio", "demanded", "met") }
  add_rows(lines, verdict.reliability, false)
  add_rows(lines, verdict.performance, true)
  table.insert(lines, "")
  table.insert(lines, (verdict.go and "GO: " or "NO-GO: ")
    .. table.concat(verdict.reasons, "; "))
  return table.concat(lines, "\n")
end

return M
