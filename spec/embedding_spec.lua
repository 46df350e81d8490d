-- What docs/embedding.md says of processes, threads and states.
--
-- A state of Lua belongs to one thread; several states share nothing, in as many
-- threads. luv makes both.
local aw = require("agentwire")
local has_ffi, ffi = pcall(require, "ffi")
local has_luv, uv = pcall(require, "luv")

local THREADS = 4

-- Runs in a state of its own, so it has no upvalues. Writes what it has seen.
local function serve_and_stream(path, cpath, report)
  package.path, package.cpath = path, cpath
  local file = io.open(report, "w")
  local ok, problem = xpcall(function()
    local own = require("agentwire")
    return own.run({ signals = false }, function()
      local server = assert(own.serve {
        listen = "ws://127.0.0.1:0",
        provider = own.providers.scripted.new {
          decide = function() return { text = ("word "):rep(20) } end,
        },
      })
      local conn = assert(own.connect(server.url))
      for _ = 1, 20 do
        local stream = assert(conn:provider():start_stream {
          model = "scripted/scripted",
          messages = { { role = "user", content = "hi" } },
        })
        assert(stream:result(20000))
      end
      own.signal("USR1", 10)
      conn:close()
      server:close()
    end)
  end, debug.traceback)
  file:write(ok and "fine" or tostring(problem))
  file:close()
end

describe("states in threads", function()
  if not has_luv then
    pending("there is no luv, which makes threads")
    return
  end

  it("work at the same time, each with connections of its own", function()
    local threads, reports = {}, {}
    for index = 1, THREADS do
      reports[index] = os.tmpname()
      threads[index] = assert(uv.new_thread(serve_and_stream, package.path,
        package.cpath, reports[index]))
    end
    for index, thread in ipairs(threads) do
      thread:join()
      local file = assert(io.open(reports[index]))
      local text = file:read("*a")
      file:close()
      os.remove(reports[index])
      assert.equal("fine", text)
    end
  end)
end)

local function scripted_server()
  return assert(aw.serve {
    listen = "ws://127.0.0.1:0",
    provider = aw.providers.scripted.new {
      decide = function() return { text = "word" } end,
    },
  })
end

local function ask(conn)
  local stream = assert(conn:provider():start_stream {
    model = "scripted/scripted",
    messages = { { role = "user", content = "hi" } },
  })
  return assert(stream:result(5000)).stop_reason
end

describe("a forked child", function()
  if not has_ffi then
    pending("forking needs ffi, which is not here")
    return
  end
  ffi.cdef [[
    int fork(void);
    void _exit(int);
    int waitpid(int, int *, int);
  ]]

  it("that ends by _exit, even after a collection, leaves the parent's "
    .. "connections alone", function()
    local reason = aw.run({ signals = false }, function()
      local server = scripted_server()
      local conn = assert(aw.connect(server.url))
      ask(conn)
      local child = ffi.C.fork()
      if child == 0 then
        collectgarbage()
        ffi.C._exit(0)
      end
      ffi.C.waitpid(child, nil, 0)
      local after = ask(conn)
      conn:close()
      server:close()
      return after
    end)
    assert.equal("stop", reason)
  end)
end)

describe("the module", function()
  -- What an editor's reload does. Two that are used at once are not supported.
  it("is loaded anew once what it had opened is closed", function()
    local kept = {}
    for name, module in pairs(package.loaded) do
      if name:find("^agentwire") then
        kept[name] = module
        package.loaded[name] = nil
      end
    end
    local ok, result = pcall(function()
      local other = require("agentwire")
      assert(other ~= aw)
      return other.run({ signals = false }, function()
        local near = other.pair()
        near:close()
        return "fine"
      end)
    end)
    for name in pairs(package.loaded) do
      if name:find("^agentwire") then
        package.loaded[name] = kept[name]
      end
    end
    for name, module in pairs(kept) do
      package.loaded[name] = module
    end
    assert.equal("fine", ok and result or tostring(result))
  end)
end)
