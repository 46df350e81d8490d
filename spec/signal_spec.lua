-- Signals: the first INT or TERM ends a program in order, the second at once;
-- tasks can wait for one; nothing is taken that is not ours.
local aw = require("agentwire")
local link = require("spec.support.link")
local process = require("spec.support.process")

-- What a shell starts in the background ignores INT; a person's program does
-- not.
local ALONE = [[perl -e '$SIG{INT} = "DEFAULT"; exec @ARGV' --]]

local function start(text, prefix)
  return process.start({ process.interpreter(), "-e", text },
    { prefix = prefix or ALONE })
end

local SLEEPS = [[
  local aw = require("agentwire")
  aw.run(function()
    aw.task.defer(function()
      aw.sleep(1)
      print("deferred")
      io.stdout:flush()
    end)
    print("ready")
    io.stdout:flush()
    aw.sleep(60000)
  end)
  print("never")]]

describe("the first signal", function()
  after_each(process.stop_all)

  for name, code in pairs { INT = 130, TERM = 143 } do
    it(name .. " cancels an idle program, which cleans up", function()
      local child = start(SLEEPS)
      child:expect("ready")
      child:signal(name)
      assert.equal("deferred", child:line())
      assert.is_nil(child:line())
      assert.equal(code, child:wait())
      assert.equal("", child:errors())
    end)

    it(name .. " cancels a busy program at its next wait", function()
      local child = start([[
        local aw = require("agentwire")
        aw.run(function()
          aw.task.defer(function() print("deferred") end)
          print("ready")
          io.stdout:flush()
          while true do
            for _ = 1, 1e5 do end
            aw.task.yield()
          end
        end)]])
      child:expect("ready")
      child:signal(name)
      assert.equal("deferred", child:line())
      assert.equal(code, child:wait())
    end)
  end

  it("closes connections in order", function()
    link.run(function()
      local closed = aw.task.waiter("the client's end")
      local server = assert(aw.listen("ws://127.0.0.1:0", function(conn)
        conn:on_state(function(event)
          if event.type == "closed" then
            closed:wake(event.code)
          end
        end)
      end))
      local child = start(([[
        local aw = require("agentwire")
        aw.run(function()
          local conn = assert(aw.connect(%q))
          print("ready")
          io.stdout:flush()
          conn:wait_closed()
        end)]]):format(server.url))
      aw.spawn(function()
        while server:count() == 0 do
          aw.sleep(5)
        end
        child:expect("ready")
        child:signal("INT")
      end)
      assert.equal(1000, (closed:wait(10000)))
      server:close()
      assert.equal(130, child:wait())
    end)
  end)

  it("TERM lets a server's work end", function()
    link.run(function()
      local child = start([[
        local aw = require("agentwire")
        aw.run(function()
          local server = assert(aw.listen("ws://127.0.0.1:0", function(conn)
            conn:serve("provider", function(channel)
              channel:receive()
              channel:send("text_delta", { content_index = 0, delta = "a" })
              aw.sleep(300)
              channel:send("result", { type = "result" })
            end)
          end))
          print(server.url)
          io.stdout:flush()
          server:wait_closed()
        end)]])
      local client = assert(aw.connect(child:line(), { reconnect = false }))
      local channel = assert(client:open("provider"))
      assert(channel:send("stream_request", {}))
      assert(channel:receive(5000))
      child:signal("TERM")
      assert.equal("result", assert(channel:receive(5000)).type)
      assert.is_true((client:wait_closed(5000)))
      assert.equal(143, child:wait())
    end)
  end)

  it("TERM ends a server whose work does not, when drain_ms has passed",
    function()
      link.run(function()
        local child = start([[
          local aw = require("agentwire")
          aw.run(function()
            local server = assert(aw.listen({ url = "ws://127.0.0.1:0",
              drain_ms = 50 }, function(conn)
              conn:serve("provider", function(channel)
                channel:receive()
                channel:send("text_delta", { content_index = 0, delta = "a" })
                aw.sleep(60000)
              end)
            end))
            print(server.url)
            io.stdout:flush()
            server:wait_closed()
          end)]])
        local client = assert(aw.connect(child:line(), { reconnect = false }))
        local channel = assert(client:open("provider"))
        assert(channel:send("stream_request", {}))
        assert(channel:receive(5000))
        child:signal("TERM")
        assert.is_true((client:wait_closed(10000)))
        assert.equal(143, child:wait())
      end)
    end)
end)

describe("the second signal", function()
  after_each(process.stop_all)

  it("ends a program that is stuck", function()
    local child = start([[
      require("agentwire").run(function()
        print("ready")
        io.stdout:flush()
        while true do end
      end)]])
    child:expect("ready")
    child:signal("INT")
    child:take_signals()
    child:signal("INT")
    assert.equal(130, child:wait())
  end)

  it("ends a program whose cleanup takes for ever", function()
    local child = start([[
      local aw = require("agentwire")
      aw.run(function()
        aw.task.defer(function()
          print("cleaning")
          io.stdout:flush()
          aw.sleep(60000)
        end)
        print("ready")
        io.stdout:flush()
        aw.sleep(60000)
      end)]])
    child:expect("ready")
    child:signal("INT")
    child:expect("cleaning")
    child:signal("INT")
    assert.equal(130, child:wait())
  end)
end)

describe("signals that are not ours", function()
  after_each(process.stop_all)

  it("stay ignored where they are", function()
    local child = start([[
      require("agentwire").run(function()
        print("ready")
        io.stdout:flush()
        require("agentwire").sleep(400)
        print("slept")
      end)]], [[perl -e '$SIG{TERM} = "IGNORE"; exec @ARGV' --]])
    child:expect("ready")
    child:signal("TERM")
    assert.equal("slept", child:line())
    assert.equal(0, child:wait())
  end)

  it("are left alone with signals = false", function()
    local child = start([[
      local aw = require("agentwire")
      aw.run({ signals = false }, function(word)
        aw.task.defer(function() print("never") end)
        print(word)
        io.stdout:flush()
        aw.sleep(60000)
      end, "ready")]])
    child:expect("ready")
    child:signal("TERM")
    assert.is_nil(child:line())
    assert.equal(143, child:wait())
  end)

  it("are given back after a run", function()
    local child = start([[
      local aw = require("agentwire")
      aw.run(function() aw.sleep(1) end)
      print("ready")
      io.stdout:flush()
      while true do end]])
    child:expect("ready")
    child:signal("TERM")
    assert.equal(143, child:wait())
  end)
end)

describe("aw.signal", function()
  after_each(process.stop_all)

  it("waits for a signal, and takes INT from the run meanwhile", function()
    local child = start([[
      local aw = require("agentwire")
      aw.run(function()
        for _, name in ipairs { "USR1", "SIGHUP", "INT" } do
          local waiting = aw.spawn(aw.signal, name)
          aw.task.yield()
          print("ready")
          io.stdout:flush()
          print("got " .. waiting:join())
        end
        print(select(3, aw.signal("USR2", 1)))
      end)]])
    for _, name in ipairs { "USR1", "HUP", "INT" } do
      child:expect("ready")
      child:signal(name)
      assert.equal("got " .. name, child:line())
    end
    assert.equal("timeout", child:line())
    assert.equal(0, child:wait())
  end)

  it("refuses what is no signal, and what cannot be waited for", function()
    link.run(function()
      assert.has_error(function()
        aw.signal("KILL")
      end)
      assert.has_error(function()
        aw.signal(15)
      end)
    end)
  end)

  it("leaves nothing behind when it is cancelled", function()
    link.run(function()
      for _ = 1, 100 do -- more than there may be at once
        local waiter = aw.spawn(aw.signal, "USR1")
        aw.task.yield()
        waiter:cancel()
        waiter:join()
      end
      assert.equal("timeout", select(3, aw.signal("USR1", 1)))
    end)
  end)

  it("tells when too many wait", function()
    link.run(function()
      local waiting = {}
      for n = 1, 64 do
        waiting[n] = aw.spawn(aw.signal, "USR1")
      end
      aw.task.yield()
      aw.task.yield()
      assert.equal("limit", select(3, aw.signal("USR1", 1)))
      for _, each in ipairs(waiting) do
        each:cancel()
        each:join()
      end
      assert.equal("timeout", select(3, aw.signal("USR1", 1)))
    end)
  end)
end)

describe("an error in the main task", function()
  after_each(process.stop_all)

  it("is told once, with its traceback, and exits with 1", function()
    local child = start([[
      require("agentwire").run(function()
        error("on purpose")
      end)]])
    assert.equal(1, child:wait())
    local _, count = child:errors():gsub("on purpose", "")
    assert.equal(1, count)
    assert.truthy(child:errors():find("stack traceback", 1, true))
  end)
end)
