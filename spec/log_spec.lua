-- The log hook: levels, a hook of one's own, silence in a pipe.
local log = require("agentwire.log")
local process = require("spec.support.process")

describe("the log", function()
  after_each(function()
    log.set(nil)
    log.set_level(nil)
    process.stop_all()
  end)

  it("tells a hook what happened, with its fields", function()
    local seen = {}
    log.set(function(entry)
      table.insert(seen, entry)
    end)
    log.write("warn", "slow_turn", "a turn took 3 s", { ms = 3000 })
    assert.same({ { level = "warn", event = "slow_turn", ms = 3000,
      message = "a turn took 3 s" } }, seen)
  end)

  it("keeps what is below the level from the hook", function()
    local count = 0
    log.set(function()
      count = count + 1
    end)
    log.write("debug", "x", "x")
    assert.equal(0, count)
    log.set_level("debug")
    log.write("debug", "x", "x")
    assert.equal(1, count)
    log.set_level("off")
    log.write("error", "x", "x")
    assert.equal(1, count)
    assert.is_false(log.wants("error"))
  end)

  it("survives a hook that raises", function()
    local child = process.run_text([[
      local log = require("agentwire.log")
      log.set(function() error("on purpose") end)
      log.write("warn", "x", "the message")
      print("alive")]])
    assert.equal("alive", child:line())
    assert.equal(0, child:wait())
    assert.truthy(child:errors():find("the log hook failed", 1, true))
    assert.truthy(child:errors():find("the message", 1, true))
  end)

  it("is silent in a pipe but for what failed", function()
    local child = process.run_text([[
      local log = require("agentwire.log")
      log.write("warn", "x", "a warning")
      log.write("error", "x", "a failure")]])
    assert.equal(0, child:wait())
    assert.equal("agentwire: a failure\n", child:errors())
  end)

  it("refuses what is no hook and no level", function()
    assert.has_error(function()
      log.set("x")
    end)
    assert.has_error(function()
      log.set_level("loud")
    end)
  end)
end)

describe("the page of the log", function()
  it("lists every event that is written, with its level", function()
    local pipe = assert(io.popen("grep -rhoE "
      .. "'(log\\.write\\(|tell\\(self, )\"[a-z]+\", \"[a-z_]+\"' lua"))
    local file = assert(io.open("docs/log.md"))
    local page, count = file:read("*a"), 0
    file:close()
    for line in pipe:lines() do
      local level, event = line:match('"(%l+)", "([%l_]+)"')
      local row = ("| `%s` | %s |"):format(event, level)
      assert(page:find(row, 1, true), "docs/log.md lacks " .. row)
      count = count + 1
    end
    pipe:close()
    assert.is_true(count > 5)
  end)
end)
