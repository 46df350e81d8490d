-- Every host here runs on a fake clock: see spec/helper.lua.
local helper = require("spec.helper")
local task = require("agentwire.task")
local wait = require("agentwire._wait")

describe("agentwire.task", function()
  local host, loop

  before_each(function()
    host, loop = helper.fake_host()
  end)

  after_each(function()
    helper.assert_clean(host)
    assert.is_nil(task.current())
    host:close()
  end)

  local function run(fn, ...)
    return host:run(fn, ...)
  end

  local function reported(n)
    assert.equal(n, #host.reports, host.reports[1] and host.reports[1].message)
    return host.reports[1]
  end

  local function sleeper(ms, ...)
    task.sleep(ms)
    return ...
  end

  describe("spawn", function()
    it("starts at the next turn, in order, with its arguments", function()
      local log = {}
      run(function()
        local parent = task.current()
        local function child(name, ...)
          table.insert(log, name .. select("#", ...))
          assert.not_equal(parent, task.current())
        end
        local a = task.spawn(child, "a", nil, nil)
        local b = task.spawn(child, "b", 1)
        table.insert(log, "main")
        a:join()
        b:join()
      end)
      assert.same({ "main", "a2", "b1" }, log)
    end)

    it("is misuse outside of a task, and without a function", function()
      assert.has_error(function()
        task.spawn(print)
      end)
      run(function()
        for _, bad in ipairs({ "f", 1, {} }) do
          local ok, err = pcall(task.spawn, bad)
          assert.is_false(ok)
          assert.matches("expected a function", err)
        end
      end)
    end)

    it("reports the state of its task", function()
      run(function()
        local t = task.spawn(sleeper, 10)
        assert.equal("running", t:status())
        task.yield()
        t:cancel()
        assert.equal("cancelling", t:status())
        assert.is_false(t:is_done())
        t:join()
        assert.equal("done", t:status())
        assert.is_true(t:is_done())
      end)
    end)

    it("runs 10 000 tasks and leaves none", function()
      local sum = run(function()
        local tasks = {}
        for i = 1, 10000 do
          tasks[i] = task.spawn(sleeper, i % 100, i)
        end
        local total = 0
        for _, t in ipairs(tasks) do
          total = total + t:join()
        end
        return total
      end)
      assert.equal(50005000, sum)
    end)
  end)

  describe("join", function()
    it("returns every result, nils included", function()
      run(function()
        local t = task.spawn(sleeper, 5, nil, 2, nil)
        assert.equal(3, select("#", t:join()))
        assert.same({ nil, 2 }, { t:join() })
        assert.equal(0, select("#", task.spawn(function() end):join()))
      end)
    end)

    it("tells a raised error with its traceback and value", function()
      local value = setmetatable({}, {
        __tostring = function()
          return "a value"
        end,
      })
      run(function()
        local function inner_function_name()
          error("broken", 0)
        end
        local t = task.spawn(function()
          inner_function_name()
          return 1
        end)
        local result, message, code, err = t:join()
        assert.is_nil(result)
        assert.matches("^broken\n", message)
        assert.matches("traceback", message)
        assert.matches("inner_function_name", message)
        assert.equal("task_error", code)
        assert.equal("broken", err)
        local _, text, _, raised = task.spawn(error, value):join()
        assert.matches("^a value", text)
        assert.equal(value, raised)
      end)
      reported(0)
    end)

    it("takes any raised value for an error, nil and tables too", function()
      local hostile = setmetatable({}, {
        __tostring = function()
          error("no text")
        end,
      })
      run(function()
        for _, make in ipairs({
          function()
            error(nil)
          end,
          function()
            error(false)
          end,
          function()
            error(hostile)
          end,
        }) do
          local result, message, code = task.spawn(make):join()
          assert.is_nil(result)
          assert.is_string(message)
          assert.equal("task_error", code)
        end
      end)
    end)

    it("times out and leaves the task alone", function()
      run(function()
        local t = task.spawn(sleeper, 100, "late")
        local result, message, code = t:join(30)
        assert.is_nil(result)
        assert.equal("timed out after 30 ms", message)
        assert.equal("timeout", code)
        assert.equal(1030, loop.time)
        assert.same({ nil, "timed out after 0 ms", "timeout" }, { t:join(0) })
        assert.equal("late", t:join())
        assert.equal(1100, loop.time)
      end)
    end)

    it("wakes all who join in the order they came", function()
      local log = {}
      run(function()
        local t = task.spawn(sleeper, 10)
        local joiners = {}
        for i = 1, 5 do
          joiners[i] = task.spawn(function()
            t:join()
            table.insert(log, i)
          end)
        end
        task.all(joiners)
      end)
      assert.same({ 1, 2, 3, 4, 5 }, log)
    end)

    it("leaves nobody in line when joiners are cancelled or time out", function()
      run(function()
        local t = task.spawn(sleeper, 50, "done")
        local a = task.spawn(t.join, t)
        local b = task.spawn(t.join, t, 10)
        local c = task.spawn(t.join, t)
        task.yield()
        a:cancel()
        assert.equal("cancelled", select(3, a:join()))
        assert.equal("timeout", select(3, b:join()))
        assert.equal(c, t._joiners._first)
        assert.equal(c, t._joiners._last)
        assert.equal("done", c:join())
      end)
    end)

    it("refuses the task itself", function()
      run(function()
        local ok, err = pcall(function()
          task.current():join()
        end)
        assert.is_false(ok)
        assert.matches("cannot join itself", err)
      end)
    end)

    it("works outside of tasks once the task is done", function()
      local t = run(function()
        local t = task.spawn(sleeper, 1, "kept")
        t:join()
        return t
      end)
      assert.equal("kept", t:join())
    end)
  end)

  describe("cancel", function()
    it("raises the reason at the current wait", function()
      run(function()
        local caught
        local t = task.spawn(function()
          local ok, err = pcall(task.sleep, 1000)
          caught = { ok, task.is_cancelled(err), tostring(err) }
          error(err, 0)
        end)
        task.yield()
        t:cancel("no need")
        t:cancel("second reason")
        assert.same({ nil, "cancelled: no need", "cancelled" }, { t:join() })
        assert.same({ false, true, "cancelled: no need" }, caught)
        assert.equal(1000, loop.time)
      end)
      reported(0)
    end)

    it("raises again at each later wait until the task ends", function()
      local raised = 0
      run(function()
        local t = task.spawn(function()
          for _ = 1, 3 do
            local ok, err = pcall(task.sleep, 1000)
            assert(not ok and task.is_cancelled(err))
            raised = raised + 1
          end
          for _, wait_somehow in ipairs({
            task.yield,
            task.checkpoint,
            function()
              task.spawn(sleeper, 1):join()
            end,
            function()
              task.timeout(5, sleeper, 1)
            end,
            function()
              task.waiter():wait()
            end,
          }) do
            local ok, err = pcall(wait_somehow)
            assert(not ok and task.is_cancelled(err), err)
            raised = raised + 1
          end
          task.sleep(1)
          raised = -1
        end)
        task.yield()
        t:cancel()
        assert.equal("cancelled", select(3, t:join()))
      end)
      assert.equal(8, raised)
    end)

    it("keeps a task from starting", function()
      run(function()
        local started = false
        local t = task.spawn(function()
          started = true
        end)
        t:cancel("early")
        assert.equal("cancelled: early", select(2, t:join()))
        assert.is_false(started)
      end)
    end)

    it("does not change how a function that returns has ended", function()
      run(function()
        local t = task.spawn(function()
          pcall(task.sleep, 1000)
          return "cleaned up"
        end)
        task.yield()
        t:cancel()
        assert.equal("cleaned up", t:join())
        t:cancel()
        assert.equal("done", t:status())
      end)
    end)

    it("reaches a task that cancels itself at its next wait", function()
      run(function()
        local passed = false
        local t = task.spawn(function()
          task.current():cancel("enough")
          passed = true
          task.sleep(1)
          passed = "too far"
        end)
        assert.equal("cancelled: enough", select(2, t:join()))
        assert.is_true(passed)
      end)
    end)

    it("reaches a task that is runnable, at its yield", function()
      run(function()
        local t = task.spawn(function()
          while true do
            task.yield()
          end
        end)
        task.yield()
        t:cancel()
        assert.equal("cancelled", select(3, t:join()))
      end)
    end)

    it("reaches a task in its last yield", function()
      run(function()
        local passed = false
        local t = task.spawn(function()
          task.yield()
          passed = true
        end)
        task.yield()
        t:cancel()
        assert.equal("cancelled", select(3, t:join()))
        assert.is_false(passed)
      end)
    end)

    it("does not touch a task that is cleaning up already", function()
      run(function()
        local t = task.spawn(function()
          task.defer(function()
            task.sleep(10)
          end)
          return "kept"
        end)
        task.yield()
        t:cancel()
        assert.equal("running", t:status())
        assert.equal("kept", t:join())
        assert.equal(1010, loop.time)
      end)
    end)

    it("crosses a join: who waits is cancelled, not who is waited for", function()
      run(function()
        local target = task.spawn(sleeper, 100, "fine")
        local joiner = task.spawn(function()
          return target:join()
        end)
        task.yield()
        joiner:cancel()
        assert.equal("cancelled", select(3, joiner:join()))
        assert.equal("fine", target:join())
      end)
    end)

    it("leaves no timer behind", function()
      run(function()
        local t = task.spawn(sleeper, 100000)
        task.yield()
        assert.equal(1, host._timers.count)
        t:cancel()
        assert.equal(0, host._timers.count)
        t:join()
      end)
    end)

    it("is told from other errors", function()
      for _, value in ipairs({ "cancelled", 1, {}, setmetatable({}, {}) }) do
        assert.is_false(task.is_cancelled(value))
      end
      assert.is_false(task.is_cancelled(nil))
    end)

    it("gives an error raised while cancelling its own traceback", function()
      run(function()
        local t = task.spawn(function()
          pcall(task.sleep, 10)
          error("cleanup broke", 0)
        end)
        task.yield()
        t:cancel()
        local _, message, code = t:join()
        assert.matches("^cleanup broke\n", message)
        assert.equal("task_error", code)
      end)
    end)
  end)

  describe("misuse", function()
    it("is a wait outside of a task", function()
      for _, wait_somehow in ipairs({
        task.yield,
        task.checkpoint,
        function()
          task.sleep(1)
        end,
        function()
          task.waiter():wait()
        end,
        function()
          task.timeout(1, print)
        end,
        function()
          task.defer(print)
        end,
        function()
          task.shield(print)
        end,
      }) do
        assert.is_false((pcall(wait_somehow)))
      end
    end)

    it("is a wait in a coroutine inside a task", function()
      run(function()
        local waiter = task.waiter()
        for _, wait_somehow in ipairs({
          task.yield,
          function()
            task.sleep(1)
          end,
          function()
            waiter:wait()
          end,
          function()
            task.timeout(1, print)
          end,
        }) do
          local co = coroutine.create(wait_somehow)
          local ok, err = coroutine.resume(co)
          assert.is_false(ok)
          assert.matches("coroutine inside a task", err)
        end
        assert.is_false(waiter:is_waiting())
      end)
    end)

    it("is a duration that is none", function()
      run(function()
        for _, bad in ipairs({ "1", {}, 0 / 0 }) do
          assert.is_false((pcall(task.sleep, bad)))
          assert.is_false((pcall(task.timeout, bad, print)))
          assert.is_false((pcall(task.waiter().wait, task.waiter(), bad)))
        end
        assert.is_false((pcall(task.sleep)))
        task.sleep(-5)
        assert.equal(1000, loop.time)
      end)
    end)

    it("is blamed on the caller's line", function()
      run(function()
        local _, err = pcall(function()
          task.sleep("soon")
        end)
        assert.matches("task_spec.lua", err)
        _, err = pcall(function()
          task.spawn(nil)
        end)
        assert.matches("task_spec.lua", err)
      end)
    end)

    it("is a bare coroutine.yield, which ends the task", function()
      local deferred
      run(function()
        local t = task.spawn(function()
          task.defer(function()
            deferred = true
          end)
          task.spawn(sleeper, 1000)
          coroutine.yield("something")
        end)
        local _, message, code = t:join()
        assert.equal("task_error", code)
        assert.matches("coroutine.yield called by a task", message)
      end)
      assert.is_true(deferred)
    end)
  end)

  describe("waiting across", function()
    it("pcall, generic for and metamethods works", function()
      run(function()
        local ok, value = pcall(sleeper, 1, "pcall")
        assert.same({ true, "pcall" }, { ok, value })
        local count = 0
        for i in
          function(_, i)
            task.sleep(1)
            return i < 3 and i + 1 or nil
          end,
          nil,
          0
        do
          count = i
        end
        assert.equal(3, count)
        local t = setmetatable({}, {
          __index = function(_, key)
            task.sleep(1)
            return key
          end,
        })
        assert.equal("key", t.key)
      end)
    end)

    it("a C function is misuse that leaves nothing behind", function()
      run(function()
        local waiter, signal = task.waiter(), wait.signal()
        for _, wait_somehow in ipairs({
          task.yield,
          function()
            task.sleep(1)
          end,
          function()
            waiter:wait()
          end,
          function()
            waiter:wait(10)
          end,
          function()
            signal:wait(10)
          end,
        }) do
          local ok, err = pcall(table.sort, { 3, 2, 1 }, wait_somehow)
          assert.is_false(ok)
          assert.matches("called from C", err)
          assert.is_falsy(task.current()._parked)
          assert.equal(0, host._timers.count)
        end
        assert.is_false(waiter:is_waiting())
        assert.is_nil(signal._first)
      end)
    end)
  end)

  describe("all and first", function()
    it("all returns the first results in order", function()
      run(function()
        local results = task.all({
          task.spawn(sleeper, 30, "a"),
          task.spawn(sleeper, 10, "b", "ignored"),
          task.spawn(sleeper, 20),
        })
        assert.same({ "a", "b" }, results)
        assert.equal(1030, loop.time)
      end)
    end)

    it("all returns the first failure, and a timeout for all", function()
      run(function()
        local good = task.spawn(sleeper, 5, "good")
        local bad = task.spawn(error, "bad", 0)
        local result, message, code, err = task.all({ good, bad })
        assert.is_nil(result)
        assert.matches("^bad", message)
        assert.same({ "task_error", "bad" }, { code, err })
        local slow = { task.spawn(sleeper, 30), task.spawn(sleeper, 90) }
        local start = loop.time
        assert.equal("timeout", select(3, task.all(slow, 60)))
        assert.equal(start + 60, loop.time)
        assert.is_false(slow[2]:is_done())
      end)
    end)

    it("first returns the task that ended, and leaves the others", function()
      run(function()
        local slow = task.spawn(sleeper, 50, "slow")
        local fast = task.spawn(sleeper, 10, "fast")
        assert.equal(fast, task.first({ slow, fast }))
        assert.equal(1010, loop.time)
        assert.equal(3, host:live_tasks() + 1)
        assert.equal("timeout", select(3, task.first({ slow }, 5)))
        assert.equal(slow, task.first({ slow }))
        assert.is_falsy(slow._joiners._first)
      end)
    end)

    it("first leaves no watcher behind when it is cancelled", function()
      run(function()
        local slow = task.spawn(sleeper, 50, "slow")
        local t = task.spawn(function()
          pcall(task.first, { slow })
          assert.is_falsy(task.current()._first_child)
          return "checked"
        end)
        task.yield()
        task.yield()
        task.yield()
        t:cancel()
        assert.equal("checked", t:join())
        assert.is_falsy(slow._joiners._first)
      end)
    end)
  end)

  describe("under a collector that never rests", function()
    it("keeps what is needed and nothing else", function()
      helper.under_gc_pressure(function()
        run(function()
          for round = 1, 30 do
            local waiter = task.waiter()
            local reader = task.spawn(function()
              local sum = 0
              for _ = 1, 5 do
                sum = sum + waiter:wait(1000)
              end
              return sum
            end)
            local idle = task.spawn(function()
              task.defer(function()
                task.sleep(1)
              end)
              task.sleep(100000)
            end)
            for i = 1, 5 do
              task.sleep(1)
              waiter:wake(i)
            end
            assert.equal(15, reader:join())
            idle:cancel("round " .. round)
            assert.matches("round " .. round, (select(2, idle:join())))
            pcall(task.timeout, 1, error, { round })
          end
        end)
      end)
      reported(0)
    end)

    it("collects ended tasks while their parent runs", function()
      local seen = setmetatable({}, { __mode = "k" })
      run(function()
        for i = 1, 50 do
          seen[task.spawn(sleeper, i)] = true
        end
        task.sleep(100)
        collectgarbage()
        collectgarbage()
        local left = 0
        for _ in pairs(seen) do
          left = left + 1
        end
        assert.equal(0, left)
      end)
    end)
  end)
end)
