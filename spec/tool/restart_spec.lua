-- A tool server that was killed and started again: what it owed is not waited
-- for.
local aw = require("agentwire")
local link = require("spec.support.link")
local pool = require("agentwire.tool.pool")
local registry = require("agentwire.tool.registry")
local task = require("agentwire.task")

local function tools(name, answer)
  return registry.new():add { name = name or "t", handler = function()
    if answer then
      return answer
    end
    task.sleep(60000)
  end }
end

--- Runs `body(offered, dial)` with a server whose pool takes registrations;
--- `dial(options)` connects a tool server that never comes back.
--- All tool servers are of one identity but those that say otherwise.
local function with_pool(body)
  link.run(function()
    local offered = pool.new()
    local server = assert(aw.serve {
      listen = "ws://127.0.0.1:0", pool = offered,
      tokens = { ["a-token-of-one"] = "one", ["a-token-of-two"] = "two" },
    })
    local function dial(token)
      return assert(aw.connect(server.url, {
        token = token or "a-token-of-one", reconnect = false,
      }))
    end
    body(offered, dial, server)
    server:close()
    server:wait_closed(1000)
  end)
end

local function call(offered, name)
  local running = task.spawn(offered.execute, offered, {
    name = name or "t", args = {},
  })
  link.eventually(function()
    local entries = offered._by_name[name or "t"]
    return next(entries[1].calls._open) ~= nil
  end)
  return running
end

local function lose(connection, offered)
  connection:cut("killed")
  link.eventually(function()
    return not offered._by_name.t[1].calls:connection():is_open()
  end)
end

local function code_of(running)
  return select(3, running:join(1000))
end

describe("a tool server that is started again", function()
  it("ends the calls that it owed, when its old link is gone", function()
    with_pool(function(offered, dial)
      local first = dial()
      assert(aw.tool.register(first, tools()))
      local running = call(offered)
      lose(first, offered)
      assert(aw.tool.register(dial(), tools("t", "new")))
      assert.equal("restarted", code_of(running))
      assert.equal("new",
        assert(offered:execute { name = "t" }).parts[1].text)
    end)
  end)

  it("ends them while its old link still looks alive, if it has a name",
    function()
      with_pool(function(offered, dial)
        local registration = assert(aw.tool.register(dial(), tools(),
          { name = "files" }))
        local running = call(offered)
        assert(aw.tool.register(dial(), tools("other"), { name = "files" }))
        assert.equal("restarted", code_of(running))
        assert.is_true(registration:wait_ended(1000))
        assert.equal(1, #offered:list())
      end)
    end)

  it("ends no others' calls", function()
    with_pool(function(offered, dial)
      local first = dial()
      assert(aw.tool.register(first, tools(), { name = "one" }))
      local running = call(offered)
      assert(aw.tool.register(dial(), tools(), { name = "two" }))
      assert(aw.tool.register(dial(), tools()))
      assert(aw.tool.register(first, tools("more"), { name = "one" }))
      assert.equal("timeout", select(3, running:join(50)))
      running:cancel("enough")
    end)
  end)

  it("ends no calls of a server without a name whose link stands", function()
    with_pool(function(offered, dial)
      assert(aw.tool.register(dial(), tools()))
      local running = call(offered)
      assert(aw.tool.register(dial(), tools()))
      assert.equal("timeout", select(3, running:join(50)))
      running:cancel("enough")
    end)
  end)

  it("ends no calls of another peer by its name", function()
    with_pool(function(offered, dial)
      assert(aw.tool.register(dial(), tools(), { name = "files" }))
      local running = call(offered)
      assert(aw.tool.register(dial("a-token-of-two"), tools("other"),
        { name = "files" }))
      assert.is_nil((aw.tool.register(dial("a-token-of-two"), tools(),
        { name = "files" })))
      assert.equal("timeout", select(3, running:join(50)))
      running:cancel("enough")
    end)
  end)

  it("is preferred to one whose link is gone", function()
    with_pool(function(offered, dial)
      assert(aw.tool.register(dial(), tools("t", "old")))
      local second = dial()
      assert(aw.tool.register(second, tools("t", "new"), { name = "n" }))
      second:cut("killed")
      link.eventually(function()
        return not offered._by_name.t[2].calls:connection():is_open()
      end)
      assert.equal("old",
        assert(offered:execute { name = "t" }).parts[1].text)
    end)
  end)
end)

describe("an execution's id", function()
  it("is refused while one of that id is open", function()
    link.run(function()
      local near, far = link.pair()
      aw.tool.attach(far, tools())
      local call_of = { name = "t", execution_id = "e1" }
      local first = assert(near:tool():start(call_of))
      local _, why, code = near:tool():start(call_of)
      assert.equal("invalid_request", code)
      assert.matches("e1", why)
      first:cancel()
      assert.equal("cancelled", select(3, first:result(1000)))
      near:close()
    end)
  end)
end)
