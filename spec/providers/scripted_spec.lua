local support = require("spec.support.provider")
local json = require("agentwire.json")
local protocol = require("agentwire.provider.protocol")
local rules = require("agentwire.providers._scripted_rules")
local scripted = require("agentwire.providers.scripted")
local task = require("agentwire.task")

local PATH = {
  type = "object", properties = { path = { type = "string" } },
  required = json.array { "path" },
}

local SEARCH = {
  type = "object", required = json.array { "pattern" },
  properties = { pattern = { type = "string" }, path = { type = "string" } },
}

local FILES = {
  ["alpha.md"] = "# Alpha\n\nThe first letter.\n\n## Use\n\nshared line\n",
  ["beta.txt"] = "Beta comes second.\nshared line\n",
  LICENSE = "Free for all.\n",
}

local NAMES = { "LICENSE", "alpha.md", "beta.txt", "src/" }

local function count_lines(text)
  return select(2, text:gsub("\n", ""))
end

local HANDLERS = {
  list_files = function() return table.concat(NAMES, "\n") end,
  read_file = function(args) return FILES[args.path] end,
  file_info = function(args)
    local text = FILES[args.path]
    return text and ('{"lines":%d,"bytes":%d}'):format(
      count_lines(text), #text)
  end,
  search_text = function(args)
    local hits = {}
    for _, name in ipairs(NAMES) do
      local number = 0
      for line in (FILES[name] or ""):gmatch("([^\n]*)\n") do
        number = number + 1
        if line:find(args.pattern, 1, true) then
          hits[#hits + 1] = name .. ":" .. number .. ": " .. line
        end
      end
    end
    return table.concat(hits, "\n")
  end,
  listDirectory = function()
    return '{"entries":[{"name":"a.md","type":"file"},'
      .. '{"name":"docs","type":"directory"}]}'
  end,
  word_count = function(args)
    local _, words = FILES[args.file]:gsub("%S+", "")
    return words .. " words"
  end,
}

local SCHEMAS = {
  list_files = { type = "object", properties = { path = { type = "string" } } },
  read_file = PATH, file_info = PATH, search_text = SEARCH,
  delete_file = PATH, set_file_info = PATH, listDirectory = '{"type":"object","properties":{}}',
  word_count = {
    type = "object", properties = { file = { type = "string" } },
    required = json.array { "file" },
  },
}

local function tools(...)
  local list = {}
  for index, name in ipairs { ... } do
    list[index] = { name = name, parameters_schema_json = SCHEMAS[name] }
  end
  return list
end

local ALL = tools("list_files", "read_file", "search_text", "file_info")

local function run_call(call)
  local args = json.decode(call.arguments_json)
  local text = HANDLERS[call.name](args)
  return {
    role = "tool", tool_call_id = call.id, tool_name = call.name,
    is_error = text == nil,
    content = json.array { { type = "text", text = text or "no such file" } },
  }
end

--- Asks, runs the tools that are called, and returns the answer with the names
--- of the calls of each turn. `messages` goes on as the conversation.
local function ask(question, offered, messages)
  messages = messages or {}
  messages[#messages + 1] = { role = "user", content = question }
  local turns = {}
  for _ = 1, 6 do
    local plan = rules.decide {
      model = {}, context = { messages = messages, tools = offered or ALL },
    }
    if #plan.calls == 0 then
      messages[#messages + 1] = { role = "assistant",
        content = json.array { { type = "text", text = plan.text } } }
      return plan.text, table.concat(turns, " | "), messages
    end
    local content, names = {}, {}
    for index, call in ipairs(plan.calls) do
      call.type, call.id = "tool_call", "c" .. #messages .. "." .. index
      content[index], names[index] = call, call.name
    end
    turns[#turns + 1] = table.concat(names, " ")
    messages[#messages + 1] = {
      role = "assistant", content = json.array(content),
    }
    for _, call in ipairs(content) do
      messages[#messages + 1] = run_call(call)
    end
  end
  error("no answer after six turns: " .. table.concat(turns, " | "))
end

describe("scripted rules", function()
  local cases = {
    { "Which files are here and how many?", "list_files",
      "There are 3 files: LICENSE, alpha.md and beta.txt. Besides, 1 folder:"
      .. " src/." },
    { "How many lines has alpha.md?", "file_info", "alpha.md has 7 lines." },
    { "How big is beta.txt?", "file_info", "beta.txt has 31 bytes." },
    { "How many words are in beta.txt?", "file_info | read_file",
      "beta.txt has 5 words." },
    { "What is the first line of beta.txt?", "read_file",
      "The first line of beta.txt is: “Beta comes second.”." },
    { "Where is 'shared line' mentioned?", "search_text",
      "“shared line” is mentioned in 2 files (2 hits): alpha.md and beta.txt."
      .. "\n- alpha.md:7: shared line\n- beta.txt:2: shared line" },
    { "Where is Beta mentioned?", "search_text",
      "“Beta” is mentioned in 1 file (1 hit): beta.txt."
      .. "\n- beta.txt:1: Beta comes second." },
    { "Search for zebra.", "search_text", "I found no mention of “zebra”." },
    { "What is the longest file?",
      "list_files | file_info file_info file_info",
      "The largest of 3 files is alpha.md with 7 lines. Next comes beta.txt"
      .. " with 2 lines." },
    { "Which is the smallest file?",
      "list_files | file_info file_info file_info",
      "The smallest of 3 files is LICENSE with 14 bytes. Next comes beta.txt"
      .. " with 31 bytes." },
    { "What does the license say?", "list_files | read_file",
      "LICENSE has 1 line and 3 words. It begins with “Free for all.”." },
    { "Read gone.txt", "read_file",
      "I could not look into gone.txt: no such file." },
  }

  it("answer questions about files by what the tools say", function()
    for _, case in ipairs(cases) do
      local answer, turns = ask(case[1])
      assert.equal(case[3], answer)
      assert.equal(case[2], turns)
    end
  end)

  it("read both files that a question names in one turn", function()
    local answer, turns = ask("Compare alpha.md and beta.txt")
    assert.equal("read_file read_file", turns)
    for _, fact in ipairs { "alpha.md has 7 lines", "beta.txt has 2 lines",
      "alpha.md is longer by 5 lines", "1 line in common" } do
      assert.truthy(answer:find(fact, 1, true), answer)
    end
  end)

  it("tell what is in a file", function()
    local answer = ask("What is in alpha.md?")
    for _, fact in ipairs { "7 lines", "“Alpha”", "“The first letter.”",
      "Alpha and Use" } do
      assert.truthy(answer:find(fact, 1, true), answer)
    end
  end)

  it("understand a question that refers to the one before", function()
    local _, _, messages = ask("What is in beta.txt?")
    assert.equal("beta.txt has 2 lines.",
      (ask("And how many lines has it?", nil, messages)))
  end)

  it("know tools by their names and schemas, whatever they are", function()
    assert.equal("There is 1 file: a.md. Besides, 1 folder: docs.",
      (ask("List the files", tools("listDirectory"))))
    assert.equal("beta.txt has 5 words.",
      (ask("How many words has beta.txt?", tools("word_count"))))
  end)

  it("search by reading where there is no search tool", function()
    local answer, turns = ask("Where is shared mentioned?",
      tools("list_files", "read_file"))
    assert.equal("list_files | read_file read_file read_file", turns)
    assert.truthy(answer:find("2 files (2 hits)", 1, true))
  end)

  it("never call a tool that changes something", function()
    for _, question in ipairs { "Delete alpha.md", "What is in alpha.md?",
      "How many lines has alpha.md?" } do
      local _, turns = ask(question, tools("delete_file", "set_file_info"))
      assert.equal("", turns)
    end
  end)

  it("say what they are where they know no answer", function()
    local answer, turns = ask("Is Lua 5.4 good, e.g. for me?")
    assert.equal("", turns)
    assert.truthy(answer:find("scripted model", 1, true))
    assert.truthy(answer:find("search for a word", 1, true))
    answer = ask("Which files are here?", {})
    assert.truthy(answer:find("No tool", 1, true))
  end)

  it("call nothing where tools are not to be chosen", function()
    local plan = rules.decide {
      model = {}, options = { tool_choice = { type = "none" } },
      context = { tools = ALL, messages = {
        { role = "user", content = "What is in alpha.md?" },
      } },
    }
    assert.equal(0, #plan.calls)
  end)

  it("survive an empty conversation and strange tools", function()
    assert.is_string(rules.decide {
      model = {}, context = { messages = {} },
    }.text)
    assert.is_string((ask("List the files", {
      { name = "list_files", parameters_schema_json = "not json" },
      { name = "", parameters_schema_json = {} },
      { name = "read", parameters_schema_json = { properties = 7 } },
    })))
  end)
end)

describe("scripted provider", function()
  local function stream_of(options, request, fn)
    support.with(scripted.new(options), function(client)
      request.model = "scripted/scripted"
      local stream = assert(client:start_stream(request))
      local events = {}
      for event in stream:events() do
        events[#events + 1] = event
      end
      fn(events, stream:result())
    end)
  end

  local QUESTION = {
    messages = { { role = "user", content = "Compare alpha.md and beta.txt" } },
    tools = ALL,
  }

  it("streams thinking, text by words and several calls", function()
    stream_of({}, QUESTION, function(events, message)
      local kinds, names = {}, {}
      for _, event in ipairs(events) do
        if kinds[#kinds] ~= event.type then
          kinds[#kinds + 1] = event.type
        end
        names[#names + 1] = event.type == "toolcall_end"
          and event.id .. event.arguments_json or nil
      end
      assert.equal("start thinking_start thinking_delta thinking_end text_start"
        .. " text_delta text_end toolcall_start toolcall_delta toolcall_end"
        .. " toolcall_start toolcall_delta toolcall_end done",
        table.concat(kinds, " "))
      assert.same({ 'call_1{"path":"alpha.md"}', 'call_2{"path":"beta.txt"}' },
        names)
      assert.equal("tool_use", message.stop_reason)
      assert.equal(4, message.usage.input)
      assert.is_true(message.usage.output > 0)
    end)
  end)

  it("is the same each time", function()
    local first
    for _ = 1, 2 do
      stream_of({}, QUESTION, function(_, message)
        first = first or message.content
        assert.same(first, message.content)
      end)
    end
  end)

  it("numbers calls on from those of the conversation", function()
    local messages = {
      { role = "user", content = "What is in alpha.md?" },
      { role = "assistant", content = {
        { type = "tool_call", id = "call_1", name = "read_file",
          arguments_json = '{"path":"alpha.md"}' },
      } },
      { role = "tool", tool_call_id = "call_1", tool_name = "read_file",
        content = "x" },
      { role = "user", content = "What is in beta.txt?" },
    }
    stream_of({}, { messages = messages, tools = ALL }, function(_, message)
      assert.equal("call_2", protocol.tool_calls(message)[1].id)
    end)
  end)

  it("stops at max_tokens and says length", function()
    stream_of({}, {
      messages = { { role = "user", content = "Hello" } },
      options = { max_tokens = 8, thinking_enabled = false },
    }, function(_, message)
      assert.equal("length", message.stop_reason)
      assert.equal(8, message.usage.output)
      assert.equal("text", message.content[1].type)
      assert.equal("I am agentwire's scripted model: rules, not a",
        message.content[1].text)
    end)
  end)

  it("plays a list of events exactly, for each request", function()
    local events = {
      { type = "text_start", content_index = 0 },
      { delay_ms = 3 },
      { type = "text_delta", content_index = 0, delta = "a" },
      { type = "text_end", content_index = 0 },
    }
    support.with(scripted.new { events = events }, function(client)
      for _ = 1, 2 do
        local message = assert(client:complete {
          model = "scripted", messages = {},
        })
        assert.equal("a", message.content[1].text)
      end
    end)
  end)

  it("plays one turn for each request and fails after the last", function()
    local provider = scripted.new { turns = {
      { { message = { content = { { type = "text", text = "one" } } } } },
      { { fail = "two", code = "overloaded" } },
    } }
    support.with(provider, function(client)
      local function complete()
        return client:complete {
          model = "scripted", messages = { { role = "user", content = "q" } },
        }
      end
      assert.equal("one", assert(complete()).content[1].text)
      assert.equal("overloaded", select(3, complete()))
      local _, text, code = complete()
      assert.truthy(text:find("turn 3", 1, true))
      assert.equal("provider_error", code)
      assert.equal(3, provider.requests)
      assert.equal("q", provider.last_request.context.messages[1].content)
    end)
  end)

  it("waits where the script says so", function()
    local go = task.waiter()
    support.with(scripted.new { events = { { wait = go } } },
      function(client)
        local stream = assert(client:start_stream {
          model = "scripted", messages = {},
        })
        assert.equal("timeout", select(3, stream:result(5)))
        go:wake()
        assert.truthy(stream:result(1000))
      end)
  end)

  it("uses rules of one's own", function()
    stream_of({ decide = function(request)
      return { text = "You said " .. protocol.text_of(
        request.context.messages[1]), calls = {} }
    end }, { messages = { { role = "user", content = "hey" } } },
      function(_, message)
        assert.equal("You said hey", message.content[1].text)
      end)
  end)
end)
