-- Too many clients, and bad ones among them.
local aw = require("agentwire")
local lab = require("spec.support.lab")
local process = require("spec.support.process")

--- How much processor time a server takes in a second.
local function busy_ms(server)
  local before = server:cpu_ms()
  aw.sleep(1000)
  return server:cpu_ms() - before
end

describe("a server without descriptors", function()
  after_each(process.stop_all)

  it("keeps what it has, does not spin, and recovers", function()
    lab.run({
      server = { handshake_ms = 60000 }, process = { descriptors = 40 },
    }, function(env)
      local client = env.connect()
      env.proxy:order("rogue", "silent", 200)
      lab.eventually("a shortage", 5000, function()
        return env.server:descriptors() >= 39
      end)
      local busy = busy_ms(env.server)
      lab.note("%d ms of a second's processor time without descriptors", busy)
      assert(busy < 200, busy .. " ms of a second")
      assert(lab.read(client, { who = "old", count = 500, size = 100 }))
      local late, why = aw.connect(lab.url(env.server.port),
        { timeout_ms = 500 })
      assert.is_nil(late)
      assert.equal("string", type(why))
      env.proxy:order("dismiss")
      local new
      lab.eventually("room", 5000, function()
        new = aw.connect(lab.url(env.server.port), { timeout_ms = 500 })
        return new
      end)
      assert(lab.read(new, { who = "new", count = 500, size = 100 }))
      new:close()
      new:wait_closed(2000)
    end)
  end)
end)

describe("a crowd of which some misbehave", function()
  after_each(process.stop_all)

  --- `count` connections, dialled by fifty tasks; every tenth part of the way
  --- the next kind of bad client comes.
  local function dial(env, count, kinds, bad)
    local conns, due = {}, math.ceil(count / 10)
    local function dial_some()
      while #conns < count do
        local index = #conns + 1
        conns[index] = false
        local conn, why = aw.connect(lab.url(env.server.port),
          { handshake_ms = 60000 })
        if not conn then
          return nil, why
        end
        conns[index] = conn
        if index % due == 0 and kinds[index / due] then
          env.proxy:order("rogue", kinds[index / due], bad)
        end
      end
      return true
    end
    local dialling = {}
    for number = 1, 50 do
      dialling[number] = aw.spawn(dial_some)
    end
    lab.join_all(dialling)
    return conns
  end

  local function use(conn, number)
    local ok, why = lab.read(conn, { who = number, count = 20, size = 100 })
    conn:close()
    conn:wait_closed(60000)
    return ok, why
  end

  it("streams correctly to all the others", function()
    local most = tonumber(process.shell("ulimit -n")) or math.huge
    local count = math.min(lab.by_mode(100, 1000, 10000), most - 100)
    lab.note("%d connections", count)
    local kinds = { "silent", "cut", "half", "garbage", "frame", "slow" }
    local bad = math.max(1, math.floor(count / 100 / #kinds + 0.5))
    lab.run({
      server = { handshake_ms = 5000, connections_max = 20000 },
      rest_ms = 30000,
    }, function(env)
      local conns = dial(env, count - bad * #kinds, kinds, bad)
      local tasks = {}
      for number, conn in ipairs(conns) do
        tasks[number] = aw.spawn(use, conn, number)
      end
      lab.join_all(tasks)
      lab.eventually("the end of every bad client", 20000, function()
        return env.proxy:rogues() == 0
      end)
    end)
  end)

  it("drops those who shake hands a byte a second, and lets others in", function()
    lab.run({ server = { handshake_ms = 1500 } }, function(env)
      env.proxy:order("rogue", "slow", 50)
      env.proxy:order("rogue", "half", 50)
      lab.eventually("50 slow clients", 2000, function()
        return env.server:descriptors() > env.watch.before.descriptors + 99
      end)
      local client = env.connect()
      assert(lab.read(client, { who = "swift", count = 500, size = 100 }))
      assert(lab.read(env.connect(), { who = "new", count = 50, size = 100 }))
      local open = env.proxy:rogues()
      assert.equal(100, open, "they were dropped before their time")
      lab.eventually("their end", 3000, function()
        return env.proxy:rogues() == 0
      end)
    end)
  end)
end)
