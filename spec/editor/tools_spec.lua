-- Questions to the user and the editor's tools; runs inside of Neovim.
local aw = require("agentwire")
local nvim = require("agentwire.nvim")
local task = require("agentwire.task")

local vim = rawget(_G, "vim")
local api = vim.api

local PATIENCE_MS = 5000

local function run(fn)
  aw.run(function()
    local done, why = task.timeout(PATIENCE_MS, function()
      fn()
      return true
    end)
    assert(done, why)
  end)
end

describe("nvim.confirm", function()
  local select, asked

  before_each(function()
    select, asked = vim.ui.select, {}
  end)

  after_each(function()
    vim.ui.select = select
  end)

  --- The editor's user, who gives these answers.
  local function user(...)
    local answers = { ... }
    vim.ui.select = function(choices, options, done)
      asked[#asked + 1] = { options.prompt, table.concat(choices, "/") }
      local answer = table.remove(answers, 1)
      vim.defer_fn(function()
        done(answer)
      end, 5)
    end
  end

  it("is true for a yes alone", function()
    run(function()
      user("Yes", "No", nil)
      assert.is_true(nvim.confirm("a?"))
      assert.is_false(nvim.confirm("b?"))
      assert.is_false(nvim.confirm("c?"))
      assert.same({ "a?", "Yes/No" }, asked[1])
    end)
  end)

  it("shows what it is about when it is asked to", function()
    run(function()
      local windows = #api.nvim_list_wins()
      local shown
      user("Show it first", "Yes")
      local inner = vim.ui.select
      vim.ui.select = function(...)
        if #api.nvim_list_wins() > windows then
          shown = table.concat(api.nvim_buf_get_lines(
            vim.fn.winbufnr(vim.fn.winnr("$")), 0, -1, false), "|")
        end
        inner(...)
      end
      assert.is_true(nvim.confirm("a?", "-old\n+new"))
      assert.equal("-old|+new", shown)
      assert.equal(windows, #api.nvim_list_wins())
      assert.equal("Yes/No/Show it first", asked[1][2])
    end)
  end)

  it("asks one thing at a time, and other tasks go on", function()
    run(function()
      local open, most, ticks = 0, 0, 0
      vim.ui.select = function(_, _, done)
        open = open + 1
        most = math.max(most, open)
        vim.defer_fn(function()
          open = open - 1
          done("Yes")
        end, 10)
      end
      local ticker = task.spawn(function()
        while true do
          task.sleep(1)
          ticks = ticks + 1
        end
      end)
      local tasks = {}
      for i = 1, 3 do
        tasks[i] = task.spawn(nvim.confirm, "x?")
      end
      assert(task.all(tasks))
      ticker:cancel()
      assert.equal(1, most)
      assert.is_true(ticks > 5)
    end)
  end)

  it("lets the next one ask when a question is cancelled or raises", function()
    run(function()
      vim.ui.select = function() end
      local first = task.spawn(nvim.confirm, "never answered?")
      task.sleep(5)
      local second = task.spawn(nvim.confirm, "x?")
      task.sleep(5)
      user("Yes")
      first:cancel()
      assert.is_true(second:join())
      vim.ui.select = function()
        error("no such window")
      end
      assert.is_false(nvim.confirm("x?"))
      user("Yes")
      assert.is_true(nvim.confirm("x?"))
    end)
  end)
end)

describe("nvim.tools", function()
  local buffer, tools, questions, answer

  before_each(function()
    buffer = api.nvim_create_buf(true, false)
    api.nvim_buf_set_name(buffer, "some/file.lua")
    api.nvim_buf_set_lines(buffer, 0, -1, false, { "local a = 1", "local b = 2", "return a" })
    questions, answer = {}, true
    tools = aw.tool.registry { strict = true }
    for _, tool in ipairs(nvim.tools {
      max_bytes = 100,
      confirm = function(question, details)
        questions[#questions + 1] = { question, details }
        if type(answer) == "function" then
          return answer()
        end
        return answer
      end,
    }) do
      tools:add(tool)
    end
  end)

  after_each(function()
    pcall(api.nvim_buf_delete, buffer, { force = true })
  end)

  --- One call's text, and whether it is an error.
  local function call(name, args)
    local text, is_error
    run(function()
      local result, why, code = tools:execute { name = name, args = args }
      if not result then
        text, is_error = why, code
        return
      end
      text, is_error = result.parts[1] and result.parts[1].text, result.is_error
    end)
    return text, is_error
  end

  local function lines()
    return api.nvim_buf_get_lines(buffer, 0, -1, false)
  end

  it("have schemas that can be checked whole, and refuse what they do not name",
    function()
      assert.equal(4, #nvim.tools())
      assert.equal("invalid_arguments", select(2, call("read_buffer",
        { path = "some/file.lua", frist_line = 1 })))
      assert.equal("invalid_arguments", select(2, call("edit_buffer",
        { path = "some/file.lua", old_text = "", new_text = "x" })))
    end)

  it("list and read what is there, and nothing that is not listed", function()
    local hidden = api.nvim_create_buf(false, true)
    api.nvim_buf_set_name(hidden, "secret")
    local list = aw.json.decode((call("list_buffers", {})))
    local names = {}
    for _, each in ipairs(list) do
      names[each.path] = each.lines
    end
    assert.equal(3, names["some/file.lua"])
    assert.is_nil(names.secret)
    assert.equal("local a = 1\nlocal b = 2\nreturn a",
      (call("read_buffer", { path = "some/file.lua" })))
    assert.equal("local b = 2", (call("read_buffer",
      { path = "some/file.lua", first_line = 2, last_line = 2 })))
    local text, is_error = call("read_buffer", { path = "secret" })
    assert.is_true(is_error)
    assert.matches("no buffer secret", text)
    api.nvim_buf_delete(hidden, { force = true })
  end)

  it("read no more than the limit at once", function()
    api.nvim_buf_set_lines(buffer, 0, -1, false, { ("x"):rep(100) })
    assert.equal(100, #call("read_buffer", { path = "some/file.lua" }))
    for _, size in ipairs { 101, 1000 } do
      api.nvim_buf_set_lines(buffer, 0, -1, false, { ("x"):rep(size) })
      local text, is_error = call("read_buffer", { path = "some/file.lua" })
      assert.is_true(is_error)
      assert.matches("100 are the most", text)
    end
  end)

  it("tell diagnostics with their places", function()
    local namespace = api.nvim_create_namespace("a linter")
    vim.diagnostic.set(namespace, buffer, { {
      lnum = 1, col = 6, message = "b is not used", source = "a linter",
      severity = vim.diagnostic.severity.WARN,
    } })
    assert.same({ {
      path = "some/file.lua", line = 2, column = 7, severity = "WARN",
      source = "a linter", message = "b is not used",
    } }, aw.json.decode((call("diagnostics", { path = "some/file.lua" }))))
    assert.equal(1, #aw.json.decode((call("diagnostics", {}))))
    vim.diagnostic.reset(namespace, buffer)
    assert.equal("(none)", (call("diagnostics", {})))
  end)

  it("tell no more diagnostics than the limit", function()
    local namespace, list = api.nvim_create_namespace("a linter"), {}
    for i = 1, 2000 do
      list[i] = { lnum = 0, col = 0, message = "no " .. i }
    end
    vim.diagnostic.set(namespace, buffer, list)
    assert.equal(200, #aw.json.decode((call("diagnostics", {}))))
    vim.diagnostic.reset(namespace, buffer)
  end)

  it("change a buffer when the user agrees, in one step of undo", function()
    local text, is_error = call("edit_buffer", { path = "some/file.lua",
      old_text = "b = 2\nreturn a", new_text = "c = 3\n\nreturn c" })
    assert.is_false(is_error)
    assert.matches("changed line 2 of some/file.lua", text)
    assert.same({ "local a = 1", "local c = 3", "", "return c" }, lines())
    assert.same({ { "Let the agent change some/file.lua, line 2?",
      "-b = 2\n-return a\n+c = 3\n+\n+return c\n" } }, questions)
    call("edit_buffer", { path = "some/file.lua",
      old_text = "local a = 1\n", new_text = "" })
    assert.same({ "local c = 3", "", "return c" }, lines())
  end)

  it("change nothing when the user declines, or the text is not there once",
    function()
      answer = false
      local text, is_error = call("edit_buffer", { path = "some/file.lua",
        old_text = "local a", new_text = "x" })
      assert.is_true(is_error)
      assert.matches("declined", text)
      answer = true
      for old_text, why in pairs {
        ["local"] = "more than once", ["nothing"] = "does not occur",
        ["return a\n"] = "last line break",
      } do
        text, is_error = call("edit_buffer", { path = "some/file.lua",
          old_text = old_text, new_text = "x" })
        assert.is_true(is_error)
        assert.matches(why, text)
      end
      assert.equal(1, #questions)
      assert.equal("local a = 1", lines()[1])
    end)

  it("look again after the question: the user may have typed", function()
    answer = function()
      api.nvim_buf_set_lines(buffer, 0, 0, false, { "-- new" })
      return true
    end
    call("edit_buffer", { path = "some/file.lua",
      old_text = "a = 1", new_text = "a = 5" })
    assert.equal("local a = 5", lines()[2])
    answer = function()
      api.nvim_buf_set_lines(buffer, 0, -1, false, { "gone" })
      return true
    end
    local text, is_error = call("edit_buffer", { path = "some/file.lua",
      old_text = "a = 5", new_text = "a = 6" })
    assert.is_true(is_error)
    assert.matches("does not occur", text)
    assert.same({ "gone" }, lines())
    answer = function()
      api.nvim_buf_delete(buffer, { force = true })
      return true
    end
    text, is_error = call("edit_buffer", { path = "some/file.lua",
      old_text = "gone", new_text = "x" })
    assert.is_true(is_error)
    assert.matches("there is no buffer some/file.lua", text)
  end)
end)
