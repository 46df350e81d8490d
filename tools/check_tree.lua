--- Rules of the tree that no other tool knows, as TAP.
---
---   lua tools/check_tree.lua      from the top of the tree
local MAX_LINES = 800
local MAX_FUNCTION = 50
local SOURCES = { c = true, h = true, lua = true, sh = true }
local LUA_HEADERS = { ["lua.h"] = true, ["lauxlib.h"] = true,
  ["lualib.h"] = true, ["luaconf.h"] = true, ["lua.hpp"] = true }

-- What the core may have of the system: C11, and the vector unit.
local CORE_SYSTEM = {}
for name in ([[assert ctype errno float inttypes limits locale math stdalign
  stdarg stdbool stddef stdint stdio stdlib string time emmintrin]])
  :gmatch("%S+") do
  CORE_SYSTEM[name .. ".h"] = true
end

-- What the net may have besides: the loop, TLS, HTTP, and the numbers of signals.
local NET_SYSTEM = { ["uv.h"] = true, ["signal.h"] = true,
  ["curl/curl.h"] = true }

-- What differs between systems, or is the host's to lose: net/os alone calls
-- it. uv.h brings the declarations of most of these along.
local SYSTEM_CALLS = [[accept accept4 bind chmod clock_gettime close connect dup
  dup2 execve fchmod fcntl fdopen fork fstat getpeername getsockname getsockopt
  gettimeofday inet_ntop inet_pton ioctl isatty kill listen lstat open opendir
  pipe pipe2 poll pthread_sigmask raise read readdir recv recvmsg select send
  sendmsg setsockopt shutdown sigaction signal sigprocmask sigtimedwait sigwait
  socket socketpair stat tcgetattr tcsetattr unlink waitpid write writev]]

local function find(folders)
  local files = {}
  local pipe = assert(io.popen("find " .. folders ..
    " -type f 2>/dev/null | LC_ALL=C sort"))
  for path in pipe:lines() do
    table.insert(files, path)
  end
  pipe:close()
  return files
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

-- The sources, with their text; data such as fuzz seeds is not looked at.
local function read_sources(folders)
  local sources = {}
  for _, path in ipairs(find(folders)) do
    local extension = path:match("%.(%w+)$")
    local is_script = not path:match("([^/]*)$"):find(".", 1, true)
      and not path:find("corpus/", 1, true)
    if SOURCES[extension] or is_script then
      table.insert(sources, { path = path, text = read(path) })
    end
  end
  return sources
end

-- Calls `see(path, mark, name)` for each #include.
local function each_include(sources, folder, see)
  for _, source in ipairs(sources) do
    if source.path:find(folder, 1, true) == 1 then
      for mark, name in source.text:gmatch('#%s*include%s*([<"])([^">]+)') do
        see(source.path, mark, name)
      end
    end
  end
end

local function set_of_headers(folders)
  local set = {}
  for _, folder in ipairs(folders) do
    for _, path in ipairs(find(folder)) do
      set[path:match("[^/]+$")] = true
    end
  end
  return set
end

local checks = {}

local function add_check(name, fn)
  table.insert(checks, { name = name, fn = fn })
end

-- What each folder may include of the others; CMakeLists.txt has the same.
local BELOW = {
  ["core/base"] = {},
  ["core/json"] = { "core/base" },
  ["core/websocket"] = { "core/base" },
  ["core/sse"] = { "core/base" },
  ["core/mux"] = { "core/json", "core/base" },
  ["net/os"] = { "core/base" },
  ["net/loop"] = { "net/os", "core/base" },
  ["net/lines"] = { "net/loop", "net/os", "core/base" },
  ["net/transport"] = { "net/loop", "net/os", "core/mux", "core/base" },
  ["net/stdio"] = { "net/transport", "net/lines", "net/loop", "net/os",
    "core/mux", "core/json", "core/base" },
  ["net/websocket"] = { "net/transport", "net/loop", "net/os",
    "core/websocket", "core/mux", "core/base" },
  ["net/session"] = { "net/transport", "net/loop", "net/os", "core/mux",
    "core/base" },
  ["net/http"] = { "net/loop", "net/os", "core/websocket", "core/base" },
}

local function headers_seen_by(folder)
  local folders = { "csrc/" .. folder }
  for _, below in ipairs(BELOW[folder]) do
    folders[#folders + 1] = "csrc/" .. below
  end
  return set_of_headers(folders)
end

add_check("a folder includes only itself and what is below it",
  function(sources, fail)
    for folder in pairs(BELOW) do
      local known = headers_seen_by(folder)
      each_include(sources, "csrc/" .. folder .. "/", function(path, mark, name)
        if mark == '"' and not known[name] then
          fail(path .. " includes " .. name)
        end
      end)
    end
  end)

add_check("each folder of csrc has its place among the others",
  function(_, fail)
    for _, path in ipairs(find("csrc")) do
      local folder = path:match("^csrc/(.*)/[^/]+$")
      if folder ~= "lua" and not BELOW[folder] then
        fail(path)
      end
    end
  end)

add_check("core includes only libc's headers of the system",
  function(sources, fail)
    each_include(sources, "csrc/core/", function(path, mark, name)
      if mark == "<" and not CORE_SYSTEM[name] then
        fail(path .. " includes " .. name)
      end
    end)
  end)

local function in_net_above_os(path)
  return path:find("csrc/net/", 1, true) == 1
    and path:find("csrc/net/os/", 1, true) ~= 1
end

add_check("only net/os includes the system's headers", function(sources, fail)
  each_include(sources, "csrc/net/", function(path, mark, name)
    if mark == "<" and in_net_above_os(path) and not CORE_SYSTEM[name]
      and not NET_SYSTEM[name] and not name:find("^openssl/") then
      fail(path .. " includes " .. name)
    end
  end)
end)

-- A name that is a member's, or another word's end, is no call.
add_check("only net/os calls the system", function(sources, fail)
  for _, source in ipairs(sources) do
    if in_net_above_os(source.path) then
      local text = source.text:gsub("/%*.-%*/", ""):gsub('"[^"\n]*"', "")
      for name in SYSTEM_CALLS:gmatch("%S+") do
        if text:find("[^%w_.>]" .. name .. "%(") then
          fail(source.path .. " calls " .. name)
        end
      end
    end
  end
end)

-- The tests may embed a Lua; the layers may not.
add_check("only csrc/lua includes Lua's headers", function(sources, fail)
  each_include(sources, "csrc/", function(path, _, name)
    if LUA_HEADERS[name] and path:find("csrc/lua/", 1, true) ~= 1 then
      fail(path .. " includes " .. name)
    end
  end)
end)

-- A timer that is started by the turn's clock may be due before it runs.
add_check("only the loop starts timers, by the clock of the moment",
  function(sources, fail)
    for _, source in ipairs(sources) do
      if source.path:find("csrc/", 1, true) == 1
        and source.path:find("csrc/net/loop/", 1, true) ~= 1
        and source.text:find("uv_timer_start%f[%W]") then
        fail(source.path)
      end
    end
  end)

-- C without what is in comments, strings, characters and the preprocessor's lines.
local function bare(text)
  text = text:gsub("/%*.-%*/", " "):gsub("\\.", ""):gsub("'[^'\n]'", "''")
    :gsub('"[^"\n]*"', '""')
  return (("\n" .. text):gsub("\n[ \t]*#[^\n]*", "\n"))
end

-- The functions of a C file that other files see, each with its body's text.
-- Static ones are part of whoever calls them in the file.
local function functions_of(text)
  local functions, statics = {}, {}
  local at = 1
  text = bare(text)
  while true do
    local from, to = text:find("%b{}", at)
    if not from then
      break
    end
    local head = text:sub(at, from - 1):match("[^;]*$")
    local name = head:match("([%w_]+)%s*%b()%s*$")
    if name then
      local list = head:find("%f[%w_]static%f[^%w_]") and statics or functions
      list[name] = text:sub(from, to)
    end
    at = to + 1
  end
  return functions, statics
end

-- For each folder below csrc: its C files, by name without extension.
local function units(sources)
  local folders = {}
  for _, source in ipairs(sources) do
    local folder, name = source.path:match("^csrc/(.+)/([%w_]+)%.c$")
    if folder then
      local functions, statics = functions_of(source.text)
      folders[folder] = folders[folder] or {}
      folders[folder][name] = { functions = functions, statics = statics }
    end
  end
  return folders
end

-- Which files of a folder each of them needs, by the names in its functions.
local function needs(files)
  local owner, edges = {}, {}
  for name, file in pairs(files) do
    for fn in pairs(file.functions) do
      owner[fn] = name
    end
  end
  for name, file in pairs(files) do
    edges[name] = {}
    for _, list in ipairs({ file.functions, file.statics }) do
      for _, body in pairs(list) do
        for word in body:gmatch("[%a_][%w_]*") do
          if owner[word] and owner[word] ~= name then
            edges[name][owner[word]] = true
          end
        end
      end
    end
  end
  return edges
end

local function reach(edges, from)
  local seen, list = {}, { from }
  while #list > 0 do
    for name in pairs(edges[table.remove(list)]) do
      if not seen[name] then
        seen[name] = true
        table.insert(list, name)
      end
    end
  end
  return seen
end

add_check("the C files of a folder stand above each other, two at most in a "
  .. "circle", function(sources, fail)
  for folder, files in pairs(units(sources)) do
    local edges, reached = needs(files), {}
    for name in pairs(files) do
      reached[name] = reach(edges, name)
    end
    for name in pairs(files) do
      local circle = {}
      for other in pairs(reached[name]) do
        if reached[other][name] then
          table.insert(circle, other)
        end
      end
      table.sort(circle)
      if #circle > 2 and circle[1] == name then
        fail(folder .. ": " .. table.concat(circle, ", "))
      end
    end
  end
end)

-- aw_x_y.c has its functions in aw_x_y.h, or in a header of the noun that it is
-- part of: aw_x.h, aw_x_impl.h. What an engine gives has a header that is not
-- any engine's.
local function is_header_of(header, name, folder)
  local noun = header:gsub("_impl$", "")
  return noun == name or name:sub(1, #noun + 1) == noun .. "_"
    or folder == "net/websocket" and header == "aw_websocket"
end

add_check("each header declares what its own C file defines",
  function(sources, fail)
    local headers = {}
    for _, source in ipairs(sources) do
      local name = source.path:match("^csrc/.+/([%w_]+)%.h$")
      if name then
        headers[name] = bare(source.text)
      end
    end
    for folder, files in pairs(units(sources)) do
      for name, file in pairs(files) do
        file.functions.luaopen_agentwire_core = nil -- the interpreter's to know
        for fn in pairs(file.functions) do
          local places, own = {}, 0
          for header, text in pairs(headers) do
            if text:find("%f[%w_]" .. fn .. "%s*%b()%s*;") then
              table.insert(places, header)
              own = own + (is_header_of(header, name, folder) and 1 or 0)
            end
          end
          if #places ~= 1 or own ~= 1 then
            fail(("%s of %s.c is declared in %s"):format(fn, name,
              #places == 0 and "no header" or table.concat(places, ", ")))
          end
        end
      end
    end
  end)

-- LuaRocks compiles with flags of its own, and CMake's hidden visibility is not
-- among them. After the last #include, for what is declared hidden of another
-- library would not be found there.
add_check("what a header declares is hidden from the module's users",
  function(sources, fail)
    for _, source in ipairs(sources) do
      local is_header = source.path:find("^csrc/.*%.h$")
      if is_header and bare(source.text):find("\n[%a_][^\n;{}]*%b();") then
        local push = source.text:find("\n#pragma GCC visibility push(hidden)\n",
          1, true)
        local _, pop = source.text:find("\n#pragma GCC visibility pop\n+#endif\n$")
        if not push or not pop or source.text:find("\n%s*#%s*include", push) then
          fail(source.path)
        end
      end
    end
  end)

-- OpenResty has others of these names: all come from one place.
add_check("only _compat knows the language's coroutines", function(sources, fail)
  for _, source in ipairs(sources) do
    if source.path:find("lua/agentwire/", 1, true) == 1
      and not source.path:find("_compat.lua", 1, true) then
      for line in source.text:gmatch("[^\n]+") do
        if not line:find("^%s*%-%-") and not line:find('"[^"]*coroutine%.')
          and line:find("%f[%w]coroutine%.%w") then
          fail(source.path .. ": " .. line)
        end
      end
    end
  end
end)

add_check("only hosts and tasks know a host's private fields",
  function(sources, fail)
    local inside = {}
    for name in ("task _task _task_failures _task_tree _combinators _scheduler")
      :gmatch("%S+") do
      inside["lua/agentwire/" .. name .. ".lua"] = true
    end
    for _, source in ipairs(sources) do
      if source.path:find("lua/agentwire/", 1, true) == 1
        and source.path:find("lua/agentwire/host/", 1, true) ~= 1
        and not inside[source.path]
        and (source.text:gsub('"agentwire[^"]*"', "")
          :find("%._scheduler%f[%W]") or source.text:find("_host%._")) then
        fail(source.path)
      end
    end
  end)

add_check("no file is longer than " .. MAX_LINES .. " lines",
  function(sources, fail)
    for _, source in ipairs(sources) do
      local _, lines = source.text:gsub("\n", "\n")
      if lines > MAX_LINES then
        fail(("%s has %d"):format(source.path, lines))
      end
    end
  end)

add_check("nothing is left to do in a comment", function(sources, fail)
  -- Put together, so that this file does not find itself.
  for _, mark in ipairs({ "TO" .. "DO", "FIX" .. "ME", "X" .. "XX" }) do
    for _, source in ipairs(sources) do
      if source.text:find("%f[%w_]" .. mark .. "%f[^%w_]") then
        fail(source.path .. " has " .. mark)
      end
    end
  end
end)

add_check("lines end without blanks, files with a newline",
  function(sources, fail)
    for _, source in ipairs(sources) do
      if source.text:find("[ \t\r]\n") then
        fail(source.path .. " has blanks at the end of a line")
      end
      if source.text ~= "" and source.text:sub(-1) ~= "\n" then
        fail(source.path .. " does not end with a newline")
      end
    end
  end)

add_check("every public header is guarded by its name", function(sources, fail)
  for _, source in ipairs(sources) do
    local name = source.path:match("^csrc/.*/([%w_]+)%.h$")
    if name and not source.text:find("#ifndef " .. name:upper() .. "_H\n",
      1, true) then
      fail(source.path)
    end
  end
end)

local function is_in(folders, path)
  for _, folder in ipairs(folders) do
    if path:find(folder, 1, true) == 1 then
      return true
    end
  end
  return false
end

-- Data of the tests is not C.
local function is_ours_in_c(path)
  return path:find("%.[ch]$") and is_in({ "csrc/", "tests/" }, path)
end

-- Calls `see(path, number, line)` for each line of a Lua file, or of a C file
-- that the rules apply to.
local function each_line(sources, extension, see)
  for _, source in ipairs(sources) do
    local path = source.path
    if extension == "lua" and path:find("%.lua$")
      or extension == "c" and is_ours_in_c(path) then
      local number = 0
      for line in source.text:gmatch("([^\n]*)\n") do
        number = number + 1
        see(path, number, line)
      end
    end
  end
end

-- `rules`: what is wrong, and a pattern of lines that are.
local function forbid(extension, rules)
  return function(sources, fail)
    each_line(sources, extension, function(path, number, line)
      for what, pattern in pairs(rules) do
        if line:find(pattern) then
          fail(("%s:%d %s"):format(path, number, what))
        end
      end
    end)
  end
end

add_check("Lua is written one way", forbid("lua", {
  ["require without parentheses"] = "%f[%w_]require%s*[\"'][%w_.]+[\"']",
  ["a doc comment is `--- Text`"] = "^%s*%-%-%-[^%s@|-]",
  ["a banner"] = "^%s*%-%-[^\n]*%-%-%-%-",
}))

add_check("a doc comment goes on as it began", function(sources, fail)
  local before = ""
  each_line(sources, "lua", function(path, number, line)
    if line:find("^%s*%-%-%f[%s\0]") and before:find("^%s*%-%-%-") then
      fail(("%s:%d"):format(path, number))
    end
    before = line
  end)
end)

add_check("C is written one way", forbid("c", {
  ["a banner"] = "^%s*/?%*[^\n]*%-%-%-%-",
}))

-- Calls `see(path, number, line, start)` for each line of each function of
-- csrc, `start` being the number of its first.
local function each_line_of_functions(sources, see)
  for _, source in ipairs(sources) do
    if source.path:find("^csrc/") then
      local number, start = 0, nil
      for line in source.text:gmatch("([^\n]*)\n") do
        number = number + 1
        if not start and line:find("%) {$") then
          start = number
        end
        if start then
          see(source.path, number, line, start)
        end
        if line:find("^}") then
          start = nil
        end
      end
    end
  end
end

add_check("no function of C is longer than " .. MAX_FUNCTION .. " lines",
  function(sources, fail)
    each_line_of_functions(sources, function(path, number, line, start)
      if line == "}" and number - start > MAX_FUNCTION then
        fail(("%s:%d has %d"):format(path, start, number - start))
      end
    end)
  end)

-- What is declared where it gets its value needs no block of declarations, and
-- what needs a heading is a function of its own.
add_check("functions of C have no empty lines", function(sources, fail)
  each_line_of_functions(sources, function(path, number, line)
    if line == "" then
      fail(("%s:%d"):format(path, number))
    end
  end)
end)

add_check("in the core and the binding a status is compared with AW_OK, and a "
  .. "struct has a name of its own", function(sources, fail)
  each_line_of_functions(sources, function(path, number, line)
    if is_in({ "csrc/core/", "csrc/lua/" }, path) and (line:find("%f[%w_]rc [=!]= 0%f[%D]")
      or line:find("%f[%w_]struct %l[%l_]* %*?%l")) then
      fail(("%s:%d"):format(path, number))
    end
  end)
end)

local sources = read_sources(
  "csrc lua spec tests examples bench tools dev .ci")
local any_failed = false
print("1.." .. #checks)
for number, check in ipairs(checks) do
  local problems = {}
  check.fn(sources, function(problem)
    table.insert(problems, problem)
  end)
  local verdict = #problems == 0 and "ok" or "not ok"
  print(("%s %d - %s"):format(verdict, number, check.name))
  for _, problem in ipairs(problems) do
    print("# " .. problem)
    any_failed = true
  end
end
os.exit(any_failed and 1 or 0)
