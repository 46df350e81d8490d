-- What every limit on things at once has in common: as many as it says can be
-- there, one more is refused and harms nothing, what ends makes room, and
-- nothing is counted that is not there: done often enough, one after the other,
-- a place that never comes back shows.
local assert = require("luassert")
local link = require("spec.support.link")

local M = {}

-- More than the limit, so that a count that leaks by one each time is seen.
local MORE = 10

---@class spec.Limit
---@field most integer what the limit allows
---@field begin fun(): (fun())|nil, string?, string? begins one: what ends it, or
--- nil, message, code
---@field code string? with which one too many is refused; rate_limited
---@field says string? part of the message of such a refusal
---@field counts (fun(): table)? what is the same before and after
---@field settled fun()? waits until what ended has left its place

local function refuse(limit)
  local ended, why, code = limit.begin()
  assert.is_nil(ended, "one too many was let in")
  assert.equal(limit.code or "rate_limited", code)
  assert.truthy(not limit.says or why:find(limit.says, 1, true), why)
end

local function begin(limit)
  local ended, why = limit.begin()
  assert(ended, why)
  return ended
end

local function fill(limit)
  local ends = {}
  for i = 1, limit.most do
    ends[i] = begin(limit)
  end
  return ends
end

local function finish(limit, ends)
  for _, each in ipairs(ends) do
    each()
  end
  (limit.settled or link.settle)()
end

--- Holds a limit to all of that.
---@param limit spec.Limit
function M.check(limit)
  local before = limit.counts and limit.counts()
  local ends = fill(limit)
  for _ = 1, limit.most + MORE do
    refuse(limit)
  end
  finish(limit, { table.remove(ends) })
  table.insert(ends, begin(limit)) -- one place, and no second one
  refuse(limit)
  finish(limit, ends)
  for _ = 1, limit.most + MORE do
    finish(limit, { begin(limit) })
  end
  ends = fill(limit)
  refuse(limit)
  finish(limit, ends)
  if before then
    assert.same(before, limit.counts())
  end
end

return M
