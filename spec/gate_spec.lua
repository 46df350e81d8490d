local cjson = require("cjson")
local judge = dofile("bench/gate/judge.lua")

local function read_criteria()
  local file = assert(io.open("bench/gate/criteria.json"))
  local criteria = cjson.decode(file:read("*a"))
  file:close()
  return criteria
end

local SOUND = {
  crashes = 0, leaks = 0, ordering_violations = 0, backpressure_failures = 0,
  reconnect_success_rate = 1, server_cases_failed = 0, client_cases_failed = 0,
  ping_p99_us = 100, envelopes_per_s = 100000,
}

local function with(changes)
  local metrics = {}
  for name, value in pairs(SOUND) do
    metrics[name] = value
  end
  for name, value in pairs(changes or {}) do
    metrics[name] = value
  end
  return metrics
end

local function without(name, metrics)
  metrics[name] = nil
  return metrics
end

local function decide(baseline, candidate)
  return judge.judge(read_criteria(), baseline, candidate)
end

local function names_of(criteria)
  local names = {}
  for _, group in ipairs { criteria.reliability, criteria.performance } do
    for _, criterion in ipairs(group) do
      table.insert(names, criterion.metric)
    end
  end
  return names
end

describe("the engine gate", function()
  local cases = {
    { "lets a candidate pass that is faster at the tail",
      { ping_p99_us = 80 }, true },
    { "lets a candidate pass that carries more", { envelopes_per_s = 125000 },
      true },
    { "stops one that is just short of both",
      { ping_p99_us = 80.1, envelopes_per_s = 124999 }, false },
    { "stops one that is no better", {}, false },
    { "stops a fast one that crashes", { ping_p99_us = 1, crashes = 1 }, false },
    { "stops a fast one that leaks", { ping_p99_us = 1, leaks = 1 }, false },
    { "stops a fast one that reorders",
      { ping_p99_us = 1, ordering_violations = 1 }, false },
    { "stops a fast one that hoards",
      { ping_p99_us = 1, backpressure_failures = 1 }, false },
    { "stops a fast one that comes back 998 times of 1000",
      { ping_p99_us = 1, reconnect_success_rate = 0.998 }, false },
    { "forgives one lost reconnect in 1000",
      { ping_p99_us = 1, reconnect_success_rate = 0.999 }, true },
    { "stops a fast server that takes a malformed frame",
      { ping_p99_us = 1, server_cases_failed = 1 }, false },
    { "stops a fast client that takes a malformed frame",
      { ping_p99_us = 1, client_cases_failed = 1 }, false },
  }
  for _, case in ipairs(cases) do
    it(case[1], function()
      assert.equal(case[3], decide(with(), with(case[2])).go)
    end)
  end

  it("does not ask the baseline to be reliable", function()
    local baseline = with { server_cases_failed = 9, leaks = 3 }
    assert.is_true(decide(baseline, with { ping_p99_us = 50 }).go)
  end)

  for _, name in ipairs(names_of(read_criteria())) do
    it("says no when either side has no " .. name, function()
      local good = { ping_p99_us = 50, envelopes_per_s = 200000 }
      local verdict = decide(with(), without(name, with(good)))
      assert.is_false(verdict.go)
      assert.matches(name .. ": the candidate has no figure",
        table.concat(verdict.reasons, "\n"), 1, true)
      assert.is_true(decide(with(), with(good)).go)
      assert.is_false(decide(without(name, with()), with(good)).go)
    end)
  end

  it("takes nothing but a finite number for a figure", function()
    for _, value in ipairs { "0", cjson.null, 0 / 0, math.huge, -1, true } do
      assert.is_false(decide(with(),
        with { ping_p99_us = 50, crashes = value }).go)
    end
  end)

  it("builds no ratio on a figure of 0", function()
    assert.is_false(decide(with { ping_p99_us = 0 }, with()).go)
    assert.is_false(decide(with { envelopes_per_s = 0 },
      with { ping_p99_us = 50 }).go)
    assert.is_false(decide(with(), with { ping_p99_us = 0 }).go)
  end)

  it("says no without criteria", function()
    assert.is_false(judge.judge({}, with(), with()).go)
  end)

  it("prints each criterion, and the verdict with its reasons last", function()
    local text = judge.render(decide(with(),
      with { leaks = 2, ping_p99_us = 50 }))
    for _, name in ipairs(names_of(read_criteria())) do
      assert.matches("\n" .. name .. " ", text, 1, true)
    end
    assert.matches("\nNO%-GO: leaks: 2, demanded <= 0; "
      .. "ping_p99_us: 0%.500, demanded ratio <= 0%.800$", text)
    text = judge.render(decide(with(), with { ping_p99_us = 50 }))
    assert.matches("\nGO: ", text, 1, true)
  end)
end)
