-- Conversations that outlive their session: whose they are, when they are read
-- and written, and what becomes of a store that fails.
local agent_client = require("agentwire.agent.client")
local agent_server = require("agentwire.agent.server")
local aw = require("agentwire")
local link = require("spec.support.link")
local script = require("spec.support.script")
local task = require("agentwire.task")

local ID = "11111111-1111-4111-8111-111111111111"

local function new_store()
  local store = { saved = {}, log = {} }
  function store:load(key)
    table.insert(self.log, "load " .. key)
    return self.saved[key]
  end
  function store:save(key, messages)
    table.insert(self.log, ("save %s %d"):format(key, #messages))
    self.saved[key] = messages
  end
  return store
end

--- A model that says how many messages it was given.
local function counting()
  local adapter = { name = "script", api = "script" }
  function adapter.stream(_, request)
    return script.say(tostring(#request.context.messages))
  end
  return adapter
end

--- Runs `body(env)` against a service with `options`; `env.connect(id)` gives a
--- client of whoever has this id (nil: nobody in particular) and its two ends.
local function with_service(options, body)
  link.run(function()
    aw.log.set(function(entry)
      options.logged = entry
    end)
    local model, model_conn = script.client(options.adapter or counting())
    local service = agent_server.new {
      provider = model, model = "script/tiny", store = options.store,
      store_timeout_ms = options.timeout_ms,
    }
    local env, ends = { service = service }, {}
    function env.connect(id)
      local near, far = link.pair()
      link.settle() -- until the pair is open
      far.identity = id and { id = id, name = id } or nil
      agent_server.attach(far, service)
      ends[#ends + 1] = near
      return agent_client.new(near), near, far
    end
    local ok, problem = pcall(body, env)
    for _, near in ipairs(ends) do
      near:close()
    end
    model_conn:close()
    aw.log.set(nil)
    if not ok then
      error(problem, 0)
    end
  end)
end

local function ask(session, text)
  session:prompt(text)
  local result = assert(session:result(5000))
  return result.text
end

describe("a stored conversation", function()
  it("goes on under its id, whether resumed or started again", function()
    local store = new_store()
    with_service({ store = store }, function(env)
      local client = env.connect()
      local first = assert(client:start { id = ID })
      assert.equal("1", ask(first, "one"))
      first:stop()
      local second = assert(client:start { resume_session_id = ID })
      assert.equal(ID, second.id)
      assert.equal("3", ask(second, "two"))
      second:stop()
      local third = assert(client:start { id = ID })
      assert.equal("5", ask(third, "three"))
      third:stop()
      assert.equal(6, #store.saved[ID])
      local count = 0
      for _ in pairs(store.saved) do
        count = count + 1
      end
      assert.equal(1, count)
    end)
  end)

  it("is saved at each turn, and only when it has changed", function()
    local store = new_store()
    with_service({ store = store }, function(env)
      local client = env.connect()
      local session = assert(client:start { id = ID })
      assert.same({ "load " .. ID }, store.log)
      ask(session, "one")
      assert.same({ "load " .. ID, "save " .. ID .. " 2" }, store.log)
      ask(session, "two")
      assert.equal("save " .. ID .. " 4", store.log[3])
      session:stop()
      local again = assert(client:start { id = ID })
      again:stop()
      assert.equal(4, #store.log) -- one load more
    end)
  end)

  it("is saved by its first turn already, while the run goes on", function()
    local store = new_store()
    local tools = aw.tool.registry()
    local seen
    tools:add { name = "look", description = "", handler = function()
      return "x"
    end }
    local turn = 0
    local adapter = { name = "script", api = "script" }
    function adapter.stream()
      turn = turn + 1
      if turn == 1 then
        return script.say(nil, { "c1", "look", "{}" })
      end
      seen = store.saved[ID] and #store.saved[ID]
      return script.say("done")
    end
    with_service({ store = store, adapter = adapter }, function(env)
      local session = assert(env.connect():start { id = ID, tools = tools })
      ask(session, "go")
      assert.equal(3, seen) -- prompt, call, result
    end)
  end)

  it("is not the table that the store keeps", function()
    local store = new_store()
    with_service({ store = store }, function(env)
      local session = assert(env.connect():start { id = ID })
      ask(session, "one")
      local kept = store.saved[ID]
      ask(session, "two")
      assert.equal(2, #kept)
      session:stop()
      kept = store.saved[ID]
      store.save = function() end
      local again = assert(env.connect():start { id = ID })
      assert.equal("5", ask(again, "three"))
      assert.equal(4, #kept)
      again:stop()
    end)
  end)

  it("belongs to an identity: another one starts its own", function()
    local store = new_store()
    with_service({ store = store }, function(env)
      local alice = assert(env.connect("alice"):start { id = ID })
      ask(alice, "a secret")
      alice:stop()
      for _, other in ipairs { "bob", "alice.x", "", "alice/.." } do
        local id = other ~= "" and other or nil
        local refused, _, code = env.connect(id)
          :start { resume_session_id = ID }
        assert.is_nil(refused, other)
        assert.equal("session_expired", code)
        local theirs = assert(env.connect(id):start { id = ID })
        assert.equal("1", ask(theirs, "mine"))
        theirs:stop()
      end
      local back = assert(env.connect("alice"):start { resume_session_id = ID })
      assert.equal("3", ask(back, "again"))
      back:stop()
      for key in pairs(store.saved) do
        assert.truthy(key:find("^[%w_%%-]*%.?[%x-]+$"), key)
      end
      assert.truthy(store.saved["alice." .. ID])
    end)
  end)

  it("is in one session at a time, while its client is there", function()
    local store = new_store()
    with_service({ store = store }, function(env)
      local client = env.connect("alice")
      local session = assert(client:start { id = ID })
      local other, _, code = env.connect("alice"):start { id = ID }
      assert.is_nil(other)
      assert.equal("agent_busy", code)
      assert.equal("1", ask(session, "still here"))
      session:stop()
      assert(env.connect("alice"):start { id = ID }):stop()
    end)
  end)

  it("goes over to the client's next session when its connection is gone",
    function()
      local store = new_store()
      with_service({ store = store }, function(env)
        local client, _, far = env.connect("alice")
        local session = assert(client:start { id = ID })
        ask(session, "one")
        -- As of a server whose client was killed a moment ago.
        far.is_open = function()
          return false
        end
        local next_one = assert(env.connect("alice"):start { id = ID })
        assert.equal("3", ask(next_one, "two"))
        assert.equal(1, env.service:stats().sessions)
      end)
    end)

  for what, id in pairs {
    ["a path"] = "../../etc/passwd",
    ["an absolute path"] = "/etc/passwd",
    ["nothing"] = "",
    ["a UUID with more behind it"] = ID .. "/..",
    ["a UUID with a zero byte"] = ID .. "\0",
    ["braces"] = "{" .. ID .. "}",
    ["no hyphens"] = (ID:gsub("-", "")),
    ["a letter that is no digit"] = (ID:gsub("^1", "g")),
  } do
    it("is not asked for by " .. what, function()
      local store = new_store()
      with_service({ store = store }, function(env)
        local _, near = env.connect()
        local channel = assert(near:open("agent"))
        assert(channel:send("agent_start",
          { config_json = "{}", resume_session_id = id }))
        local event = assert(channel:receive(1000))
        assert.equal("agent_error", event.type)
        assert.equal("invalid_request", event.code)
        assert.same({}, store.log)
        assert.equal(0, env.service:stats().sessions)
      end)
    end)
  end

  it("has its id in small letters", function()
    local store = new_store()
    local id = "ABCDEF01-1111-4111-8111-111111111111"
    with_service({ store = store }, function(env)
      env.connect():start { resume_session_id = id }
      assert.same({ "load " .. id:lower() }, store.log)
    end)
  end)

  local failures = {
    ["raises"] = function()
      error("the password is hunter2")
    end,
    ["says why"] = function()
      return nil, "hunter2 is wrong"
    end,
    ["says false"] = function()
      return false
    end,
    ["takes for ever"] = function()
      task.sleep(60000)
    end,
  }
  local junk = {
    ["gives text"] = function()
      return "hello"
    end,
    ["gives messages that are none"] = function()
      return { { foo = 1 } }
    end,
    ["gives no list"] = function()
      return { role = "user" }
    end,
  }
  for what, load in pairs(failures) do
    junk[what] = load
  end

  for what, load in pairs(junk) do
    it("is not begun anew when a store's load " .. what, function()
      local store = new_store()
      store.load = load
      local options = { store = store, timeout_ms = 30 }
      with_service(options, function(env)
        for _ = 1, 3 do
          local session, why, code = env.connect():start { id = ID }
          assert.is_nil(session)
          assert.equal("internal_error", code)
          assert.truthy(why:find("the store has failed", 1, true), why)
          assert.is_nil(why:find("hunter2", 1, true))
        end
        assert.equal("store_failed", options.logged.event)
        assert.equal("error", options.logged.level)
        assert.equal(0, env.service:stats().sessions)
        store.load = new_store().load
        assert(env.connect():start { id = ID }):stop()
      end)
    end)
  end

  for what, save in pairs(failures) do
    it("tells the client and the log when a store's save " .. what, function()
      local store = new_store()
      local save_well = store.save
      store.save = save
      local options = { store = store, timeout_ms = 30 }
      with_service(options, function(env)
        local told = {}
        local session = assert(env.connect():start { id = ID,
          on_event = function(event)
            if event.type == "save_failed" then
              told[#told + 1] = event.message
            end
          end })
        assert.equal("1", ask(session, "one"))
        assert.truthy(told[1]:find("the store has failed", 1, true))
        assert.is_nil(told[1]:find("hunter2", 1, true))
        assert.equal("store_failed", options.logged.event)
        -- What could not be saved is saved as soon as it can be.
        store.save = save_well
        session:stop()
        assert.equal(2, #store.saved[ID])
      end)
    end)
  end

  it("is whole for whoever starts it again once its end was told", function()
    local store = new_store()
    local save_well = store.save
    store.save = failures["says why"]
    with_service({ store = store }, function(env)
      local client = env.connect()
      local session = assert(client:start { id = ID })
      ask(session, "one")
      store.save = function(...)
        task.sleep(20)
        return save_well(...)
      end
      session:stop()
      local again = assert(client:start { id = ID })
      assert.equal("3", ask(again, "two"))
      again:stop()
    end)
  end)

  it("needs a store that can both load and save", function()
    local model, conn
    link.run(function()
      model, conn = script.client(counting())
      for _, store in ipairs { {}, { load = print }, { save = print } } do
        local ok, why = pcall(agent_server.new,
          { provider = model, store = store })
        assert.is_false(ok)
        assert.truthy(why:find("a store with load and save", 1, true), why)
      end
      conn:close()
    end)
  end)
end)

describe("a client that was killed", function()
  it("finds its conversation, and its old session is over", function()
    link.run(function()
      local store = new_store()
      local service = agent_server.new {
        provider = aw.provider.loopback(counting()), model = "script/tiny",
        store = store,
      }
      local server = assert(aw.serve { listen = "ws://127.0.0.1:0",
        agent = service, tokens = { a = "alice" } })
      local old = assert(aw.connect(server.url,
        { token = "a", reconnect = false }))
      local session = assert(old:agent():start { id = ID })
      assert.equal("1", ask(session, "one"))
      old:cut("killed")
      link.eventually(function() -- the server knows
        for conn in server:connections() do
          if conn:is_open() then
            return false
          end
        end
        return true
      end)
      local conn = assert(aw.connect(server.url, { token = "a" }))
      local again = assert(conn:agent():start { resume_session_id = ID })
      assert.equal("3", ask(again, "two"))
      assert.equal(1, service:stats().sessions)
      again:stop()
      conn:close()
      server:close()
    end)
  end)
end)
