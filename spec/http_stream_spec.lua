-- Bodies as they come: bytes, lines, events, JSON values; what they may hold,
-- and that a slow reader slows the sender down.
local aw = require("agentwire")
local core = require("agentwire.core")
local counters = require("spec.support.counters")
local link = require("spec.support.link")
local process = require("spec.support.process")
local servers = require("spec.support.http_server")

if not aw.http.about() then
  print("# left out: http_stream_spec: " .. select(2, aw.http.about()))
  return
end

local function with_server(body)
  link.run(function()
    local server = servers.start()
    body(server, function(path, options)
      local all = { url = server.url .. path, proxy = "" }
      for name, value in pairs(options or {}) do
        all[name] = value
      end
      return assert(aw.http.stream(all))
    end)
    server:stop()
  end)
end

-- What each of `method` gives, and how it ended.
local function all_of(stream, method)
  local list = {}
  for each in stream[method](stream) do
    list[#list + 1] = each
  end
  return list, select(2, stream:reason())
end

describe("a streamed body", function()
  after_each(process.stop_all)

  it("is the same however it is cut", function()
    with_server(function(_, stream)
      local text = "\239\187\191: hi\r\nid: 1\r\nevent: a\r\ndata: x\226\130\172"
        .. "\r\ndata:y\r\n\r\ndata: z\n\nretry: 5\rdata: w\r\rdata: lost"
      for size = 1, 20 do
        local list, code = all_of(stream("/parts?size=" .. size,
          { body = text }), "events")
        assert.equal("closed", code)
        assert.same({
          { event = "a", data = "x\226\130\172\ny", id = "1" },
          { event = "message", data = "z", id = "1" },
          { event = "message", data = "w", id = "1", retry_ms = 5 },
        }, list)
        assert.same({ "one", "two", "three" }, (all_of(stream("/parts?size="
          .. size, { body = "one\r\n\ntwo\nthree" }), "lines")))
        local values
        values, code = all_of(stream("/parts?size=" .. size,
          { body = '{"a":1}\n\n[2]\r\n"x"' }), "values")
        assert.same({ { a = 1 }, { 2 }, "x" }, values)
        assert.equal("closed", code)
        assert.equal(text, table.concat((all_of(stream("/parts?size=" .. size,
          { body = text }), "chunks"))))
      end
    end)
  end)

  it("comes as it is sent", function()
    with_server(function(_, stream)
      local opened = stream("/ticks?n=5&ms=30")
      assert.equal(200, opened.status)
      local seen = {}
      for event in opened:events() do
        seen[#seen + 1] = { aw.json.decode(event.data).tick, core.monotonic_us() }
      end
      assert.equal(5, #seen)
      for index = 2, 5 do
        assert.equal(index - 1, seen[index][1])
        assert.is_true(seen[index][2] - seen[index - 1][2] > 10000)
      end
    end)
  end)

  it("that breaks off gives what came, and then says so", function()
    with_server(function(_, stream)
      for _, path in ipairs { "/early", "/early?chunked=1" } do
        local list, code = all_of(stream(path), "chunks")
        assert.equal("some", table.concat(list))
        assert.equal("incomplete", code)
      end
      for _, method in ipairs { "lines", "values", "events" } do
        local list, code = all_of(stream("/early"), method)
        assert.same({}, list) -- not the start of a line for a line
        assert.equal("incomplete", code)
      end
      local opened = stream("/early")
      assert.equal("some", opened:read())
      assert.equal("incomplete", select(3, opened:read()))
      assert.equal("incomplete", select(3, opened:read()))
    end)
  end)

  it("is read in one way", function()
    with_server(function(_, stream)
      local opened = stream("/parts?size=100", { body = "1\n2\n\n" })
      for _ in opened:lines() do
        local ok, problem = pcall(opened:events(), opened)
        assert.is_false(ok)
        assert.truthy(problem:find("read as lines already", 1, true), problem)
      end
    end)
  end)

  it("ends at a line that is no JSON", function()
    with_server(function(_, stream)
      local list, code = all_of(stream("/parts?size=3",
        { body = "1\n{\n2\n" }), "values")
      assert.same({ 1 }, list)
      assert.equal("json_truncated", code)
    end)
  end)

  it("waits no longer than it is told, and goes on", function()
    with_server(function(_, stream)
      local opened = stream("/stall")
      assert.equal("data: first\n\n", opened:read(1000))
      assert.equal("timeout", select(3, opened:read(20)))
      assert.is_nil(opened:reason())
      opened:close()
      assert.same({ "closed", "closed" }, { opened:reason() })
      local hurried = stream("/stall", { timeout_ms = 50 })
      assert.equal("data: first\n\n", hurried:read(1000))
      assert.equal("timeout", select(3, hurried:read(5000)))
      assert.equal("timeout", select(2, hurried:reason()))
      assert.equal("closed", select(3, opened:read()))
    end)
  end)

  it("is closed when a loop over it is left, where that can be told", function()
    with_server(function(server, stream)
      local opened, count = stream("/stall"), 0
      for event in opened:events() do
        assert.equal("first", event.data)
        count = count + 1
        if count == 1 then
          break
        end
      end
      if _VERSION == "Lua 5.4" then
        assert.equal("closed", select(2, opened:reason()))
        server:when("gone", "/stall")
      end
      opened:close()
    end)
  end)
end)

describe("a limit of a streamed body", function()
  after_each(process.stop_all)

  -- The code with which it ends, of so many bytes.
  local function ends(stream, method, head, size, options)
    options.body = head .. ("x"):rep(size - #head) .. "\n\n"
    return select(2, all_of(stream("/parts?size=1000", options), method))
  end

  it("holds for an event, a line, the body, the header", function()
    with_server(function(server, stream)
      assert.equal("closed", ends(stream, "events", "data:", 5000,
        { line_bytes_max = 5000 }))
      for _, size in ipairs { 5001, 50000 } do
        assert.equal("limit", ends(stream, "events", "data:", size,
          { line_bytes_max = 5000 }))
        assert.equal("limit", ends(stream, "lines", "", size,
          { line_bytes_max = 5000 }))
      end
      assert.equal("closed", ends(stream, "lines", "", 5000,
        { line_bytes_max = 5000 }))
      assert.equal("closed", ends(stream, "events", "data:", 5000,
        { event_bytes_max = 4996 }))
      for _, size in ipairs { 5001, 50000 } do
        assert.equal("limit", ends(stream, "events", "data:", size,
          { event_bytes_max = 4996 }))
      end
      local function body(size, most)
        return select(2, all_of(stream("/big?n=" .. size,
          { body_bytes_max = most }), "chunks"))
      end
      assert.equal("closed", body(100000, 100000))
      assert.equal("limit", body(100001, 100000))
      assert.equal("limit", body(1000000, 100000))
      local function header(size, most, path)
        return select(3, aw.http.request { url = server.url .. (path or "/header?n=")
          .. size, header_bytes_max = most, proxy = "" })
      end
      -- "X-Long: ", its line end, and "Content-Length: 2" with its own.
      assert.is_nil(header(1000, 1000 + 10 + 19))
      assert.equal("limit", header(1001, 1000 + 10 + 19))
      assert.equal("limit", header(10000, 1000 + 10 + 19))
      assert.is_nil(header(60000))
      assert.equal("limit", header(66000))
      assert.equal("limit", header(640, nil, "/headers?n="))
    end)
  end)

  it("holds for what a small answer unpacks to", function()
    with_server(function(server)
      local function get(size, options)
        options.url = server.url .. "/gzipped?n=" .. size
        options.proxy = ""
        return aw.http.request(options)
      end
      assert.equal(("z"):rep(100000), assert(get(100000, {})).body)
      assert.equal("plain", assert(get(100, { compressed = false })).body)
      assert.equal(100000, #assert(get(100000, { body_bytes_max = 100000 })).body)
      assert.equal("limit", select(3, get(100001, { body_bytes_max = 100000 })))
      local before = counters.resident_kb()
      assert.equal("limit", select(3, get(500000000, { body_bytes_max = 100000 })))
      local grown = counters.resident_kb() - before
      assert.is_true(grown < 30000, grown .. " kB")
    end)
  end)
end)

describe("a reader that does not read", function()
  after_each(process.stop_all)

  it("stops the sender, and 100 MB pass through little memory", function()
    with_server(function(server, stream)
      local size = 100 * 1000 * 1000
      all_of(stream("/big?n=10000000"), "chunks")
      collectgarbage()
      local before = counters.resident_kb()
      local opened = stream("/big?n=" .. size)
      aw.sleep(300)
      local sent = server:seen().counts.sent
      aw.sleep(200)
      assert.equal(sent, server:seen().counts.sent)
      assert.is_true(sent < 20000000, sent)
      local len, most = 0, 0
      for bytes in opened:chunks() do
        len = len + #bytes
        if len % 50 == 0 or len > size - 100000 then
          most = math.max(most, counters.resident_kb())
        end
      end
      assert.equal(size, len)
      most = math.max(most, counters.resident_kb()) - before
      print(("# 100 MB: %d kB more, %.1f MB sent ahead"):format(most, sent / 1e6))
      assert.is_true(most < 16000, most .. " kB")
    end)
  end)
end)

describe("two hundred streams", function()
  after_each(process.stop_all)

  -- How late a timer was, and how much of that we have computed ourselves; the
  -- rest is the machine's.
  local function run_all(stream)
    local events, latest, ours, done = 0, 0, 0, false
    local ticker = aw.spawn(function()
      while not done do
        local began, spent = core.monotonic_us(), os.clock()
        aw.sleep(10)
        local late = core.monotonic_us() - began - 10000
        latest = math.max(latest, late)
        ours = math.max(ours, math.min(late, (os.clock() - spent) * 1e6))
      end
    end)
    local tasks = {}
    for index = 1, 200 do
      tasks[index] = aw.spawn(function()
        local opened = stream("/ticks?n=20&ms=20")
        for _ in opened:events() do
          events = events + 1
        end
        assert.equal("closed", select(2, opened:reason()))
      end)
    end
    assert(aw.task.all(tasks))
    done = true
    ticker:join()
    assert.equal(4000, events)
    return latest, ours
  end

  it("run at once, and a timer is not late", function()
    local best = math.huge
    for _ = 1, 6 do -- a busy machine makes all dear now and then
      with_server(function(server, stream)
        local latest, ours = run_all(stream)
        assert.equal(200, server:seen().counts.connections)
        print(("# 200 streams: a timer was %.1f ms late at most, with %.1f ms of"
          .. " processor time of ours"):format(latest / 1000, ours / 1000))
        best = math.min(best, ours)
      end)
      if best < 20000 then
        break
      end
    end
    assert.is_true(best < 20000, best .. " us")
  end)
end)
