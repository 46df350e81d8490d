-- Text that streams into a buffer; runs inside of Neovim.
local aw = require("agentwire")
local nvim = require("agentwire.nvim")
local task = require("agentwire.task")

local vim = rawget(_G, "vim")
local api = vim.api

local PATIENCE_MS = 5000

describe("nvim.sink", function()
  local buffer

  before_each(function()
    buffer = api.nvim_create_buf(true, false)
    api.nvim_set_current_buf(buffer)
  end)

  after_each(function()
    pcall(api.nvim_buf_delete, buffer, { force = true })
  end)

  --- What comes next is another step of undo, as after a typed command.
  local function break_undo()
    vim.cmd("let &undolevels = &undolevels")
  end

  local function set(...)
    api.nvim_buf_set_lines(buffer, 0, -1, false, { ... })
    break_undo()
  end

  local function lines()
    return api.nvim_buf_get_lines(buffer, 0, -1, false)
  end

  local function run(fn)
    aw.run(function()
      local done, why = task.timeout(PATIENCE_MS, function()
        fn()
        return true
      end)
      assert(done, why)
    end)
  end

  local function undo()
    vim.cmd("silent undo")
  end

  --- A provider in this process; `emit_all(delta)` says what there is to say.
  local function stream_of(emit_all)
    local near, far = aw.pair()
    aw.provider.attach(far, {
      name = "words", api = "words",
      stream = function(_, _, emit)
        emit { type = "text_start", content_index = 0 }
        emit_all(function(text)
          emit { type = "text_delta", content_index = 0, delta = text }
        end)
        emit { type = "text_end", content_index = 0 }
      end,
    })
    return assert(near:provider():start_stream {
      model = "words/words", messages = { { role = "user", content = "x" } },
    }), near, far
  end

  local function read(sink, stream, handlers)
    handlers = handlers or {}
    local ended, outcome = task.waiter("the end"), nil
    handlers.on_done = function(message)
      outcome = message
      ended:wake()
    end
    handlers.on_error = function(message, code)
      outcome = { message = message, code = code }
      ended:wake()
    end
    local handle = sink:read(stream, handlers)
    return handle, function()
      ended:wait()
      return outcome
    end
  end

  it("puts a stream's text at the end of the buffer, lines and all", function()
    set("before", "")
    run(function()
      local stream, near, far = stream_of(function(say)
        for _, piece in ipairs { "one\ntw", "o\r", "\nthree", "\n" } do
          say(piece)
        end
      end)
      local sink = nvim.sink { buffer = buffer }
      local _, wait = read(sink, stream)
      assert.equal("one\ntwo\r\nthree\n", wait().content[1].text)
      assert.same({ "before", "one", "two", "three", "" }, lines())
      sink:close()
      near:close()
      far:close()
    end)
  end)

  it("changes the buffer once a screen update, however often text comes", function()
    run(function()
      local changes = 0
      api.nvim_buf_attach(buffer, false, { on_lines = function()
        changes = changes + 1
      end })
      local stream, near, far = stream_of(function(say)
        for i = 1, 2000 do
          say(i .. " ")
        end
      end)
      local sink = nvim.sink { buffer = buffer }
      local began = vim.loop.hrtime()
      local _, wait = read(sink, stream)
      wait()
      local pictures = (vim.loop.hrtime() - began) / 1e6 / 16
      assert.matches("^1 2 3 .* 1999 2000 $", lines()[1])
      assert.is_true(changes <= pictures + 3, changes .. " changes in "
        .. pictures .. " updates")
      sink:close()
      near:close()
      far:close()
    end)
  end)

  it("is one step of undo", function()
    set("before", "")
    run(function()
      local sink = nvim.sink { buffer = buffer, interval_ms = 0 }
      for i = 1, 5 do
        sink:write(i .. "\n")
        sink:flush()
        break_undo() -- as the editor does by itself
        task.sleep(2)
      end
      sink:close()
    end)
    assert.same({ "before", "1", "2", "3", "4", "5", "" }, lines())
    undo()
    assert.same({ "before", "" }, lines())
  end)

  it("does not join what the user does meanwhile", function()
    set("before", "")
    run(function()
      local sink = nvim.sink { buffer = buffer }
      sink:write("a")
      sink:flush()
      break_undo()
      api.nvim_buf_set_lines(buffer, 0, 1, false, { "the user's" })
      break_undo()
      sink:write("b")
      sink:close()
    end)
    assert.same({ "the user's", "ab" }, lines())
    undo()
    assert.same({ "the user's", "a" }, lines())
  end)

  it("stays at its place when lines are changed above and below it", function()
    set("above", "here: ", "below")
    run(function()
      local sink = nvim.sink { buffer = buffer, row = 1 }
      sink:write("one")
      sink:flush()
      assert.same({ 1, 9 }, { sink:position() })
      api.nvim_buf_set_lines(buffer, 0, 0, false, { "new", "lines" })
      assert.same({ 3, 9 }, { sink:position() })
      sink:write(" two\nthree")
      sink:close()
      assert.is_nil(sink:position())
    end)
    assert.same({ "new", "lines", "above", "here: one two", "three", "below" },
      lines())
  end)

  it("goes on at the place that is left when its rows are deleted", function()
    set("a", "b", "c")
    run(function()
      local sink = nvim.sink { buffer = buffer, row = 1 }
      sink:write("x")
      sink:flush()
      api.nvim_buf_set_lines(buffer, 0, -1, false, { "all new" })
      sink:write("y")
      sink:close()
    end)
    assert.equal(1, #lines())
    assert.matches("y", lines()[1])
  end)

  it("writes into a buffer that is not modifiable, and leaves it so", function()
    vim.bo[buffer].modifiable = false
    run(function()
      local sink = nvim.sink { buffer = buffer }
      sink:write("text")
      sink:close()
    end)
    assert.same({ "text" }, lines())
    assert.is_false(vim.bo[buffer].modifiable)
  end)

  it("takes along a cursor on its last row, and no other", function()
    set("one", "two")
    local window = api.nvim_get_current_win()
    run(function()
      local sink = nvim.sink { buffer = buffer }
      api.nvim_win_set_cursor(window, { 2, 0 })
      sink:write("\nthree\nfour")
      sink:flush()
      assert.equal(4, api.nvim_win_get_cursor(window)[1])
      api.nvim_win_set_cursor(window, { 1, 0 })
      sink:write("\nfive")
      sink:close()
      assert.equal(1, api.nvim_win_get_cursor(window)[1])
    end)
  end)

  for what, take_away in pairs {
    deleted = function()
      api.nvim_buf_delete(buffer, { force = true })
    end,
    unloaded = function()
      vim.cmd("bunload! " .. buffer)
    end,
    ["wiped out"] = function()
      vim.cmd("bwipeout! " .. buffer)
    end,
  } do
    it("ends a stream whose buffer is " .. what, function()
      run(function()
        local stopped
        local stream, near, far = stream_of(function(say)
          task.defer(function()
            stopped = true
          end)
          say("one ")
          task.sleep(math.huge)
        end)
        local sink = nvim.sink { buffer = buffer }
        local handle, wait = read(sink, stream)
        while handle:status() == "pending" do
          task.sleep(1)
        end
        take_away()
        local outcome = wait()
        assert.equal("buffer_gone", outcome.code)
        assert.equal("cancelled", handle:status())
        assert.same({ nil, "the buffer is gone", "buffer_gone" },
          { sink:write("more") })
        assert.is_false(sink:is_open())
        while not stopped do
          task.sleep(1)
        end
        near:close()
        far:close()
      end)
    end)
  end

  it("ends at its limit, and cancels what brings the text", function()
    run(function()
      for _, count in ipairs { 11, 100 } do
        set("")
        local stream, near, far = stream_of(function(say)
          for _ = 1, count do
            say("1234567890")
          end
          task.sleep(math.huge)
        end)
        local sink = nvim.sink { buffer = buffer, max_bytes = 100 }
        local _, wait = read(sink, stream)
        assert.equal("limit", wait().code)
        assert.equal(100, #lines()[1])
        near:close()
        far:close()
      end
      set("")
      local sink = nvim.sink { buffer = buffer, max_bytes = 4 }
      assert.is_true(sink:write("123"))
      assert.equal("limit", select(3, sink:write("ü"))) -- of two bytes
      assert.same({ "123" }, lines())
      assert.equal("limit", select(3, sink:write("")))
    end)
  end)

  it("ends when the buffer cannot be changed, and says why", function()
    run(function()
      local stream, near, far = stream_of(function(say)
        say("text")
        task.sleep(math.huge)
      end)
      local set_text = api.nvim_buf_set_text
      api.nvim_buf_set_text = function()
        error("not now")
      end
      local sink = nvim.sink { buffer = buffer }
      local _, wait = read(sink, stream)
      local outcome = wait()
      api.nvim_buf_set_text = set_text
      assert.equal("buffer_failed", outcome.code)
      assert.matches("cannot be changed: .*not now", outcome.message)
      near:close()
      far:close()
    end)
  end)

  it("writes much that comes at once before the next update", function()
    run(function()
      local sink = nvim.sink { buffer = buffer, interval_ms = math.huge }
      for _ = 1, 9 do
        sink:write(("x"):rep(8192))
      end
      assert.is_true(#lines()[1] >= 65536)
      sink:close()
      assert.equal(9 * 8192, #lines()[1])
    end)
  end)

  it("cancels, and shows what had come", function()
    run(function()
      local stream, near, far = stream_of(function(say)
        say("as far as this")
        task.sleep(math.huge)
      end)
      local sink = nvim.sink { buffer = buffer, interval_ms = math.huge }
      local handle, wait = read(sink, stream, { text = function(event)
        return event.delta
      end })
      while handle:status() == "pending" do
        task.sleep(1)
      end
      task.sleep(5)
      handle:cancel("enough")
      assert.equal("cancelled: enough", wait().message)
      assert.same({ "as far as this" }, lines())
      sink:close()
      near:close()
      far:close()
    end)
  end)

  it("checks its options", function()
    for _, case in ipairs {
      { { bufer = 1 }, "did you mean buffer" },
      { { buffer = 4711 }, "buffer: expected a buffer that is loaded" },
      { { row = -1 }, "row: expected an integer" },
    } do
      local ok, why = pcall(nvim.sink, case[1])
      assert.is_false(ok)
      assert.matches(case[2], why, 1, true)
    end
    local sink = nvim.sink()
    assert.matches("expected a string", select(2, pcall(sink.write, sink, 5)))
    local ok, why = pcall(sink.read, sink, print, { on_evnt = print })
    assert.is_false(ok)
    assert.matches("did you mean on_event", why)
    sink:close()
  end)
end)
