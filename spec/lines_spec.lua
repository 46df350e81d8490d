-- Lines without envelopes: children, our own stdio, pairs. After each spec there
-- is no task, no descriptor and no child left.
local aw = require("agentwire")
local counters = require("spec.support.counters")
local link = require("spec.support.link")
local process = require("spec.support.process")

local function is_there(pid)
  local file = io.open(("/proc/%d/stat"):format(pid))
  if file then
    file:close()
  end
  return file ~= nil
end

-- Runs `body(spawn)`; what it spawns has to be reaped.
local function tidy(body)
  link.run(function()
    -- What a process keeps for good once it has had a child, it has by then.
    local first = assert(aw.lines.spawn { argv = { "true" } })
    assert(first:wait_closed(5000))
    local before, pids = counters.take({}), {}
    body(function(argv, options)
      options = options or {}
      options.argv = type(argv) == "string" and { "sh", "-c", argv } or argv
      local lines = assert(aw.lines.spawn(options))
      table.insert(pids, lines:pid())
      return lines
    end)
    assert.equal("", counters.settled(before, {}))
    for _, pid in ipairs(pids) do
      assert.is_false(is_there(pid))
    end
  end)
end

-- What the library says meanwhile, by event.
local function logged(body)
  local entries = {}
  aw.log.set(function(entry)
    entries[entry.event] = entry
  end)
  local ok, problem = pcall(body)
  aw.log.set(nil)
  assert(ok, problem)
  return entries
end

local function close(lines)
  lines:close()
  assert(lines:wait_closed(20000))
end

describe("a child that speaks in lines", function()
  it("is answered line by line", function()
    tidy(function(spawn)
      local lines = spawn { "cat" }
      assert.equal("lines of child cat", tostring(lines))
      for index = 1, 100 do
        assert(lines:send("line " .. index))
        assert.equal("line " .. index, lines:receive(5000))
      end
      assert.equal(100, lines:stats().lines_in)
      assert.equal(100, lines:stats().lines_out)
      close(lines)
      assert.same({ "closed", "closed" }, { lines:reason() })
      assert.same({ nil, "closed", "closed" }, { lines:receive() })
      assert.same({ nil, "closed", "closed" }, { lines:send("x") })
    end)
  end)

  it("says how it ended, after all its lines", function()
    for script, expected in pairs {
      ["echo one; echo two"] = { "exited with status 0", "exited", 0 },
      ["echo one; echo two; exit 3"] = { "exited with status 3", "exited", 3 },
      ["echo one; echo two; kill -9 $$"] = { "killed by signal 9", "killed", 9 },
      ["echo one; echo two; exec >&-; exec sleep 1000"] = {
        "had to be terminated", "terminated" },
    } do
      tidy(function(spawn)
        local lines, seen = spawn(script, { kill_after_ms = 50 }), {}
        for line in lines:each() do
          table.insert(seen, line)
        end
        assert.same({ "one", "two" }, seen)
        assert.same(expected, { lines:reason() })
        assert.same({ nil, expected[1], "closed" }, { lines:receive() })
        assert(lines:wait_closed(5000))
        assert.equal("ended", lines:state())
      end)
    end
  end)

  it("is a filter once nothing more is sent", function()
    tidy(function(spawn)
      local lines = spawn { "sort" }
      for _, word in ipairs { "pear", "apple", "quince" } do
        assert(lines:send(word))
      end
      lines:finish()
      assert.equal("finishing", lines:state())
      assert.same({ nil, "nothing more can be sent", "closed" },
        { lines:send("fig") })
      local seen = {}
      for line in lines:each() do
        table.insert(seen, line)
      end
      assert.same({ "apple", "pear", "quince" }, seen)
      assert.same({ "exited with status 0", "exited", 0 }, { lines:reason() })
    end)
  end)

  it("has its own folder and environment", function()
    tidy(function(spawn)
      local lines = spawn("pwd; echo $HELLO; echo $HOME.", {
        cwd = "/", env = { HELLO = "world", PATH = true },
      })
      assert.equal("/", lines:receive(5000))
      assert.equal("world", lines:receive(5000))
      assert.equal(".", lines:receive(5000))
      close(lines)
    end)
  end)

  it("cannot be started if there is no such command", function()
    tidy(function()
      local lines, message, code = aw.lines.spawn { argv = { "/nowhere/x" } }
      assert.is_nil(lines)
      assert.equal("/nowhere/x: no such file or directory", message)
      assert.equal("io_error", code)
    end)
  end)

  it("that ignores the end of its stdin is terminated", function()
    tidy(function(spawn)
      for _, script in ipairs { "exec sleep 1000",
        "trap '' TERM; echo on; exec sleep 1000" } do
        local lines = spawn(script, { kill_after_ms = 30 })
        if script:find("echo") then
          assert.equal("on", lines:receive(5000))
        end
        close(lines)
        assert.same({ "closed", "closed" }, { lines:reason() })
      end
    end)
  end)

  it("can be sent signals", function()
    tidy(function(spawn)
      local lines = spawn("trap 'echo caught' USR1; echo ready; "
        .. "while :; do sleep 0.01; done")
      assert.equal("ready", lines:receive(5000))
      assert(lines:kill("USR1"))
      assert.equal("caught", lines:receive(5000))
      assert(lines:kill())
      assert(lines:wait_closed(5000))
      assert.same({ "killed by signal 9", "killed", 9 }, { lines:reason() })
      assert.same({ nil, "the child has ended", "closed" }, { lines:kill() })
    end)
  end)

  it("takes what it has started with it, as a group", function()
    tidy(function(spawn)
      local lines = spawn("sleep 1000 & echo $!; wait", { own_group = true })
      local grandchild = tonumber(lines:receive(5000))
      assert(lines:kill("TERM"))
      assert(lines:wait_closed(5000))
      link.eventually(function()
        local stat = is_there(grandchild)
          and process.shell("cut -d' ' -f3 /proc/" .. grandchild .. "/stat")
        return not stat or stat == "Z" -- whoever inherits it reaps it
      end)
    end)
  end)

  it("that floods waits for whoever reads, and nothing is lost", function()
    tidy(function(spawn)
      local lines, count = spawn({ "seq", "1", "100000" },
        { inbox_lines_max = 10 }), 0
      link.eventually(function() -- it goes on as far as it can
        return lines:stats().inbox_lines == 10
      end)
      for line in lines:each() do
        count = count + 1
        assert(line == tostring(count))
      end
      assert.equal(100000, count)
      assert.equal(0, lines:stats().inbox_lines)
      assert.equal(0, lines:stats().inbox_bytes)
    end)
  end)

  it("that never reads stops its sender, in bounded memory", function()
    tidy(function(spawn)
      local lines = spawn({ "sleep", "1000" },
        { outbox_bytes_max = 10000, kill_after_ms = 20 })
      local text, ok, _, code = ("x"):rep(1000), true, nil, nil
      while ok do
        ok, _, code = lines:send(text, 20)
      end
      assert.equal("timeout", code)
      assert.is_true(lines:stats().outbox_bytes <= 11000)
      local waiting = aw.spawn(lines.send, lines, text)
      aw.task.yield()
      local entries = logged(function()
        lines:kill()
        assert.equal("closed", select(3, waiting:join()))
        assert(lines:wait_closed(5000))
      end)
      assert.equal(0, lines:stats().outbox_bytes)
      local entry = entries.output_dropped
      assert.equal("warn", entry.level)
      assert.equal("child sleep", entry.peer)
      assert.equal(lines:stats().unsent_bytes, entry.bytes)
      assert.truthy(entry.message:find("killed by signal 9", 1, true))
    end)
  end)

  it("that sends too long a line has ended everything", function()
    tidy(function(spawn)
      local lines = spawn("echo first; printf '%01000d\\n' 1; exec cat",
        { line_bytes_max = 100, kill_after_ms = 20 })
      assert.equal("first", lines:receive(5000))
      assert.same({ nil, "a line of 1000 bytes came, and 100 is the limit",
        "limit" }, { lines:receive(5000) })
      assert.equal("too_long", select(2, lines:reason()))
      assert(lines:wait_closed(5000))
    end)
  end)

  it("may send too long lines if they are skipped, which is told", function()
    tidy(function(spawn)
      local entries = logged(function()
        local lines = spawn("printf '%0100d\\n' 1; echo one; "
          .. "printf '%01000d\\n' 1; echo two",
          { line_bytes_max = 50, long_lines = "skip" })
        assert.equal("one", lines:receive(5000))
        assert.equal("two", lines:receive(5000))
        assert(lines:wait_closed(5000))
        assert.equal(2, lines:stats().skipped)
        assert.equal(1100, lines:stats().skipped_bytes)
      end)
      assert.equal("warn", entries.line_skipped.level)
      assert.equal("child sh", entries.line_skipped.peer)
    end)
  end)

  it("is closed when nobody holds its lines any more", function()
    tidy(function(spawn)
      assert(spawn { "cat" }:send("x"))
    end)
  end)
end)

describe("lines", function()
  it("hold no line feed, no zero byte and no more than they may", function()
    tidy(function()
      local near, far = aw.lines.pair { line_bytes_max = 10 }
      assert.same({ nil, "a line cannot hold a line feed, as at byte 3",
        "invalid_argument" }, { near:send("ab\nc") })
      assert.same({ nil, "a line cannot hold a zero byte, as at byte 1",
        "invalid_argument" }, { near:send("\0\n") })
      assert.same({ nil, "the line has 11 bytes, and line_bytes_max is 10",
        "limit" }, { near:send(("x"):rep(11)) })
      assert(near:send(("x"):rep(10)))
      assert(near:send("next"))
      assert.equal(10, #far:receive(1000))
      assert.equal("next", far:receive(1000))
      near:close()
      far:close()
    end)
  end)

  it("go both ways between two ends of this process", function()
    tidy(function()
      local near, far = aw.lines.pair()
      local server = aw.spawn(function()
        for line in far:each() do
          assert(far:send(line:upper()))
        end
        far:finish()
      end)
      assert(near:send("a"))
      assert.equal("A", near:receive(1000))
      near:finish() -- what is still to be answered is
      server:join()
      assert.same({ nil, "the other end closed", "closed" },
        { near:receive(1000) })
      assert(near:wait_closed(1000))
      assert(far:wait_closed(1000))
      assert.same({ "the other end closed", "eof" }, { far:reason() })
    end)
  end)

  it("wait for whoever waits, and a timeout loses none", function()
    tidy(function()
      local near, far = aw.lines.pair()
      assert.equal("timeout", select(3, far:receive(0)))
      assert.equal("timeout", select(3, far:receive(5)))
      local first, second = aw.spawn(far.receive, far),
        aw.spawn(far.receive, far)
      aw.task.yield()
      assert(near:send("one"))
      assert(near:send("two"))
      assert.equal("one", first:join())
      assert.equal("two", second:join())
      near:close()
      far:close()
    end)
  end)

  it("are not lost to a reader that is cancelled", function()
    tidy(function()
      local near, far = aw.lines.pair()
      for index = 1, 50 do
        local reader = aw.spawn(far.receive, far)
        aw.task.yield()
        assert(near:send(tostring(index)))
        for _ = 1, index % 5 do
          aw.task.yield()
        end
        reader:cancel()
        assert.equal(tostring(index), reader:join() or far:receive(1000))
      end
      near:close()
      far:close()
    end)
  end)

  it("are sent whole or not at all when the sender is cancelled", function()
    tidy(function()
      local near, far = aw.lines.pair { outbox_bytes_max = 1000,
        inbox_lines_max = 1 }
      local text, sent, refused = ("x"):rep(1000), 0, false
      while not refused do -- and not just until the system took some
        refused = not near:send(text, 0)
        if refused then
          link.settle()
          refused = not near:send(text, 0)
        end
        sent = sent + (refused and 0 or 1)
      end
      local sender = aw.spawn(near.send, near, text)
      aw.task.yield()
      sender:cancel()
      assert.equal("cancelled", select(3, sender:join()))
      near:finish()
      local count = 0
      for line in far:each() do
        assert(line == text)
        count = count + 1
      end
      assert.equal(sent, count)
      far:close()
      assert(near:wait_closed(5000))
    end)
  end)

  it("end with a reason for everybody who waits", function()
    tidy(function()
      local near, far = aw.lines.pair()
      local reader = aw.spawn(near.receive, near)
      local waiting = aw.spawn(near.wait_closed, near)
      aw.task.yield()
      near:close()
      assert.same({ nil, "closed", "closed" }, { reader:join() })
      assert.equal("timeout", select(3, near:wait_closed(0)))
      far:close()
      assert.is_true(waiting:join(5000))
    end)
  end)

  for what, case in pairs {
    ["no command"] = { function()
      aw.lines.spawn {}
    end, "lines.spawn expects argv" },
    ["an empty command"] = { function()
      aw.lines.spawn { argv = {} }
    end, "lines.spawn expects argv" },
    ["an option that is none"] = { function()
      aw.lines.spawn { argv = { "cat" }, line_byte_max = 5 }
    end, "unknown option line_byte_max; did you mean line_bytes_max?" },
    ["a size that is none"] = { function()
      aw.lines.pair { inbox_bytes_max = 0 }
    end, "option inbox_bytes_max: expected an integer" },
    ["a policy that is none"] = { function()
      aw.lines.stdio { long_lines = "cut" }
    end, "option long_lines: expected one of end, skip" },
    ["a line that is no text"] = { function()
      aw.lines.pair():send(5)
    end, "send: text: expected a string, got the number 5" },
    ["a time that is none"] = { function()
      aw.lines.pair():receive("soon")
    end, "receive: timeout_ms: expected a duration" },
    ["a signal that is none"] = { function()
      aw.lines.pair():kill("STOP IT")
    end, "kill: signal: expected one of KILL" },
    ["a dot"] = { function()
      aw.lines.pair().receive()
    end, "lines.receive(…) was called with a dot" },
  } do
    it("are not to be had with " .. what, function()
      link.run(function()
        local ok, message = pcall(case[1])
        assert.is_false(ok)
        assert.truthy(message:find(case[2], 1, true), message)
        assert.truthy(message:find("lines_spec.lua", 1, true), message)
      end)
    end)
  end

  it("that are no child's cannot be sent a signal", function()
    link.run(function()
      local near = aw.lines.pair()
      assert.is_nil(near:pid())
      assert.same({ nil, "there is no child", "unsupported" },
        { near:kill("TERM") })
    end)
  end)
end)

describe("JSON-RPC over lines", function()
  local SERVER = { process.interpreter(), "spec/support/rpc_server.lua" }

  local function with_path(fn)
    return function()
      tidy(function(spawn)
        fn(spawn, {
          env = { LUA_PATH = package.path, LUA_CPATH = package.cpath,
            PATH = true },
        })
      end)
    end
  end

  local function request(id, params)
    return assert(aw.json.encode { jsonrpc = "2.0", id = id, method = "echo",
      params = params })
  end

  it("is asked and answers in any order", with_path(function(spawn, options)
    local lines = spawn(SERVER, options)
    local count, seen, order = 50, {}, {}
    for id = 1, count do
      assert(lines:send(request(id, {
        text = ("ü🦜"):rep(id), delay_ms = id % 5 * 10,
      })))
    end
    for _ = 1, count do
      local answer = assert(aw.json.decode(assert(lines:receive(10000))))
      assert.is_nil(seen[answer.id])
      seen[answer.id] = answer.result
      table.insert(order, answer.id)
    end
    for id = 1, count do
      assert.equal(("ü🦜"):rep(id), seen[id].text)
    end
    assert.is_false(order[1] == 1 and order[2] == 2 and order[3] == 3)
    close(lines)
  end))

  it("is answered in full after the last question", with_path(
    function(spawn, options)
      local lines = spawn(SERVER, options)
      for id = 1, 20 do
        assert(lines:send(request(id, { delay_ms = id })))
      end
      lines:finish()
      local count = 0
      for line in lines:each() do
        count = count + 1
        assert(aw.json.decode(line).result)
      end
      assert.equal(20, count)
      assert.same({ "exited with status 0", "exited", 0 }, { lines:reason() })
    end))

  it("carries long lines whole", with_path(function(spawn, options)
    local lines = spawn(SERVER, options)
    local text = ("0123456789"):rep(400000)
    assert(lines:send(request(1, { text = text })))
    local answer = assert(aw.json.decode(assert(lines:receive(20000))))
    assert.is_true(answer.result.text == text)
    close(lines)
  end))

  it("answers a shell's pipe that has closed already", function()
    local output = process.shell(("{ printf '%%s\\n' %s | LUA_PATH=%s "
      .. "LUA_CPATH=%s %s %s 2>/dev/null; }"):format(
        process.quote(request(7, { delay_ms = 30 })),
        process.quote(package.path), process.quote(package.cpath),
        SERVER[1], SERVER[2]))
    assert.same({ jsonrpc = "2.0", id = 7, result = { delay_ms = 30 } },
      aw.json.decode(output))
  end)
end)
