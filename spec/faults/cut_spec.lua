-- Connections that are cut, servers that are killed.
local aw = require("agentwire")
local host = require("agentwire.host")
local lab = require("spec.support.lab")
local link = require("spec.support.link")
local process = require("spec.support.process")

local SEED = tonumber(os.getenv("AW_SEED")) or 20240607

describe("a network that resets connections", function()
  after_each(process.stop_all)

  it("loses and repeats nothing at random cuts", function()
    local wanted = lab.by_mode(10, 100, 1000)
    math.randomseed(SEED)
    lab.run({}, function(env)
      local client = env.connect()
      local cuts, resumed = 0, 0
      client:on_state(function(event)
        if cuts >= wanted then
          return
        elseif event.type == "resuming" then
          cuts = cuts + 1
          -- Now and then in the handshake or in the middle of the welcome.
          if math.random() < 0.3 then
            env.proxy:order("cut-after", math.random(1, 600))
          end
        elseif event.type == "open" then
          resumed = resumed + 1
          env.proxy:order("cut-after", math.random(1, 100000))
        end
      end)
      env.proxy:order("cut-after", math.random(1, 100000))
      local tasks = lab.read_all(client, 8, { count = 60 * wanted, size = 60 })
      lab.join_all(tasks)
      env.proxy:order("cut-after", "1000000000000")
      assert(cuts >= wanted, "only " .. cuts .. " cuts, seed " .. SEED)
      assert(resumed > wanted / 3, "only " .. resumed .. " came back")
      assert(client:stats().duplicates >= 0)
    end)
  end)

  it("cuts the way up as well: requests and aborts are not lost", function()
    lab.run({}, function(env)
      local client = env.connect()
      for number = 1, lab.by_mode(5, 30, 300) do
        local plan = { who = number, count = 100000, size = 40 }
        local stream = assert(lab.start(client, plan))
        env.proxy:order("cut")
        assert(stream:next(10000))
        assert(stream:next(10000))
        stream:abort("enough")
        env.proxy:order("cut")
        local message, why, code = stream:result(10000)
        assert.is_nil(message)
        assert.equal("aborted", code, why)
      end
    end)
  end)

  it("resumes ten thousand open streams of one connection", function()
    local streams = lab.by_mode(1000, 10000, 10000)
    lab.run({
      server = { scopes_max = 20000, session_bytes = 64 * 1024 * 1024 },
      rest_ms = 20000,
    }, function(env)
      local client = env.connect {
        scopes_max = 20000, session_bytes = 64 * 1024 * 1024,
      }
      local tasks, begun = lab.read_all(client, streams, {
        count = 6, size = 30, hold = 3, mark = 3,
      })
      assert(begun:wait(60000))
      env.proxy:order("cut")
      local cut_at = host.current():now()
      env.watch.release()
      lab.join_all(tasks)
      lab.note("%d streams resumed and complete in %.1f s", streams,
        (host.current():now() - cut_at) / 1000)
    end)
  end)
end)

describe("a server that is killed", function()
  after_each(process.stop_all)

  it("and comes back has lost the streams, and says so", function()
    local server = lab.server()
    link.run(function()
      local states = {}
      local client = assert(aw.connect(lab.url(server.port), {
        reconnect = lab.FAST,
        on_state = function(event)
          states[#states + 1] = event
        end,
      }))
      local tasks, begun = lab.read_all(client, 20, { count = 1e9, size = 50 })
      assert(begun:wait(20000))
      server:signal("KILL")
      server:wait()
      local again = lab.server { listen = lab.url(server.port) }
      assert.equal(server.port, again.port)
      for _, each in ipairs(tasks) do
        local ok, _, code = each:join(20000)
        assert.is_nil(ok)
        assert.equal("lost", code)
      end
      assert.equal("open", client:state())
      assert(lab.read(client, { who = "new", count = 100, size = 40 }))
      assert.equal("resuming", states[2].type)
      client:close()
      client:wait_closed(2000)
    end)
  end)

  it("and stays away is not waited for beyond the client's patience", function()
    local server = lab.server()
    link.run(function()
      local client = assert(aw.connect(lab.url(server.port), {
        reconnect = { min_ms = 1, max_ms = 20, attempts = 5 },
      }))
      local reader = aw.spawn(lab.read, client,
        { who = "a", count = 1e9, size = 50 })
      aw.task.yield()
      server:signal("KILL")
      local ok, why, code = reader:join(20000)
      assert.is_nil(ok)
      assert.equal("closed", code)
      assert(why ~= "", "a reason")
      assert(client:wait_closed(1000))
    end)
  end)
end)
