-- A turn of a host: its time, what takes too long in it, and who belongs to it.
local aw = require("agentwire")
local core = require("agentwire.core")
local helper = require("spec.helper")
local host = require("agentwire.host")
local log = require("agentwire.log")
local process = require("spec.support.process")
local standalone = require("agentwire.host.standalone")
local task = require("agentwire.task")

local function compute(ms)
  local till = core.monotonic_us() + ms * 1000
  repeat until core.monotonic_us() >= till
end

describe("a turn's budget", function()
  local h, loop

  before_each(function()
    h, loop = helper.fake_host()
  end)

  after_each(function()
    h:close()
  end)

  it("leaves tasks to the next turn, in their order", function()
    local order = {}
    for index = 1, 6 do
      h:spawn(function()
        compute(2)
        order[#order + 1] = index
        task.yield()
        order[#order + 1] = 10 + index
      end)
    end
    assert.is_true(h:turn(3))
    assert.is_true(#order >= 1 and #order < 6, #order)
    assert.equal(0, h:timeout_ms())
    assert.is_true(loop.rings > 0)
    local turns = 0
    while h:turn(3) and turns < 50 do
      turns = turns + 1
    end
    assert.same({ 1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16 }, order)
  end)

  it("bounds handlers and timers as well, one at a time", function()
    local handled, fired = 0, 0
    for index = 1, 4 do
      local object = "object " .. index
      h:watch(object, function()
        compute(2)
        handled = handled + 1
      end)
      loop:raise(object, 1)
      h:timer(0, function()
        compute(2)
        fired = fired + 1
      end)
    end
    assert.is_true(h:turn(0))
    assert.same({ 1, 1 }, { handled, fired })
    while h:turn(0) do
    end
    assert.same({ 4, 4 }, { handled, fired })
  end)

  it("is the host's own unless it is given", function()
    local mine = standalone.new { budget_ms = 0, loop = helper.fake_loop() }
    local ran = 0
    for _ = 1, 2 do
      mine:spawn(function()
        compute(1)
        ran = ran + 1
      end)
    end
    assert.is_true(mine:turn())
    assert.equal(1, ran)
    assert.is_false(mine:turn(1000))
    mine:close()
  end)
end)

describe("what takes long in a turn", function()
  local h, said

  before_each(function()
    said = {}
    log.set(function(entry)
      said[#said + 1] = entry
    end)
    h = standalone.new { slow_turn_ms = 60, loop = helper.fake_loop() }
  end)

  after_each(function()
    log.set(nil)
    h:close()
  end)

  it("is told to the log, with the task's name", function()
    h:spawn(compute, 70).name = "the sums"
    h:spawn(compute, 1).name = "short"
    h:turn(1000)
    assert.equal(1, #said)
    assert.equal("slow_turn", said[1].event)
    assert.equal("warn", said[1].level)
    assert.equal("task the sums", said[1].what)
    assert.is_true(said[1].ms >= 70)
    assert.matches("the sums kept the loop busy", said[1].message)
  end)

  it("is told with the place of a handler, once", function()
    h:timer(0, function()
      h._scheduler:call("a state listener", compute, 70)
    end)
    h:turn(1000)
    assert.equal(1, #said)
    assert.matches("^a state listener %(.*turn_spec.lua:%d+%)", said[1].what)
  end)

  it("may be anything, with any name, and a hook that fails", function()
    log.set(function()
      error("the hook")
    end)
    local name = setmetatable({}, { __tostring = function()
      error("no name")
    end })
    h:spawn(compute, 70).name = name
    h:turn(1000)
    assert.equal(0, h:live_tasks())
  end)
end)

describe("who a task belongs to", function()
  it("is the host that runs, though another is in use", function()
    local h = standalone.new()
    local seen, child
    h:spawn(function()
      seen = host.current()
      child = aw.spawn(function() end)
    end)
    h:schedule(function()
      seen = seen or host.current()
    end)
    h:turn()
    assert.equal(h, seen)
    assert.is_true(child:is_done())
    assert.not_equal(h, host.current())
    h:close()
  end)

  it("is the host in use, outside of any task", function()
    local h = helper.fake_host()
    local before = host.use(h)
    local t = aw.spawn(function(x)
      return x
    end, 5)
    h:turn()
    assert.equal(5, t:join())
    host.use(before)
    h:close()
  end)

  it("is nobody where nothing runs, and that is said at the line", function()
    local before = host.use(nil)
    local ok, err = pcall(aw.spawn, print)
    host.use(before)
    assert.is_false(ok)
    assert.matches("turn_spec.lua:%d+: spawn: nothing runs here", err)
    assert.matches("agentwire.run", err)
  end)

  it("is told by the option that is wrong", function()
    local ok, err = pcall(standalone.new, { budget = 4 })
    assert.is_false(ok)
    assert.matches("unknown option budget; did you mean budget_ms%?", err)
  end)
end)

describe("cleanup that a spawner registers", function()
  it("runs for a task that never began, and once for one that did", function()
    local h = helper.fake_host()
    local ended = {}
    h:run(function()
      local never = task.spawn(function()
        ended.body = true
      end)
      never:defer(function()
        ended.never = (ended.never or 0) + 1
      end)
      never:cancel()
      local began = task.spawn(task.sleep, 10)
      began:defer(function()
        ended.began = (ended.began or 0) + 1
      end)
      began:join()
      assert.is_false((pcall(began.defer, began, print)))
    end)
    assert.same({ never = 1, began = 1 }, ended)
    h:close()
  end)
end)

describe("the language", function()
  it("is refused at require with one sentence, if waits cannot work", function()
    local child = process.run_text([[
      jit, _VERSION = nil, "Lua 5.3"
      print(pcall(require, "agentwire"))
    ]])
    child:expect("^false\tagentwire needs LuaJIT or Lua 5%.4; this is Lua 5%.3$")
    child:stop()
  end)

  it("lends its own coroutines where a host has put others", function()
    local child = process.run_text([[
      for _, name in ipairs { "create", "resume", "yield" } do
        coroutine["_" .. name] = coroutine[name]
        coroutine[name] = function() error("the host's " .. name) end
      end
      local aw = require("agentwire")
      print(aw.run(function() aw.sleep(1) return aw.spawn(tostring, 5):join() end))
    ]])
    child:expect("^5$")
    child:stop()
  end)
end)

describe("the system's randomness", function()
  it("is no process's own, and leaves the program's generator alone", function()
    local text = [[
      math.randomseed(7)
      local first = math.random()
      math.randomseed(7)
      local random = require("agentwire.core").random
      local mine = random()
      assert(mine >= 0 and mine < 1 and mine ~= random())
      assert(math.random() == first)
      print(mine)
    ]]
    local one, two = process.run_text(text), process.run_text(text)
    assert.not_equal(one:expect("^([%d.e-]+)$"), two:expect("^([%d.e-]+)$"))
    one:stop()
    two:stop()
  end)
end)
