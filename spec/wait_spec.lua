-- Every host here runs on a fake clock: see spec/helper.lua.
local helper = require("spec.helper")
local task = require("agentwire.task")
local jit = rawget(_G, "jit")
local wait = require("agentwire._wait")

describe("agentwire._wait", function()
  local host

  before_each(function()
    host = helper.fake_host()
  end)

  after_each(function()
    helper.assert_clean(host)
    host:close()
  end)

  describe("scheduler", function()
    it("loses no call that a finalizer schedules while others run", function()
      local scheduler = require("agentwire._scheduler").new(host)
      local scheduled, ran = 0, 0
      local function note()
        ran = ran + 1
      end
      local function finalizer()
        scheduled = scheduled + 1
        scheduler:schedule(note)
      end
      if jit then -- what is compiled calls no hook
        jit.off()
        jit.flush()
      end
      finalizer()
      debug.sethook(finalizer, "", 1)
      scheduler:pass()
      debug.sethook()
      if jit then
        jit.on()
      end
      assert.is_true(scheduled > 1)
      scheduler:pass()
      assert.equal(scheduled, ran)
      assert.is_false(scheduler:is_runnable())
    end)
  end)

  describe("waiter", function()
    it("hands over up to three values, and is reusable", function()
      host:run(function()
        local waiter = task.waiter("slot")
        local got = {}
        local t = task.spawn(function()
          for _ = 1, 3 do
            local a, b, c = waiter:wait()
            table.insert(got, { a, b, c })
          end
        end)
        task.yield()
        assert.is_true(waiter:is_waiting())
        assert.is_true(waiter:wake(1, 2, 3))
        task.yield()
        assert.is_true(waiter:wake())
        task.yield()
        assert.is_true(waiter:wake(nil, "why", "code"))
        t:join()
        assert.same({ { 1, 2, 3 }, {}, { nil, "why", "code" } }, got)
      end)
    end)

    it("remembers one wake, the first", function()
      host:run(function()
        local waiter = task.waiter()
        assert.is_false(waiter:wake("first"))
        assert.is_false(waiter:wake("second"))
        assert.equal("first", waiter:wait())
        assert.equal("timeout", select(3, waiter:wait(1)))
        waiter:wake("gone")
        waiter:reset()
        assert.equal("timeout", select(3, waiter:wait(0)))
      end)
    end)

    it("takes what is left of a passed deadline for a look", function()
      host:run(function()
        local ran = false
        task.spawn(function()
          ran = true
        end)
        assert.same(
          { nil, "timed out after 0 ms", "timeout" },
          { task.waiter():wait(-5) }
        )
        assert.is_false(ran)
      end)
    end)

    it("refuses a second task", function()
      host:run(function()
        local waiter = task.waiter()
        local first = task.spawn(waiter.wait, waiter)
        task.yield()
        local ok, err = pcall(waiter.wait, waiter)
        assert.is_false(ok)
        assert.matches("another task waits", err)
        waiter:wake("for the first")
        assert.equal("for the first", first:join())
      end)
    end)

    it("wakes in the order of the wakes", function()
      local log = {}
      host:run(function()
        local waiters, tasks = {}, {}
        for i = 1, 64 do
          waiters[i] = task.waiter()
          tasks[i] = task.spawn(function()
            table.insert(log, (waiters[i]:wait()))
          end)
        end
        task.yield()
        for i = 64, 1, -1 do
          waiters[i]:wake(i)
        end
        task.all(tasks)
      end)
      for i = 1, 64 do
        assert.equal(65 - i, log[i])
      end
    end)

    it("does no harm when its task was cancelled or is dead", function()
      host:run(function()
        local waiter = task.waiter()
        local t = task.spawn(waiter.wait, waiter)
        task.yield()
        t:cancel()
        assert.is_false(waiter:wake("too late"))
        assert.equal("cancelled", select(3, t:join()))
        assert.is_false(waiter:wake("even later"))
        assert.equal("too late", waiter:wait())
      end)
    end)

    it("is not disturbed by a cancelled task when another waits", function()
      host:run(function()
        local waiter = task.waiter()
        local taken
        local old = task.spawn(waiter.wait, waiter)
        task.yield()
        old:cancel()
        local new = task.spawn(function()
          taken = waiter:wait()
        end)
        new:join(5)
        assert.is_true(waiter:wake("new"))
        new:join()
        assert.equal("new", taken)
      end)
    end)

    -- The wake and the deadline fall into the same turn; either may be first.
    it("lets the first of wake, timeout and cancellation win", function()
      local cases = {
        { "wake", "cancel", { "woken" } },
        { "cancel", "wake", { nil, "cancelled", "cancelled" } },
        { "wake", "timer", { "woken" } },
        { "timer", "wake", { nil, "timed out after 10 ms", "timeout" } },
        { "timer", "cancel", { nil, "timed out after 10 ms", "timeout" } },
        { "cancel", "timer", { nil, "cancelled", "cancelled" } },
      }
      for _, case in ipairs(cases) do
        host:run(function()
          local waiter = task.waiter()
          local t = task.spawn(function()
            return waiter:wait(10)
          end)
          task.yield()
          local act = {
            wake = function()
              waiter:wake("woken")
            end,
            cancel = function()
              t:cancel()
            end,
            timer = function() -- what the host does when the deadline passes
              local timer = t._timer
              if timer then
                host:cancel_timer(timer)
                timer.fn(timer.argument)
              end
            end,
          }
          act[case[1]]()
          act[case[2]]()
          assert.same(
            case[3],
            { t:join() },
            case[1] .. " before " .. case[2]
          )
        end)
      end
    end)

    it("does not lose what a cancelled task was given", function()
      host:run(function()
        local waiter = task.waiter()
        local got, after
        local t = task.spawn(function()
          got = waiter:wait()
          after = select(2, pcall(task.sleep, 1))
        end)
        task.yield()
        waiter:wake("value")
        t:cancel()
        t:join()
        assert.equal("value", got)
        assert.is_true(task.is_cancelled(after))
      end)
    end)
  end)

  it("signal wakes one or all, in order, and remembers nothing", function()
    local log = {}
    host:run(function()
      local signal = wait.signal("news")
      signal:wake_all()
      assert.equal("timeout", select(3, signal:wait(5)))
      for i = 1, 4 do
        task.spawn(function()
          assert(signal:wait())
          table.insert(log, i)
        end)
      end
      task.yield()
      signal:wake_one()
      task.yield()
      assert.same({ 1 }, log)
      signal:wake_all()
      task.yield()
      assert.is_nil(signal:wake_one())
    end)
    assert.same({ 1, 2, 3, 4 }, log)
  end)

  it("signal passes over a task whose wait has failed", function()
    host:run(function()
      local signal = wait.signal()
      local a = task.spawn(signal.wait, signal)
      local b = task.spawn(signal.wait, signal)
      task.yield()
      a:cancel()
      assert.equal(b, signal:wake_one())
      assert.is_true(b:join())
      assert.equal("cancelled", select(3, a:join()))
      assert.is_falsy(signal._first)
      assert.is_falsy(signal._last)
    end)
  end)

  it("latch gives its values to every wait, before and after", function()
    host:run(function()
      local latch = wait.latch("open")
      local early = task.spawn(latch.wait, latch)
      assert.equal("timeout", select(3, latch:wait(1)))
      assert.is_false(latch:is_set())
      assert.is_true(latch:set(1, nil, 3))
      assert.is_false(latch:set(4))
      assert.same({ 1, nil, 3 }, { early:join() })
      assert.same({ 1, nil, 3 }, { latch:wait(0) })
    end)
  end)

  describe("queue", function()
    it("hands values over in order, through room and beyond it", function()
      for _, limit in ipairs({ 1, 2, 3, 7, 100 }) do
        local got = {}
        host:run(function()
          local queue = wait.queue(limit)
          local writer = task.spawn(function()
            for i = 1, 50 do
              assert(queue:push(i))
              assert(queue:length() <= limit)
              if i % 7 == 0 then
                task.yield()
              end
            end
            queue:close()
          end)
          local value, why, code = queue:pop()
          while value do
            table.insert(got, value)
            if #got % 11 == 0 then
              task.sleep(1)
            end
            value, why, code = queue:pop()
          end
          assert.same({ "closed", "closed" }, { why, code })
          writer:join()
        end)
        assert.equal(50, #got)
        for i = 1, 50 do
          assert.equal(i, got[i])
        end
      end
    end)

    it("keeps false, refuses nil and a limit below one", function()
      host:run(function()
        local queue = wait.queue(1)
        assert(queue:push(false))
        assert.is_false((queue:pop()))
        assert.is_false((pcall(queue.push, queue, nil)))
        for _, bad in ipairs({ 0, -1, 1.5, "1" }) do
          assert.is_false((pcall(wait.queue, bad)))
        end
      end)
    end)

    it("says full, empty, closed and timeout", function()
      host:run(function()
        local queue = wait.queue(1)
        assert.equal("empty", select(3, queue:try_pop()))
        assert.equal("timeout", select(3, queue:pop(1)))
        assert.is_true(queue:try_push("x"))
        assert.equal("full", select(3, queue:try_push("y")))
        assert.equal("timeout", select(3, queue:push("y", 1)))
        queue:close()
        assert.equal("closed", select(3, queue:try_push("y")))
        assert.equal("x", queue:pop())
        assert.equal("closed", select(3, queue:pop()))
      end)
    end)

    it("wakes every waiter when it is closed", function()
      host:run(function()
        local empty, full = wait.queue(1), wait.queue(1)
        full:push("old")
        local readers = { task.spawn(empty.pop, empty), task.spawn(empty.pop, empty) }
        local writer = task.spawn(full.push, full, "new")
        task.yield()
        empty:close()
        full:close()
        full:close()
        for _, t in ipairs({ readers[1], readers[2], writer }) do
          assert.equal("closed", select(3, t:join()))
        end
        assert.equal("old", full:pop())
        assert.equal("closed", select(3, full:pop()))
      end)
    end)

    it("loses nothing to a cancelled reader or writer", function()
      host:run(function()
        local queue = wait.queue(1)
        local gone = task.spawn(queue.pop, queue)
        local next_one = task.spawn(queue.pop, queue)
        task.yield()
        gone:cancel()
        queue:push("value")
        assert.equal("value", next_one:join())
        queue:push("first")
        local withdrawn = task.spawn(queue.push, queue, "withdrawn")
        local second = task.spawn(queue.push, queue, "second")
        task.yield()
        withdrawn:cancel()
        assert.equal("first", queue:pop())
        assert.equal("second", queue:pop())
        assert.is_true(second:join())
        assert.equal("cancelled", select(3, withdrawn:join()))
        assert.equal(0, queue:length())
      end)
    end)
  end)
end)
