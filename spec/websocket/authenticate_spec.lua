-- The hook that decides who may come in: it ends with those who asked.
local aw = require("agentwire")
local link = require("spec.support.link")
local task = require("agentwire.task")

--- A server whose hook waits for `gate`; counts what runs.
local function with_slow_hook(options, body)
  link.run(function()
    local seen = { begun = 0, running = 0, most = 0, ended = {} }
    options.url = "ws://127.0.0.1:0"
    options.authenticate = function()
      seen.begun = seen.begun + 1
      seen.running = seen.running + 1
      seen.most = math.max(seen.most, seen.running)
      local ok, problem = pcall(function()
        while not seen.open do
          task.sleep(1)
        end
      end)
      seen.running = seen.running - 1
      seen.ended[#seen.ended + 1] = ok and "decided" or tostring(problem)
      if not ok then
        error(problem, 0)
      end
      return "alice"
    end
    local server = assert(aw.listen(options, function() end))
    body(server, seen)
    server:close()
  end)
end

--- Dials in a task; gives up after `patience_ms`.
local function dial(server, patience_ms)
  return aw.spawn(function()
    return aw.connect(server.url, {
      reconnect = false, timeout_ms = patience_ms or 5000,
    })
  end)
end

describe("a slow hook", function()
  it("is cancelled when the client goes", function()
    with_slow_hook({}, function(server, seen)
      local dialling = dial(server, 50)
      link.eventually(function()
        return seen.running == 1
      end)
      assert.is_nil(dialling:join())
      link.eventually(function()
        return seen.running == 0
      end)
      assert.truthy(seen.ended[1]:find("no longer waits", 1, true))
      assert.equal(0, server._admission:count())
    end)
  end)

  it("is cancelled when the handshake's time has passed", function()
    with_slow_hook({ handshake_ms = 50 }, function(server, seen)
      local dialling = dial(server)
      local conn, why = dialling:join()
      assert.is_nil(conn)
      assert.truthy(why:find("503", 1, true), why)
      link.eventually(function()
        return seen.running == 0
      end)
      assert.truthy(seen.ended[1]:find("no longer waits", 1, true))
    end)
  end)

  it("is cancelled when the server closes", function()
    with_slow_hook({}, function(server, seen)
      local dialling = dial(server)
      link.eventually(function()
        return seen.running == 1
      end)
      server:close()
      link.eventually(function()
        return seen.running == 0
      end)
      dialling:join()
    end)
  end)

  it("runs only so often at once; others wait, and come in", function()
    with_slow_hook({ authenticating_max = 3 }, function(server, seen)
      local dialling = {}
      for i = 1, 13 do
        dialling[i] = dial(server, i == 13 and 50 or nil)
      end
      link.eventually(function()
        return seen.running == 3
      end)
      task.sleep(20)
      assert.equal(3, seen.begun)
      -- One that goes before it was its turn is never asked about.
      assert.is_nil(dialling[13]:join())
      task.sleep(20)
      seen.open = true
      for i = 1, 12 do
        local conn = assert(dialling[i]:join(5000))
        conn:close()
      end
      assert.equal(12, seen.begun)
      assert.equal(3, seen.most)
      assert.equal(0, server._admission:count())
    end)
  end)

  it("costs its place no longer than it is waited for, time and again",
    function()
      with_slow_hook({ authenticating_max = 2, handshake_ms = 2000 },
        function(server, seen)
          for _ = 1, 12 do
            local dialling = dial(server, 30)
            link.eventually(function()
              return seen.running == 1
            end)
            assert.is_nil(dialling:join())
            link.eventually(function()
              return seen.running == 0
            end)
          end
          seen.open = true
          assert(dial(server):join(5000)):close()
          assert.equal(0, server._admission:count())
        end)
    end)
end)
