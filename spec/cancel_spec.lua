-- Every call that waits, cancelled at each of its waits: what it had begun by
-- then is undone. And what a script drops without closing it is given up.
local aw = require("agentwire")
local calls = require("spec.support.calls")
local counters = require("spec.support.counters")
local link = require("spec.support.link")
local task = require("agentwire.task")

-- Turns after which a call is cancelled: each of the first ones, then further
-- and further apart, until the call has ended by then.
local DENSE, TURNS_MAX = 12, 4000

local function turns(fn)
  local n = 0
  repeat
    local ended = fn(n)
    n = n < DENSE and n + 1 or math.ceil(n * 1.5)
  until ended or n > TURNS_MAX
end

-- What docs/api.md says that waits, and is not in the list of calls.
local function uncovered()
  local function read(path)
    local file = assert(io.open(path))
    local text = file:read("*a")
    file:close()
    return text
  end
  local done, missing, count = read("spec/support/calls.lua"), {}, 0
  for name in read("docs/api.md"):gmatch("\n%- `([%w_.:]+)%b()` %(waits%)") do
    count = count + 1
    local quoted = name:gsub("%p", "%%%0")
    -- Called, or given to one that calls it.
    if not done:find("%f[%w_.]" .. quoted .. "[(%s,{]") then
      missing[#missing + 1] = name
    end
  end
  return missing, count
end

describe("a call that is cancelled", function()
  it("is every one that waits", function()
    local missing, count = uncovered()
    assert.same({}, missing)
    assert.truthy(count > 50)
  end)

  for name, call in pairs(calls.calls) do
    it("leaves nothing: " .. name, function()
      link.run(function()
        local world = calls.world()
        -- What is made once and kept, is made before it is counted.
        aw.task.timeout(5000, call, world)
        aw.sleep(5)
        counters.settled({}, world.parts, 20)
        local before = counters.take(world.parts)
        turns(function(n)
          local runner = aw.spawn(call, world)
          for _ = 1, n do
            if runner:is_done() then
              break
            end
            task.yield()
          end
          local ended = runner:is_done()
          runner:cancel("no longer wanted")
          runner:join()
          runner = nil -- luacheck: ignore
          if n % 3 == 0 or ended then
            assert.equal("", counters.settled(before, world.parts),
              "cancelled after " .. n .. " turns")
          end
          return ended
        end)
        world.close()
      end)
    end)
  end
end)
