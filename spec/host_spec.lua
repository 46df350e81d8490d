-- Every host here runs on a fake clock: see spec/helper.lua.
local helper = require("spec.helper")
local current_host = require("agentwire.host")
local standalone = require("agentwire.host.standalone")
local task = require("agentwire.task")

describe("the standalone host", function()
  local host, loop

  before_each(function()
    host, loop = helper.fake_host()
  end)

  after_each(function()
    helper.assert_clean(host)
    assert.is_nil(task.current())
    host:close()
  end)

  describe("run", function()
    it("returns the main function's results, given its arguments", function()
      assert.same({ 3, nil, "x" }, {
        host:run(function(a, b)
          task.sleep(5)
          return a + b, nil, "x"
        end, 1, 2),
      })
      assert.equal(0, select("#", host:run(function() end)))
    end)

    it("raises an error string with its traceback", function()
      local ok, err = pcall(host.run, host, function()
        local function deep_inside()
          error("main broke")
        end
        deep_inside()
      end)
      assert.is_false(ok)
      assert.matches("host_spec.lua:%d+: main broke\n", err)
      assert.matches("deep_inside", err)
      assert.equal(0, #host.reports)
    end)

    it("raises an error object as it is", function()
      local value = {}
      local _, err = pcall(host.run, host, error, value)
      assert.equal(value, err)
    end)

    it("returns nil, message, code when main was cancelled", function()
      local result = {
        host:run(function()
          task.current():cancel("why")
          task.sleep(1)
        end),
      }
      assert.same({ nil, "cancelled: why", "cancelled" }, result)
    end)

    it("can be called again, also after an error", function()
      pcall(host.run, host, error, "once")
      assert.equal(1, host:run(function()
        return 1
      end))
    end)

    it("works inside a coroutine", function()
      local results = {}
      local co = coroutine.wrap(function()
        results[1] = host:run(function()
          task.sleep(1)
          return "inner"
        end)
        coroutine.yield("between")
        results[2] = host:run(function()
          return "again"
        end)
      end)
      assert.equal("between", co())
      co()
      assert.same({ "inner", "again" }, results)
    end)

    it("refuses to nest: in a task, a coroutine, a handler", function()
      local other = helper.fake_host()
      local errors = {}
      local function try(which)
        local ok, err = pcall(which.run, which, function() end)
        table.insert(errors, tostring(ok) .. " " .. tostring(err))
      end
      host:run(function()
        try(host)
        try(other)
        coroutine.wrap(try)(host)
        host:schedule(try, host)
        task.yield()
        task.yield()
      end)
      assert.equal(4, #errors)
      for _, err in ipairs(errors) do
        assert.matches("^false .*a run inside a run", err)
      end
      other:close()
    end)

    it("refuses what is no function", function()
      for _, bad in ipairs({ "x", {}, 1 }) do
        assert.is_false((pcall(host.run, host, bad)))
      end
    end)

    it("flushes the loop once more at the end", function()
      local steps
      host:run(function()
        steps = loop.steps
      end)
      assert.equal(steps + 1, loop.steps)
    end)

    it("drops all tasks and raises when the loop breaks", function()
      loop.wait = function()
        error("loop broke", 0)
      end
      local ok, err = pcall(host.run, host, function()
        task.spawn(task.sleep, 10)
        task.sleep(10)
      end)
      assert.same({ false, "loop broke" }, { ok, err })
      assert.equal(0, host:live_tasks())
    end)
  end)

  it("forgets runnable tasks when the loop breaks", function()
    local ran = false
    local step = loop.step
    local ok = pcall(host.run, host, function()
      task.spawn(function()
        task.yield()
        ran = true
      end)
      loop.step = function()
        error("loop broke", 0)
      end
    end)
    loop.step = step
    assert.is_false(ok)
    assert.equal("fine", host:run(function()
      task.yield()
      return "fine"
    end))
    assert.is_false(ran)
  end)

  it("runs what was scheduled last", function()
    local ran = false
    host:run(function()
      host:schedule(function()
        ran = true
      end)
    end)
    assert.is_true(ran)
  end)

  describe("a deadlock", function()
    it("is an error that lists who waits for what", function()
      local cleaned = false
      local ok, err = pcall(host.run, host, function()
        task.current().name = "main"
        task.defer(function()
          cleaned = true
        end)
        local waiter = task.waiter("a letter")
        local t = task.spawn(waiter.wait, waiter)
        t.name = "reader"
        t:join()
      end)
      assert.is_false(ok)
      assert.matches("^deadlock", err)
      assert.matches("task reader waits for a letter", err)
      assert.matches("task main waits for the end of task reader", err)
      assert.is_true(cleaned)
    end)

    it("drops tasks that shield themselves from the end", function()
      local ok, err = pcall(host.run, host, function()
        local waiter = task.waiter("never")
        task.shield(waiter.wait, waiter)
      end)
      assert.is_false(ok)
      assert.matches("waits for never", err)
      assert.equal(0, host:live_tasks())
      assert.equal("fine", host:run(function()
        return "fine"
      end))
    end)

    it("is none while a timer runs or the loop has something to come", function()
      local waiter = task.waiter()
      host:watch("socket", function()
        waiter:wake("came")
      end)
      loop:raise("socket", 1, 5000)
      assert.equal("came", host:run(function()
        task.sleep(1000)
        return waiter:wait()
      end))
      assert.equal(6000, loop.time)
    end)
  end)

  describe("a turn", function()
    it("runs each runnable task once between two polls", function()
      local log = {}
      host:run(function()
        local function busy(name)
          for _ = 1, 3 do
            table.insert(log, name .. loop.steps)
            task.yield()
          end
        end
        local start = loop.steps
        task.all({ task.spawn(busy, "a"), task.spawn(busy, "b") })
        for i, entry in ipairs(log) do
          log[i] = entry:sub(1, 1) .. tonumber(entry:sub(2)) - start
        end
      end)
      assert.same({ "a1", "b1", "a2", "b2", "a3", "b3" }, log)
    end)

    it("lets busy tasks not starve a socket or a timer", function()
      local woken = {}
      host:watch("socket", function()
        woken.socket = true
      end)
      host:run(function()
        task.spawn(function()
          while true do
            task.yield()
          end
        end)
        host:timer(0, function()
          woken.timer = true
        end)
        loop:raise("socket", 1)
        task.yield()
        task.yield()
      end)
      assert.same({ socket = true, timer = true }, woken)
    end)

    it("gives tasks their turn while a source is always ready", function()
      local calls = 0
      host:watch("flood", function()
        calls = calls + 1
        loop:raise("flood", 1)
      end)
      host:run(function()
        loop:raise("flood", 1)
        for _ = 1, 3 do
          task.yield()
        end
        host:unwatch("flood")
      end)
      assert.is_true(calls >= 1024)
    end)

    it("blocks in the loop when there is nothing to run", function()
      host:run(function()
        local waits = loop.waits
        task.sleep(100)
        assert.equal(waits + 1, loop.waits)
      end)
    end)
  end)

  describe("timers", function()
    it("fire in order of deadline, then of age", function()
      local log = {}
      host:run(function()
        local due = { 30, 10, 20, 10, 30, 0, 20, 10 }
        for i, ms in ipairs(due) do
          host:timer(ms, function(argument)
            table.insert(log, argument)
          end, ms .. "/" .. i)
        end
        task.sleep(40)
      end)
      assert.same({
        "0/6",
        "10/2",
        "10/4",
        "10/8",
        "20/3",
        "20/7",
        "30/1",
        "30/5",
      }, log)
    end)

    it("keep their order when any of them are cancelled", function()
      -- A fixed linear congruential sequence, the same in every run.
      local seed = 12345
      local function random(n)
        seed = (seed * 1103515245 + 12345) % 2147483648
        return seed % n + 1
      end
      for _ = 1, 20 do
        local fired, expected = {}, {}
        host:run(function()
          local handles = {}
          for i = 1, 100 do
            local ms = random(50)
            handles[i] = host:timer(ms, function(entry)
              table.insert(fired, entry)
            end, ms * 1000 + i)
          end
          for i = 1, 100 do
            if random(3) == 1 then
              host:cancel_timer(handles[i])
              host:cancel_timer(handles[i])
            else
              table.insert(expected, handles[i].argument)
            end
          end
          table.sort(expected)
          task.sleep(60)
          host:cancel_timer(handles[1])
        end)
        assert.same(expected, fired)
      end
    end)

    it("may be set by a timer without holding up the tasks", function()
      local count = 0
      host:run(function()
        local function again()
          count = count + 1
          host:timer(0, again)
        end
        again()
        for _ = 1, 10 do
          task.yield()
        end
        assert.is_true(count <= 12)
        for _, timer in ipairs({ host._timers[1] }) do
          host:cancel_timer(timer)
        end
      end)
    end)

    it("take fractions of milliseconds and never fire early", function()
      host:run(function()
        task.sleep(0.25)
        assert.is_true(loop.time >= 1000.25)
      end)
    end)
  end)

  describe("watch", function()
    it("calls the handler with object and events until unwatch", function()
      local object, got = {}, {}
      host:run(function()
        host:watch(object, function(o, events)
          table.insert(got, { o == object, events })
        end)
        loop:raise(object, 3)
        loop:raise({}, 9)
        task.yield()
        loop:raise(object, 4)
        host:unwatch(object)
        task.yield()
      end)
      assert.same({ { true, 3 } }, got)
    end)

    it("holds the object while it is watched, not longer", function()
      local weak = setmetatable({}, { __mode = "k" })
      local function make()
        local object = {}
        weak[object] = true
        host:watch(object, function() end)
      end
      make()
      collectgarbage()
      collectgarbage()
      assert.is_not_nil(next(weak))
      host:unwatch((next(weak)))
      collectgarbage()
      collectgarbage()
      assert.is_nil(next(weak))
    end)

    it("reports what handlers, timers and calls raise, and goes on", function()
      host:run(function()
        host:watch("bad", function()
          error("handler broke", 0)
        end)
        loop:raise("bad", 1)
        host:timer(0, error, "timer broke")
        host:schedule(error, "call broke")
        host:schedule(function()
          task.sleep(1)
        end)
        task.sleep(5)
        host:unwatch("bad")
      end)
      local seen = {}
      for _, report in ipairs(host.reports) do
        table.insert(seen, report.what)
      end
      table.sort(seen)
      assert.same(
        { "a handler", "a scheduled function", "a scheduled function", "a timer" },
        seen
      )
    end)
  end)

  describe("spawn", function()
    it("makes a child of main during run, which ends with it", function()
      local child
      host:watch("listener", function()
        child = host:spawn(task.sleep, 100000)
      end)
      host:run(function()
        loop:raise("listener", 1)
        task.sleep(1)
        assert.equal(task.current(), child._parent)
      end)
      assert.is_true(child:is_done())
      host:unwatch("listener")
    end)

    it("refuses to let a child outlive a main that is ending", function()
      local started, child = false, nil
      host:run(function()
        task.spawn(function()
          task.shield(function()
            task.sleep(10)
            child = host:spawn(function()
              started = true
            end)
          end)
        end)
        task.yield()
      end)
      assert.is_true(child:is_done())
      assert.is_false(started)
    end)
  end)

  describe("embedded", function()
    it("needs a descriptor, a timeout and turn", function()
      local log = {}
      local t = host:spawn(function()
        table.insert(log, "started")
        task.sleep(50)
        table.insert(log, "slept")
        return "result"
      end)
      assert.equal(7, host:fd())
      assert.equal(0, host:timeout_ms())
      assert.is_false(host:turn())
      assert.equal(50, host:timeout_ms())
      loop.time = loop.time + 49
      host:turn()
      assert.equal(1, host:timeout_ms())
      loop.time = loop.time + 1
      assert.equal(0, host:timeout_ms())
      host:turn()
      assert.same({ "started", "slept" }, log)
      assert.equal("result", t:join())
      assert.equal(-1, host:timeout_ms())
      assert.equal(0, loop.waits)
    end)

    it("says so when it stops with work left", function()
      local t = host:spawn(function()
        while true do
          task.yield()
        end
      end)
      assert.is_true(host:turn())
      assert.equal(0, host:timeout_ms())
      t:cancel()
      assert.is_false(host:turn())
    end)

    it("takes the loop's own timeout if that is shorter", function()
      loop:raise("x", 1, 20)
      assert.equal(20, host:timeout_ms())
      local timer = host:timer(10, print)
      assert.equal(10, host:timeout_ms())
      host:cancel_timer(timer)
      host:timer(30, function() end)
      assert.equal(20, host:timeout_ms())
      loop.time = 2000
      host:turn()
    end)

    it("refuses a turn inside a turn", function()
      local ok
      host:schedule(function()
        ok = pcall(host.turn, host)
      end)
      host:turn()
      assert.is_false(ok)
      host:run(function()
        assert.is_false((pcall(host.turn, host)))
      end)
    end)
  end)

  describe("close", function()
    it("ends what still runs, closes the loop, once", function()
      local cleaned = 0
      host:spawn(function()
        task.defer(function()
          cleaned = cleaned + 1
        end)
        task.sleep(1000)
      end)
      local stuck = host:spawn(function()
        task.shield(task.sleep, 1000)
      end)
      host:turn()
      host:close()
      host:close()
      assert.equal(1, cleaned)
      assert.equal("cancelled", select(3, stuck:join()))
      assert.equal(1, loop.closed)
      assert.is_false((pcall(host.run, host, function() end)))
      assert.is_false((pcall(host.turn, host)))
    end)

    it("is misuse from inside", function()
      host:run(function()
        assert.is_false((pcall(host.close, host)))
      end)
    end)
  end)
end)

describe("agentwire.host", function()
  local before, host

  before_each(function()
    host = helper.fake_host()
    before = current_host.use(host)
  end)

  after_each(function()
    current_host.use(before)
    host:close()
  end)

  it("runs on the current host, which can be replaced", function()
    assert.equal(host, current_host.current())
    assert.equal("x", current_host.run(function()
      task.sleep(1)
      return "x"
    end))
    local other = helper.fake_host()
    assert.equal(host, current_host.use(other))
    assert.equal(other, current_host.current())
    assert.equal(other, current_host.use(host))
    other:close()
  end)

  it("blames misuse on the caller", function()
    local _, err = pcall(function()
      current_host.run("no function")
    end)
    assert.matches("host_spec.lua", err)
  end)

  it("lets two hosts run one after the other without touching", function()
    local other, other_loop = helper.fake_host()
    local parked = other:spawn(task.sleep, 100)
    other:turn()
    current_host.run(function()
      task.sleep(1000)
    end)
    assert.is_false(parked:is_done())
    other_loop.time = other_loop.time + 100
    other:turn()
    assert.is_true(parked:is_done())
    other:close()
  end)

  it("is asked to wake up only while the scheduler sleeps", function()
    local wakeups = 0
    local port = setmetatable({
      wakeup = function()
        wakeups = wakeups + 1
      end,
    }, { __index = standalone.new({ loop = helper.fake_loop() }) })
    local scheduler = task.scheduler(port)
    task.spawn_in(scheduler, nil, function() end)
    assert.equal(0, wakeups)
    scheduler:pass()
    scheduler:sleep()
    task.spawn_in(scheduler, nil, function() end)
    task.spawn_in(scheduler, nil, function() end)
    assert.equal(1, wakeups)
    scheduler:pass()
  end)
end)
