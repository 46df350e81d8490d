-- Standard input in tasks: lines, bytes, keys; nothing else stops meanwhile.
local process = require("spec.support.process")

local function start(text, before)
  local script = ("local aw = require('agentwire')\n" .. text)
  if not before then
    return process.start { process.interpreter(), "-e", script }
  end
  return process.start({ "sh", "-c", before:format(process.quote(
    process.interpreter() .. " -e " .. process.quote(script))) })
end

describe("standard input", function()
  after_each(process.stop_all)

  it("is left as it was by readers that are cancelled", function()
    local child = start([[
      aw.run(function()
        local counters = require("spec.support.counters")
        aw.stdin:line(1) -- what is made once
        local before = counters.take {}
        for _, how in ipairs { "line", "read", "key" } do
          local reader = aw.spawn(aw.stdin[how], aw.stdin)
          aw.task.yield()
          assert(not reader:is_done(), how)
          reader:cancel()
          assert(select(3, reader:join()) == "cancelled", how)
        end
        print("left: " .. counters.settled(before, {}, 1000))
        io.stdout:flush()
        print(aw.stdin:line())
      end)]])
    child:expect("^left: $")
    assert.equal("on", child:ask("on"))
    assert.equal(0, child:wait())
  end)

  it("gives lines while other tasks run", function()
    local child = start([[
      aw.run(function()
        local ticks = 0
        local ticker = aw.spawn(function()
          while true do
            aw.sleep(1)
            ticks = ticks + 1
            if ticks == 3 then
              print("ticks")
              io.stdout:flush()
            end
          end
        end)
        for line in aw.stdin:lines() do
          print("got " .. line)
          io.stdout:flush()
          ticks = 0
          if line == "end" then break end
        end
        ticker:cancel()
      end)]])
    for _, word in ipairs { "one", "", "end" } do
      child:expect("^ticks$") -- while it waits for the line
      assert.equal("got " .. word, child:ask(word))
    end
    assert.equal(0, child:wait())
  end)

  it("tells its end, after a last line without one", function()
    local child = process.start { "sh", "-c", "printf 'a\\r\\nlast' | "
      .. process.interpreter() .. " -e " .. process.quote([[
      local aw = require("agentwire")
      aw.run(function()
        print(aw.stdin:line())
        print(aw.stdin:line())
        print(aw.stdin:line())
        print(aw.stdin:line())
      end)]]) }
    assert.equal("a", child:line())
    assert.equal("last", child:line())
    assert.equal("nil\tthe end of the input\tclosed", child:line())
    assert.equal("nil\tthe end of the input\tclosed", child:line())
    assert.equal(0, child:wait())
  end)

  it("may be a file, or nothing", function()
    for source, wanted in pairs { ["/dev/null"] = "0", ["README.md"] = "%d+" } do
      local child = process.start { "sh", "-c", process.interpreter() .. " -e "
        .. process.quote([[
        local aw = require("agentwire")
        aw.run(function()
          local count = 0
          for _ in aw.stdin:lines() do count = count + 1 end
          print(count)
        end)]]) .. " < " .. source }
      child:expect("^" .. wanted .. "$")
      assert.equal(0, child:wait())
    end
  end)

  it("times out, and loses nothing by that", function()
    local child = start([[
      aw.run(function()
        print(select(3, aw.stdin:line(1)))
        io.stdout:flush()
        print(aw.stdin:line())
        print(aw.stdin:read(3))
        print(aw.stdin:line())
      end)]])
    assert.equal("timeout", child:line())
    child:say("whole")
    child:say("abcdef")
    assert.equal("whole", child:line())
    assert.equal("abc", child:line())
    assert.equal("def", child:line())
    assert.equal(0, child:wait())
  end)

  it("refuses a second reader, and a line without end", function()
    local child = start([[
      aw.run(function()
        local first = aw.spawn(aw.stdin.line, aw.stdin)
        aw.task.yield()
        print(pcall(aw.stdin.line, aw.stdin))
        io.stdout:flush()
        print(select(3, first:join()))
        io.stdout:flush()
        while aw.stdin:line() ~= "end" do end -- what was written is read
      end)]])
    assert.truthy(child:line():find("reads already", 1, true))
    child:say(("x"):rep(1200000))
    assert.equal("limit", child:line())
    child:say("end")
    assert.equal(0, child:wait())
  end)

  it("gives keys of a terminal, and the terminal back", function()
    local child = process.start { "python3", "spec/support/terminal.py",
      process.interpreter(), [[
      local aw = require("agentwire")
      aw.run(function()
        print("ready")
        for _ = 1, 7 do io.write(aw.stdin:key(), " ") end
        print("")
        print(aw.stdin:line())
        print(aw.stdin:key())
      end)]] }
    assert.equal("a enter up escape ctrl-d \u{E9} page_down",
      child:expect("^keys: (.*)$"))
    assert.equal("a line", child:expect("^line: (.*)$"))
    assert.equal("same", child:expect("^terminal: (.*)$"))
    assert.equal("130", child:expect("^interrupted: (%d+)$"))
    assert.equal("same", child:expect("^terminal: (.*)$"))
    assert.equal(0, child:wait())
  end)
end)
