-- The pages are held to what the code does: their examples compile and run,
-- every public method is named on its page, every link leads somewhere.
--
-- A block that begins with ```lua run is a whole program; its comments of the
-- form --> TEXT are its output, line by line. Any other ```lua block has to
-- compile, unless it holds an ellipsis, which says that it is a sketch.
local compat = require("agentwire._compat")
local host = require("agentwire.host")
local standalone = require("agentwire.host.standalone")

local function read_file(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local function exists(path)
  local file = io.open(path, "rb")
  if file then
    file:close()
  end
  return file ~= nil
end

local function list_pages()
  local pages = {}
  local pipe = assert(io.popen("ls docs/*.md"))
  for path in pipe:lines() do
    pages[#pages + 1] = path
  end
  pipe:close()
  pages[#pages + 1] = "README.md"
  return pages
end

--- The fenced Lua blocks of a page: their text, line and whether they run.
local function blocks_of(path)
  local blocks, block, number = {}, nil, 0
  for line in (read_file(path) .. "\n"):gmatch("([^\n]*)\n") do
    number = number + 1
    local info = line:match("^```%s*(.*)$")
    if info and block then
      block.text = table.concat(block.lines, "\n") .. "\n"
      blocks[#blocks + 1] = block.is_lua and block or nil
      block = nil
    elseif info then
      block = {
        name = ("%s:%d"):format(path, number),
        is_lua = info:match("^lua%f[%W]") ~= nil,
        runs = info == "lua run",
        lines = {},
      }
    elseif block then
      block.lines[#block.lines + 1] = line
    end
  end
  assert(not block, path .. ": a block is not closed")
  return blocks
end

local function is_sketch(block)
  local code = block.text:gsub("%-%-[^\n]*", "")
  return code:find("…", 1, true) ~= nil or code:find("%f[.]%.%.%.%f[^.]") ~= nil
end

local function compile(block, environment)
  return assert(load(block.text, "@" .. block.name, "t", environment or _G))
end

--- What the program prints, as `print` writes it.
local function run_program(block)
  local lines = {}
  local environment = setmetatable({
    arg = { [0] = block.name },
    print = function(...)
      local words = {}
      for index = 1, select("#", ...) do
        words[index] = tostring((select(index, ...)))
      end
      lines[#lines + 1] = table.concat(words, "\t")
    end,
  }, { __index = _G })
  local program = compile(block, environment)
  local before = host.use(standalone.new())
  local own = host.current()
  local ok, problem = pcall(program)
  local left = own:live_tasks()
  own:close()
  host.use(before)
  assert(ok, problem)
  assert.equal(0, left, "tasks are left")
  return lines
end

local function expected_output(block)
  local lines = {}
  for line in block.text:gmatch("%-%->%s?([^\n]*)") do
    lines[#lines + 1] = line
  end
  return lines
end

-- Every file of the tree by its name, with and without what follows the dot, and
-- its whole path; and all C text.
local function list_tree()
  local known, text = {}, {}
  local pipe = assert(io.popen("find *.md csrc lua spec tests tools docs bench "
    .. "examples -type f"))
  for path in pipe:lines() do
    local name = path:match("[^/]+$")
    known[name], known[name:match("^[^.]*")] = true, true
    known[path], known[path:gsub("%.%w+$", "")] = true, true
    known[path:gsub("^lua/agentwire/", "")] = true
    if path:find("%.[ch]$") then
      text[#text + 1] = read_file(path)
    end
  end
  pipe:close()
  return known, table.concat(text)
end

-- Words that stand for a name, not for a file.
local STANDS_FOR = { aw_noun_verb = true }

--- Whether a word of code on a page is the name of something that is gone.
local function is_gone(word, known, text)
  if word:find("NAME") or STANDS_FOR[word] then
    return false
  elseif word:find("^aw_[%w_]+$") then
    return not known[word] and not text:find("%f[%w_]" .. word .. "%f[^%w_]")
  end
  local is_path = word:find("^[%l_]+/[%w_/.]+%.%l+$")
    or word:find("^csrc/.*/aw_[%w_]+$")
  return (is_path or word:find("^[%w_]+%.[ch]$") or word:find("^%w[%w_]+%.lua$"))
    and not known[word]
end

-- Times of one's own, which hold nobody off.
local OWN_TIMES = { min_ms = true, max_ms = true, after_ms = true,
  budget_ms = true, slow_turn_ms = true, word_delay_ms = true,
  duration_ms = true, estimated_duration_ms = true, keepalive_ms = true,
  cache_max_age_ms = true }

-- What is asked of a model, and holds nobody's growth.
local ASKED = { max_tokens = true, max_tokens_field = true }

--- Whether an option's name is that of a limit.
local function is_limit(name)
  return not (OWN_TIMES[name] or ASKED[name]) and (name:find("^max_") or name:find("_max$")
    or name:find("_ms$") or name:find("_bytes$") or name:find("_messages$")) ~= nil
end

--- Names of a class's public methods, as its file defines them.
local function public_methods(path, class)
  local names = {}
  for name in read_file(path):gmatch("\nfunction " .. class .. ":(%a[%w_]*)") do
    names[#names + 1] = name
  end
  return names
end

local function missing_methods(page, source, class)
  local text, missing = read_file(page), {}
  local methods = public_methods(source, class)
  assert(#methods > 0, source .. " defines no " .. class)
  for _, name in ipairs(methods) do
    if not text:find(":" .. name .. "(", 1, true) then
      missing[#missing + 1] = name
    end
  end
  return missing
end

--- Methods of a variable that a page speaks of and the class does not have.
local function unknown_methods(page, variable, source, class)
  local known, unknown = {}, {}
  for _, name in ipairs(public_methods(source, class)) do
    known[name] = true
  end
  for name in read_file(page):gmatch("%f[%w_]" .. variable .. ":(%a[%w_]*)%(") do
    if not known[name] then
      unknown[#unknown + 1] = name
    end
  end
  return unknown
end

describe("the documentation", function()
  local pages = list_pages()

  for _, page in ipairs(pages) do
    for _, block in ipairs(blocks_of(page)) do
      if block.runs then
        it("runs as it says: " .. block.name, function()
          assert.same(expected_output(block), run_program(block))
        end)
      elseif not is_sketch(block) then
        it("compiles: " .. block.name, function()
          compile(block)
        end)
      end
    end
  end

  it("has programs that run", function()
    local count = 0
    for _, page in ipairs(pages) do
      for _, block in ipairs(blocks_of(page)) do
        count = count + (block.runs and 1 or 0)
      end
    end
    assert.is_true(count >= 7, "programs: " .. count)
  end)

  local classes = {
    { "docs/connection.md", "conn", "lua/agentwire/connection.lua", "Connection" },
    { "docs/connection.md", "channel", "lua/agentwire/channel.lua", "Channel" },
    { "docs/lines.md", "lines", "lua/agentwire/lines.lua", "Lines" },
    { "docs/http.md", "stream", "lua/agentwire/_http_stream.lua", "Stream" },
    { "docs/server.md", "server", "lua/agentwire/server.lua", "Server" },
  }
  for _, case in ipairs(classes) do
    local page, variable, source, class = case[1], case[2], case[3], case[4]
    it("names every public method of " .. class, function()
      assert.same({}, missing_methods(page, source, class))
    end)
    it("names no method that " .. class .. " lacks", function()
      assert.same({}, unknown_methods(page, variable, source, class))
    end)
  end

  it("names every counter of a connection", function()
    local text, missing = read_file("docs/connection.md"), {}
    host.run(function()
      local aw = require("agentwire")
      local near, far = aw.pair()
      for name, value in pairs(near:stats()) do
        for inner in pairs(type(value) == "table" and value or { [name] = 0 }) do
          if not text:find("`" .. inner .. "`", 1, true) then
            missing[#missing + 1] = inner
          end
        end
      end
      near:close()
      far:close()
    end)
    assert.same({}, missing)
  end)

  it("lists every error code of the core with its reach", function()
    local errors, listed = require("agentwire").errors, {}
    local row = "\n| `([%w_]+)` | (%a+) | ([^|]-) |%f[\n]"
    for code, reach, text in read_file("docs/errors.md"):gmatch(row) do
      listed[code] = { reach = reach, text = text }
    end
    assert.same(errors, listed)
  end)

  it("links to what is there, and lists every page", function()
    local broken, index = {}, read_file("docs/README.md")
    for _, page in ipairs(pages) do
      local folder = page:match("^(.*/)") or ""
      for target in read_file(page):gmatch("%]%(([^)#%s]+)[^)]*%)") do
        if not target:find("^%a+:") and not exists(folder .. target) then
          broken[#broken + 1] = page .. ": " .. target
        end
      end
      local name = page:match("^docs/(.*)$")
      if name and name ~= "README.md"
        and not index:find("](" .. name .. ")", 1, true) then
        broken[#broken + 1] = "docs/README.md does not list " .. name
      end
    end
    assert.same({}, broken)
  end)

  it("has a glossary of words that their files have", function()
    local text, count = read_file("DESIGN.md"):match("\n## %d+%. Glossary\n(.*)$"), 0
    for term, path in text:gmatch("\n| (%l+) |[^\n]- `([^`]+)` |%f[\n]") do
      assert.truthy(exists(path), path)
      assert.truthy(read_file(path):lower():find(term, 1, true),
        path .. " does not speak of " .. term)
      count = count + 1
    end
    local _, rows = text:gsub("\n| ", "")
    assert.equal(rows - 1, count) -- but for the head of the table
  end)

  it("says of files that are there where things are added", function()
    local count = 0
    for path in read_file("docs/where.md"):gmatch("`([%l_]+/[%w_/.]+%.%l+)`") do
      if not path:find("NAME", 1, true) then -- what is to be made
        assert.truthy(exists(path) or exists("lua/agentwire/" .. path), path)
        count = count + 1
      end
    end
    assert.truthy(count > 15)
  end)

  it("has a row of DESIGN.md for each limit that an option sets", function()
    local rows = read_file("DESIGN.md"):match("\n## 5%. Limits\n(.-)\n## ")
    local missing = {}
    for name in read_file("docs/api.md"):gmatch("\n%- `([%w_]+)` ") do
      if is_limit(name) and not rows:find("%f[%w_.]" .. name .. "`") then
        missing[#missing + 1] = name
      end
    end
    assert.same({}, missing)
  end)

  it("names no file and no C name that is gone", function()
    local known, text = list_tree()
    local gone, words = {}, 0
    for _, page in ipairs { "DESIGN.md", "BATCHES.md", "CHANGELOG.md",
      compat.unpack(pages) } do
      local whole = read_file(page)
      for code in whole:gsub("\n```.-\n```", ""):gmatch("`([^`\n]+)`") do
        for word in code:gmatch("[%w_./]+") do
          words = words + 1
          local is_shown = whole:find("\n-- " .. word .. "\n", 1, true)
          if not is_shown and is_gone(word, known, text) then
            gone[#gone + 1] = page .. ": " .. word
          end
        end
      end
    end
    assert.same({}, gone)
    assert.truthy(words > 1000)
  end)

  it("gives the types of each protocol in wire.md", function()
    local text, missing = read_file("docs/wire.md"), {}
    local protocols = require("agentwire.protocols")
    for _, kind in ipairs { "provider", "agent", "tool" } do
      local protocol = protocols[kind]
      local sets = { protocol.messages, protocol.opens, protocol.ends,
        protocol.events, protocol.replies, protocol.codes }
      for _, set in pairs(sets) do
        for name in pairs(set) do
          if not text:find("`" .. name .. "`", 1, true) then
            missing[#missing + 1] = kind .. ": " .. name
          end
        end
      end
    end
    assert.same({}, missing)
  end)
end)
