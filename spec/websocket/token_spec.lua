-- Credentials that are asked for before each attempt.
local aw = require("agentwire")
local link = require("spec.support.link")

local FAST = { min_ms = 1, max_ms = 10 }

-- A server that takes `valid.token`, and a client whose token is a function.
local function with(token, body)
  link.run(function()
    aw.log.set(function() end)
    local valid = { token = "t1", visits = 0 }
    local server = assert(aw.listen({ url = "ws://127.0.0.1:0",
      authenticate = function(request)
        valid.visits = valid.visits + 1
        return request.headers.authorization == "Bearer " .. valid.token
      end }, function() end))
    local conn, message, code = aw.connect(server.url, {
      token = token(valid), reconnect = FAST,
    })
    local ok, problem = pcall(body, conn, valid, message, code, server)
    if conn then
      conn:close()
    end
    server:close()
    aw.log.set(nil)
    assert(ok, problem)
  end)
end

local function current(valid)
  return function()
    aw.sleep(1)
    return valid.token
  end
end

-- A ping is answered over the next link.
local function back(conn)
  assert.is_true((conn:ping(5000)))
end

describe("a token that is a function", function()
  it("is asked before each attempt, and may wait", function()
    with(current, function(conn, valid)
      for n = 2, 5 do
        valid.token = "t" .. n
        conn:cut("cable")
        back(conn)
      end
      assert.equal(5, valid.visits)
    end)
  end)

  it("is asked once more when it was refused, and told so", function()
    local told = {}
    with(function(valid)
      local held = "t1"
      return function(about)
        table.insert(told, about.refused)
        if about.refused then
          held = valid.token
        end
        return held
      end
    end, function(conn, valid)
      valid.token = "t2"
      conn:cut("cable")
      back(conn)
      valid.token = "t3"
      conn:cut("cable")
      back(conn)
    end)
    assert.same({ false, false, true, false, true }, told)
  end)

  it("that is refused twice is refused", function()
    with(function()
      return function()
        return "t1"
      end
    end, function(conn, valid)
      valid.token = "t2"
      conn:cut("cable")
      assert.is_true(conn:wait_closed(5000))
      assert.truthy(conn:why_closed():find("401", 1, true))
      assert.equal(3, valid.visits)
    end)
  end)

  it("that fails is a failed attempt, later", function()
    local left = 0
    with(function(valid)
      return function()
        left = left - 1
        if left == 2 then
          error("no network")
        elseif left > 0 then
          return nil, "not now"
        end
        return valid.token
      end
    end, function(conn)
      left = 4
      conn:cut("cable")
      back(conn)
      assert.equal(0, left)
    end)
  end)

  for what, case in pairs {
    ["gives nothing"] = { function()
      return nil, "the vault is shut"
    end, "gave nothing: the vault is shut", "no_credentials" },
    ["raises"] = { function()
      error("the vault is shut", 0)
    end, "failed: the vault is shut", "no_credentials" },
    ["gives a table"] = { function()
      return {}
    end, "has to give a string", "invalid_argument" },
    ["gives a line break"] = { function()
      return "t1\r\nX-Other: y"
    end, "control character", "invalid_argument" },
  } do
    it("that " .. what .. " fails the first attempt", function()
      with(function()
        return case[1]
      end, function(conn, valid, message, code)
        assert.is_nil(conn)
        assert.equal(case[3], code)
        assert.truthy(message:find(case[2], 1, true), message)
        assert.equal(0, valid.visits)
      end)
    end)
  end

  it("that never answers is waited for within the time for opening", function()
    link.run(function()
      local _, _, code = aw.connect("ws://127.0.0.1:1", { timeout_ms = 20,
        token = function()
          aw.sleep(60000)
        end })
      assert.equal("timeout", code)
    end)
  end)

  it("that never answers does not outlive its connection", function()
    local asked = 0
    with(function()
      return function()
        asked = asked + 1
        if asked > 1 then
          aw.sleep(60000)
        end
        return "t1"
      end
    end, function(conn)
      conn:cut("cable")
      link.eventually(function()
        return asked == 2
      end)
      conn:close()
      link.eventually(function()
        return conn._keeper:is_done()
      end)
    end)
  end)
end)

describe("a URL and headers that are functions", function()
  it("are asked before each attempt", function()
    link.run(function()
      aw.log.set(function() end)
      local seen = {}
      local function listen()
        return assert(aw.listen({ url = "ws://127.0.0.1:0",
          authenticate = function(request)
            table.insert(seen, request.headers["x-n"])
            return true
          end }, function() end))
      end
      local first, second = listen(), listen()
      local at, n = first, 0
      local conn = assert(aw.connect(function()
        return at.url
      end, {
        reconnect = FAST,
        headers = function()
          n = n + 1
          return { ["X-N"] = tostring(n) }
        end,
      }))
      at = second
      first:close()
      link.eventually(function()
        return conn:is_open() and second:count() == 1
      end)
      assert.same({ "1", "2" }, seen)
      conn:close()
      second:close()
      aw.log.set(nil)
    end)
  end)
end)
