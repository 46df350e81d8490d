-- Every host here runs on a fake clock: see spec/helper.lua.
local helper = require("spec.helper")
local task = require("agentwire.task")

describe("agentwire.task as a scope", function()
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

  describe("a scope", function()
    it("cancels and awaits the children left when a function returns", function()
      local log = {}
      run(function()
        local t = task.spawn(function()
          for i = 1, 3 do
            task.spawn(function()
              local ok, err = pcall(task.sleep, 1000)
              table.insert(log, i .. tostring(ok) .. tostring(err))
              task.shield(task.sleep, 10 * i)
              table.insert(log, "clean " .. i)
            end)
          end
          task.yield()
          return "result"
        end)
        assert.equal("result", t:join())
        assert.equal(1030, loop.time)
      end)
      assert.same({
        "1falsecancelled: parent ended",
        "2falsecancelled: parent ended",
        "3falsecancelled: parent ended",
        "clean 1",
        "clean 2",
        "clean 3",
      }, log)
    end)

    it("cancels and awaits the children left when a function raises", function()
      local ended
      run(function()
        local t = task.spawn(function()
          task.spawn(function()
            task.defer(function()
              ended = true
            end)
            task.sleep(1000)
          end)
          task.yield()
          error("parent broke")
        end)
        assert.matches("parent broke", (select(2, t:join())))
        assert.is_true(ended)
      end)
      reported(0)
    end)

    it("ends a whole tree when its root is cancelled", function()
      local live
      run(function()
        local function grow(depth)
          if depth > 0 then
            task.spawn(grow, depth - 1)
            task.spawn(grow, depth - 1)
          end
          task.sleep(100000)
        end
        local t = task.spawn(grow, 5)
        for _ = 1, 7 do
          task.yield()
        end
        live = host:live_tasks()
        t:cancel()
        t:join()
        assert.equal(1, host:live_tasks())
      end)
      assert.equal(64, live)
    end)

    it("lets an error end only its task and that task's children", function()
      run(function()
        local bystander = task.spawn(sleeper, 20, "alive")
        local grandchild
        local broken = task.spawn(function()
          grandchild = task.spawn(sleeper, 1000)
          task.yield()
          error("broken")
        end)
        assert.equal("task_error", select(3, broken:join()))
        assert.equal("done", grandchild:status())
        assert.equal("alive", bystander:join())
      end)
      reported(0)
    end)

    it("keeps children of a cancelled parent until its function ends", function()
      run(function()
        local t = task.spawn(function()
          local helper_task = task.spawn(sleeper, 20, "helped")
          pcall(task.sleep, 1000)
          return task.shield(helper_task.join, helper_task)
        end)
        task.yield()
        t:cancel()
        assert.equal("helped", t:join())
      end)
    end)

    it("waits for shielded children of a cancelled parent", function()
      local log = {}
      run(function()
        local t = task.spawn(function()
          task.spawn(function()
            task.shield(task.sleep, 50)
            table.insert(log, "shielded until " .. loop.time)
            task.sleep(50)
            table.insert(log, "not reached")
          end)
          task.sleep(1000)
        end)
        task.yield()
        task.yield()
        t:cancel()
        t:join()
        table.insert(log, "joined at " .. loop.time)
      end)
      assert.same({ "shielded until 1050", "joined at 1050" }, log)
    end)

    it("is ended by host.run's main function as well", function()
      local ended = false
      run(function()
        task.spawn(function()
          task.defer(function()
            ended = true
          end)
          task.sleep(100000)
        end)
        task.yield()
      end)
      assert.is_true(ended)
      assert.equal(1000, loop.time)
    end)
  end)

  describe("an error that nobody joins", function()
    it("is reported once, at the parent's end at the latest", function()
      local kept
      run(function()
        kept = task.spawn(error, "lost", 0)
        task.sleep(10)
        reported(0)
      end)
      local report = reported(1)
      assert.matches("^lost\n.*traceback", report.message)
      assert.matches("^task ", report.what)
      assert.equal("task_error", select(3, kept:join()))
    end)

    it("is reported while the parent runs if nobody holds the task", function()
      run(function()
        task.spawn(error, "forgotten", 0)
        task.sleep(1)
        local report = reported(1)
        assert.matches("^forgotten", report.message)
      end)
      reported(1)
    end)

    it("leaves no record with the parent once it was seen", function()
      run(function()
        for _ = 1, 3 do
          task.spawn(error, "joined", 0):join()
          task.spawn(error, "forgotten", 0)
          task.sleep(1000)
        end
        assert.is_nil(next(task.current()._failures))
        assert.equal(0, host._scheduler._unseen)
      end)
      reported(3)
    end)

    it("is reported if it was collected just before the end", function()
      for _ = 1, 3 do
        host.reports = {}
        run(function()
          task.spawn(error, "forgotten", 0)
          task.yield()
          task.yield()
          collectgarbage()
        end)
        reported(1)
      end
    end)

    it("costs one collection a second at most, and is still reported", function()
      local full, collect = 0, collectgarbage
      _G.collectgarbage = function(...) -- luacheck: ignore
        full = full + (select("#", ...) == 0 and 1 or 0)
        local result = collect(...)
        collect("stop") -- LuaJIT's full collection starts it again
        return result
      end
      collect("stop")
      local ok, problem = pcall(run, function()
        local start = loop.time
        for i = 1, 10 do
          task.spawn(error, "forgotten " .. i, 0)
          task.sleep(1)
        end
        reported(1)
        task.sleep(2000)
        reported(10)
        assert.equal(2, full)
        task.spawn(error, "joined", 0):join()
        task.sleep(2000)
        assert.equal(2, full)
        assert.equal(start + 4010, loop.time)
      end)
      _G.collectgarbage = collect -- luacheck: ignore
      collect("restart")
      assert(ok, problem)
    end)

    it("is not reported when it is joined later", function()
      run(function()
        local t = task.spawn(error, "late", 0)
        task.sleep(100)
        assert.equal("task_error", select(3, t:join()))
        t = nil -- luacheck: ignore
        collectgarbage()
        collectgarbage()
        task.sleep(1)
      end)
      collectgarbage()
      collectgarbage()
      reported(0)
    end)

    it("is reported under the task's name", function()
      run(function()
        local t = task.spawn(error, "lost", 0)
        t.name = "reader"
        task.yield()
      end)
      assert.equal("task reader", reported(1).what)
    end)

    it("is not reported for a cancelled task", function()
      run(function()
        task.spawn(sleeper, 1000)
        task.yield()
      end)
      reported(0)
    end)

    it("goes to stderr if on_error is missing or fails", function()
      local written = {}
      local stderr = io.stderr
      host.on_error = function()
        error("on_error broke")
      end
      io.stderr = { -- luacheck: ignore
        write = function(_, ...)
          table.insert(written, table.concat({ ... }))
        end,
      }
      local ok, problem = pcall(run, function()
        task.spawn(error, "first", 0).name = "a"
        task.sleep(1)
        host.on_error = nil
        task.spawn(error, "second", 0).name = "b"
        task.sleep(1)
      end)
      io.stderr = stderr -- luacheck: ignore
      assert(ok, problem)
      assert.equal(2, #written)
      assert.matches("^agentwire: task a failed: first\n", written[1])
      assert.matches("^agentwire: task b failed: second\n.*traceback", written[2])
    end)
  end)

  describe("defer", function()
    it("runs last in first out, after the children, however it ended", function()
      for _, ending in ipairs({ "return", "raise", "cancel" }) do
        local log = {}
        run(function()
          local t = task.spawn(function()
            for i = 1, 3 do
              task.defer(function()
                task.sleep(1)
                table.insert(log, i)
              end)
            end
            task.spawn(function()
              task.defer(function()
                table.insert(log, "child")
              end)
              task.sleep(1000)
            end)
            task.yield()
            if ending == "raise" then
              error("raised")
            elseif ending == "cancel" then
              task.sleep(1000)
            end
          end)
          task.yield()
          task.yield()
          if ending == "cancel" then
            t:cancel()
          end
          t:join()
        end)
        assert.same({ "child", 3, 2, 1 }, log, ending)
      end
    end)

    it("reports what it raises, and still runs the others", function()
      local log = {}
      run(function()
        local t = task.spawn(function()
          task.defer(function()
            table.insert(log, "first registered")
          end)
          task.defer(function()
            error("defer broke", 0)
          end)
          return "unchanged"
        end)
        assert.equal("unchanged", t:join())
      end)
      assert.same({ "first registered" }, log)
      local report = reported(1)
      assert.matches("^defer broke\n.*traceback", report.message)
      assert.matches("deferred function of task", report.what)
    end)

    it("may spawn and defer again; all of it ends before the task", function()
      local log = {}
      run(function()
        local t = task.spawn(function()
          task.defer(function()
            task.defer(function()
              table.insert(log, "inner")
            end)
            task.spawn(function()
              task.defer(function()
                table.insert(log, "child")
              end)
              task.sleep(1000)
            end)
            task.yield()
            table.insert(log, task.timeout(10, sleeper, 5, "timed"))
          end)
        end)
        t:join()
        table.insert(log, "joined")
      end)
      table.sort(log)
      assert.same({ "child", "inner", "joined", "timed" }, log)
    end)
  end)

  describe("shield", function()
    it("returns results and raises errors", function()
      run(function()
        assert.same({ 1, nil, 3 }, { task.shield(sleeper, 1, 1, nil, 3) })
        local ok, err = pcall(task.shield, error, "inside", 0)
        assert.same({ false, "inside" }, { ok, err })
        assert.equal(0, task.current()._shield)
      end)
    end)

    it("nests, and the wait after it raises", function()
      local log = {}
      run(function()
        local t = task.spawn(function()
          task.shield(function()
            task.shield(task.sleep, 10)
            task.sleep(10)
            table.insert(log, loop.time)
          end)
          table.insert(log, "after")
          task.sleep(10)
          table.insert(log, "not reached")
        end)
        task.yield()
        t:cancel()
        t:join()
      end)
      assert.same({ 1020, "after" }, log)
    end)

    it("takes a limit from timeout", function()
      run(function()
        local t = task.spawn(function()
          pcall(task.sleep, 1000)
          return task.shield(task.timeout, 30, sleeper, 1000)
        end)
        task.yield()
        t:cancel()
        assert.equal("timeout", select(3, t:join()))
        assert.equal(1030, loop.time)
      end)
    end)
  end)

  describe("timeout", function()
    it("returns results, or nil, message, timeout", function()
      run(function()
        assert.same({ 1, nil, 3 }, { task.timeout(10, sleeper, 5, 1, nil, 3) })
        assert.same(
          { nil, "timed out after 10 ms", "timeout" },
          { task.timeout(10, sleeper, 50) }
        )
        assert.equal(1015, loop.time)
        assert.equal("x", task.timeout(nil, sleeper, 500, "x"))
      end)
    end)

    it("cancels only what runs inside", function()
      run(function()
        local outside = task.spawn(sleeper, 100, "outside")
        local inside
        task.timeout(10, function()
          inside = task.spawn(sleeper, 1000)
          task.sleep(1000)
        end)
        assert.is_true(inside:is_done())
        assert.equal("outside", outside:join())
      end)
    end)

    it("raises what the function raises, with where it was raised", function()
      local value = {}
      local t
      run(function()
        local ok, err = pcall(task.timeout, 10, error, value)
        assert.is_false(ok)
        assert.equal(value, err)
        t = task.spawn(function()
          task.timeout(10, function()
            local function deep_inside()
              error("deep", 0)
            end
            deep_inside()
          end)
        end)
        local _, message, _, err2 = t:join()
        assert.equal("deep", err2)
        assert.matches("deep_inside", message)
      end)
      reported(0)
    end)

    it("is cancelled with its caller, and awaits its inside", function()
      local log = {}
      run(function()
        local t = task.spawn(function()
          task.defer(function()
            table.insert(log, "outer")
          end)
          task.timeout(1000, function()
            task.defer(function()
              task.sleep(5)
              table.insert(log, "inner")
            end)
            task.sleep(500)
          end)
        end)
        task.yield()
        task.yield()
        t:cancel("stop")
        assert.equal("cancelled: stop", select(2, t:join()))
      end)
      assert.same({ "inner", "outer" }, log)
    end)

    it("nests: the shorter one ends first", function()
      run(function()
        local outer = { task.timeout(50, function()
          local inner = { task.timeout(10, sleeper, 1000) }
          assert.equal("timeout", inner[3])
          return "went on"
        end) }
        assert.same({ "went on" }, outer)
        assert.equal("timeout", select(3, task.timeout(10, function()
          return task.timeout(50, sleeper, 1000)
        end)))
      end)
    end)
  end)
end)
