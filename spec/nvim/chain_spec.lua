-- A real Neovim, without a screen, as the client of the whole chain: model server,
-- agent server and tool server as processes.
local core = require("agentwire.core")
local nvim = require("spec.nvim.support")
local process = require("spec.support.process")

local CHAIN = "spec/chain/"

-- Times of shared machines mean little: they are printed, and fail far beyond.
local LATE_MS, FAR_TOO_LATE_MS = 20, 500
local EXIT_MS, FAR_TOO_LONG_MS = 200, 3000

local function now_ms()
  return core.monotonic_us() / 1000
end

local function tell(format, ...)
  io.stdout:write("# ", format:format(...), "\n")
end

describe("Neovim in the chain", function()
  local folder, editor, secret

  before_each(function()
    folder = process.folder()
    secret = ("%.0f"):format(core.monotonic_us())
    local file = assert(io.open(folder .. "/alpha.fact", "w"))
    file:write("alpha is " .. secret)
    file:close()
  end)

  after_each(function()
    process.stop_all()
    process.remove(folder)
  end)

  local function start_provider()
    return process.lua(CHAIN .. "provider.lua", folder .. "/model"):expect("port (%d+)")
  end

  local function start_agent(provider, port)
    local agent = process.lua(CHAIN .. "agent.lua", provider, "-", port or 0)
    return agent, agent:expect("port (%d+)")
  end

  --- An editor with the functions that the cases have in common.
  local function start_editor(port)
    editor = nvim.start(folder)
    editor:tell([[plugin = require("agentwire.nvim")
      task = aw.task
      function open(with)
        conn = assert(aw.connect("ws://127.0.0.1:%d"))
        return conn:agent():start(with or {})
      end
      function answer(handlers)
        handlers.on_done = function(result) say("done " .. result.text) end
        handlers.on_error = function(why, code) say(code .. ": " .. why) end
        return handlers
      end
      function lines()
        return table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), "|")
      end]], port)
    return editor
  end

  --- The whole chain, and an editor that has dialled the agent.
  local function start()
    local _, port = start_agent(start_provider())
    process.lua(CHAIN .. "executor.lua", folder, port):expect("registered")
    return start_editor(port), port
  end

  it("a session's answer, with a tool of the tool server, is in the buffer", function()
    start()
    editor:tell([[vim.api.nvim_buf_set_lines(0, 0, -1, false, { "before", "" })
      sink = plugin.sink()
      handle = sink:read(open, answer { prompt = "read alpha" })]])
    assert.equal("done It says: alpha is " .. secret, editor.process:line())
    assert.equal("before|Looking.It says: alpha is " .. secret .. " success",
      editor:ask([[say(lines(), handle:status())]]))
  end)

  it("a tool of the editor is called, and changes a buffer if the user agrees",
    function()
      start()
      for _, case in ipairs {
        { "Yes", "changed line 1", "new text" },
        { "No", "failed: the user declined", "old text" },
      } do
        editor:tell([[vim.cmd("enew!") vim.cmd("file %s.txt")
          vim.api.nvim_buf_set_lines(0, 0, -1, false, { "old text" })
          vim.ui.select = function(_, options, done)
            asked = options.prompt
            vim.defer_fn(function() done(%q) end, 5)
          end
          aw.each(function()
            local tools = aw.tool.registry()
            for _, each in ipairs(plugin.tools()) do tools:add(each) end
            return open { tools = tools }
          end, answer { prompt = "call edit_buffer " .. aw.json.encode {
            path = "%s.txt", old_text = "old", new_text = "new" } })]], case[1],
          case[1], case[1])
        assert.matches("done It says: " .. case[2], editor.process:line())
        assert.equal(case[3] .. " Let the agent change " .. case[1]
          .. ".txt, line 1?", editor:ask([[say(lines(), asked)]]))
      end
    end)

  it("a cancelled answer stops the model, and the session answers again", function()
    start()
    editor:tell([[handle = aw.each(function()
        session = open()
        return session
      end, answer { prompt = "talk 2000", on_event = function(event)
        if event.type == "message_update" and not seen then
          seen = true
          say("seen")
        end
      end })]])
    assert.equal("seen", editor.process:line())
    assert.equal("true cancelled", editor:ask(
      [[say(tostring(handle:cancel("by the spec")), handle:status())]]))
    assert.equal("cancelled: cancelled: by the spec", editor.process:line())
    editor:tell([[aw.each(session, answer { prompt = "read alpha" })]])
    assert.matches("done It says: alpha", editor.process:line())
    local log = assert(io.open(folder .. "/model"))
    assert.equal("cancelled", log:read("*l"))
    log:close()
  end)

  it("a link that is cut is resumed, and no word is lost", function()
    start()
    editor:tell([[count = 0
      sink = plugin.sink()
      sink:read(open, answer { prompt = "talk 200", on_event = function(event)
        count = count + 1
        if count % 60 == 0 then conn:cut("a test") end
      end })]])
    local words = {}
    for i = 1, 200 do
      words[i] = "w" .. i
    end
    local text = table.concat(words, " ")
    assert.equal("done " .. text, editor.process:line())
    assert.equal(text, editor:ask([[say(lines())]]))
  end)

  it("a server that is restarted says lost, and serves what is asked next", function()
    local provider = start_provider()
    local agent, port = start_agent(provider)
    start_editor(port)
    editor:tell([[aw.each(open, answer { prompt = "talk 2000", on_event = function()
        if not seen then seen = true say("seen") end
      end })]])
    assert.equal("seen", editor.process:line())
    agent:stop()
    start_agent(provider, port)
    assert.matches("^lost: ", editor.process:line())
    editor:tell([[aw.each(function() return conn:agent():start {} end,
      answer { prompt = "talk 3" })]])
    assert.equal("done w1 w2 w3", editor.process:line())
  end)

  it("leaves at once and well with streams open", function()
    for _, how in ipairs { "outside", "inside of a task" } do
      start()
      editor:tell([[for i = 1, 10 do
          aw.each(open, { prompt = "talk 2000", on_error = function() end,
            on_event = function() seen = (seen or 0) + 1 end })
        end
        timer = vim.loop.new_timer()
        timer:start(5, 5, function()
          if (seen or 0) > 100 then timer:stop() say("seen") end
        end)]])
      assert.equal("seen", editor.process:line())
      local began = now_ms()
      editor:tell(how == "outside" and [[vim.cmd("qall!")]]
        or [[aw.spawn(function() vim.cmd("qall!") end)]])
      assert.equal(0, editor.process:wait())
      local ms = now_ms() - began
      tell("left from %s after %.0f ms (%d ms are expected)", how, ms, EXIT_MS)
      assert.is_true(ms < FAR_TOO_LONG_MS, ms .. " ms")
    end
  end)

  it("run raises where it would stop the editor, and says what to do", function()
    editor = nvim.start(folder)
    assert.matches("aw.spawn", editor:ask([[
      vim.api.nvim_list_uis = function() return { {} } end
      say(select(2, pcall(aw.run, function() end)))]]))
    assert.equal("5", editor:ask([[
      vim.api.nvim_list_uis = function() return {} end
      say(aw.run(function() aw.sleep(1) return 5 end))]]))
  end)

  it("tasks may call the editor, from whatever callback they were spawned", function()
    editor = nvim.start(folder)
    assert.equal("false 1", editor:ask([[
      vim.loop.new_timer():start(1, 0, function()
        aw.spawn(function()
          aw.sleep(1)
          say(tostring(vim.in_fast_event()), #vim.api.nvim_list_bufs())
        end)
      end)]]))
  end)

  it("goes on after a turn that raised", function()
    editor = nvim.start(folder)
    assert.equal("raised on", editor:ask([[
      h = require("agentwire.host").current()
      h.on_error = function() raised = "raised" end
      local step = h._loop
      h._loop = setmetatable({ step = function() h._loop = step error("broken") end },
        { __index = function(_, name) return function(_, ...)
          return step[name](step, ...) end end })
      aw.spawn(function() aw.sleep(20) say(raised, "on") end)]]))
  end)

  it("shows 50 000 events while its own timer stays on time", function()
    local port = process.lua("spec/nvim/flood.lua"):expect("port (%d+)")
    editor = nvim.start(folder)
    editor:tell([[sink = require("agentwire.nvim").sink()
      local uv = vim.uv or vim.loop
      local last, worst, late, ticks, writes = uv.hrtime(), 0, 0, 0, 0
      vim.api.nvim_buf_attach(0, false, { on_lines = function() writes = writes + 1 end })
      local timer = uv.new_timer()
      local began = uv.hrtime()
      events = 0
      timer:start(1, 1, function()
        local now = uv.hrtime()
        local gap = (now - last) / 1e6 - 1
        last, ticks = now, ticks + 1
        worst = math.max(worst, gap)
        if gap > %d then late = late + 1 end
      end)
      sink:read(function()
        local conn = assert(aw.connect("ws://127.0.0.1:%d"))
        return conn:provider():start_stream { model = "flood/flood",
          messages = { { role = "user", content = "50000" } } }
      end, {
        coalesce = false,
        on_event = function() events = events + 1 end,
        on_error = function(why) say(why) end,
        on_done = function()
          timer:stop()
          local text = vim.api.nvim_buf_get_lines(0, 0, -1, false)[1]
          say(events, #text, ("%%.1f"):format(worst), late, ticks, writes,
            ("%%.0f"):format((uv.hrtime() - began) / 1e6))
        end,
      })]], LATE_MS, port)
    local events, bytes, worst, late, ticks, writes, ms = editor.process:expect(
      "^(%d+) (%d+) ([%d.]+) (%d+) (%d+) (%d+) (%d+)$")
    assert.equal("50004", events) -- the starts and ends, too
    assert.equal("288894", bytes)
    tell("50 000 events in %s ms: %s changes of the buffer, %s ticks of a 1 ms timer, "
      .. "%s later than %d ms, the worst by %s ms", ms, writes, ticks, late, LATE_MS,
      worst)
    assert.is_true(tonumber(worst) < FAR_TOO_LATE_MS)
  end)

  local function switches()
    local file = assert(io.open(("/proc/%d/status"):format(editor.process.pid)))
    local text = file:read("*a")
    file:close()
    return tonumber(text:match("\nvoluntary_ctxt_switches:%s*(%d+)"))
  end

  it("costs nothing while nothing happens", function()
    start()
    assert.equal("idle", editor:ask([[aw.spawn(function()
        session = open()
        session:prompt("talk 1")
        session:result()
        aw.sleep(100)
        say("idle")
        aw.sleep(math.huge)
      end)]]))
    process.shell("sleep 0.3")
    local before, cpu = switches(), editor.process:cpu_ms()
    process.shell("sleep 2")
    local woken, spent = switches() - before, editor.process:cpu_ms() - cpu
    tell("idle with an open session for 2 s: woken %d times, %d ms of processor time",
      woken, spent)
    assert.is_true(woken <= 5, woken .. " times")
  end)

  it("does not spin while something else stops the editor", function()
    local port = process.lua("spec/nvim/flood.lua"):expect("port (%d+)")
    editor = nvim.start(folder)
    editor:tell([[aw.spawn(function() while true do aw.sleep(10) end end)
      count = 0
      aw.each(function()
        local conn = assert(aw.connect("ws://127.0.0.1:%d"))
        return conn:provider():start_stream { model = "flood/flood",
          messages = { { role = "user", content = "1000000" } } }
      end, { on_event = function()
        count = count + 1
        if count == 1000 then say("flooded") end
      end })]], port)
    assert.equal("flooded", editor.process:line())
    editor:tell([[say("stops") vim.fn.system("sleep 1") say("goes on")]])
    assert.equal("stops", editor.process:line())
    local before = editor.process:cpu_ms()
    assert.equal("goes on", editor.process:line())
    local spent = editor.process:cpu_ms() - before
    tell("stopped for a second with a flood at the door: %d ms of processor time", spent)
    assert.is_true(spent < 60, spent .. " ms")
  end)

  it("keeps nothing of a thousand sessions", function()
    start()
    editor:tell([[function churn(count)
        aw.spawn(function()
          if not conn then open():stop() end
          for i = 1, count do
            local session = assert(conn:agent():start {})
            assert(session:stop())
          end
          for i = 1, 5 do aw.sleep(1) collectgarbage() end
          say(("%.0f"):format(collectgarbage("count")))
        end)
      end]])
    local function after(count)
      local kb = tonumber(editor:ask(("churn(%d)"):format(count)))
      return kb, editor.process:rss_kb()
    end
    after(500) -- what is kept to a limit is there by then
    local lua_kb, rss_kb = after(10)
    local lua_more, rss_more = after(1000)
    tell("1 000 sessions: Lua's memory from %d to %d KiB, the process's from %d to %d",
      lua_kb, lua_more, rss_kb, rss_more)
    assert.is_true(lua_more - lua_kb < 100, lua_more - lua_kb .. " KiB")
    assert.is_true(rss_more - rss_kb < 2048, rss_more - rss_kb .. " KiB")
  end)
end)
