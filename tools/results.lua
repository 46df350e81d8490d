--- Counts test results and shows the failed ones in full.
---
---   lua tools/results.lua LOG EXIT_STATUS COUNTS_FILE
---
--- LOG is TAP (busted, cmocka) or what `ctest -V` prints of several programs
--- that print TAP. COUNTS_FILE gets "passed failed skipped". A program that
--- crashes, or that reports fewer tests than it planned, has a failure more.
local TAIL_LINES = 60

local function new_program(name)
  return {
    name = name, planned = 0, passed = 0, failed = 0, skipped = 0,
    stray = {}, -- lines that are no result
    in_failure = false,
  }
end

local function show(line)
  io.write("      ", line, "\n")
end

local function take_result(program, line)
  local negation, rest = line:match("^(n?o?t? ?)ok %d+ ?%-? ?(.*)$")
  if not rest or (negation ~= "" and negation ~= "not ") then
    return false
  end
  program.in_failure = false
  local reason = rest:match("# SKIP ?(.*)$")
  if reason then
    program.skipped = program.skipped + 1
    show("skipped: " .. reason)
  elseif negation == "" then
    program.passed = program.passed + 1
  else
    program.failed = program.failed + 1
    program.in_failure = true
    show(("FAILED: %s%s"):format(program.name and program.name .. ": " or "",
      rest))
  end
  return true
end

-- What a test writes to stderr without a newline stands before the result.
local function without_noise(program, line)
  local reported = program.passed + program.failed + program.skipped
  local mark = ("ok %d - "):format(reported + 1)
  local at = line:find("not " .. mark, 1, true) or line:find(mark, 1, true)
  return at and line:sub(at) or line
end

local function take_line(program, line)
  line = without_noise(program, line)
  local planned = line:match("^1%.%.(%d+)%s*$")
  if planned then
    program.planned = program.planned + tonumber(planned)
    program.has_plan = true
    program.in_failure = false
  elseif not take_result(program, line) then
    if program.in_failure then
      show("  " .. line:gsub("^# ?", ""))
    elseif not line:find("^#") then
      table.insert(program.stray, line)
    end
  end
end

local function show_stray(program, pattern)
  local first = math.max(1, #program.stray - TAIL_LINES + 1)
  for index = first, #program.stray do
    if program.stray[index]:find(pattern) then
      show("  " .. program.stray[index])
    end
  end
end

-- `ended` is nil for success, or says how else the program ended.
local function finish(program, ended)
  local reported = program.passed + program.failed + program.skipped
  if not program.has_plan then
    ended = "ended before its results did, " .. (ended or "exit status 0")
  elseif program.planned ~= reported then
    ended = ("%d of %d tests reported, %s"):format(reported, program.planned,
      ended or "exit status 0")
  elseif program.failed > 0 then
    ended = nil -- the failures explain it
    show_stray(program, "^==%d+==") -- but not what valgrind found
  end
  if ended then
    program.failed = program.failed + 1
    show(("FAILED: %s: %s"):format(program.name or "the program", ended))
    show_stray(program, "")
  end
end

local function read_ctest(lines)
  local programs, order = {}, {}
  local status = {}
  for _, line in ipairs(lines) do
    local number, text = line:match("^(%d+): (.*)$")
    if not number then
      number, text = line:match("^(%d+):$"), ""
    end
    local start, name = line:match("^%s+Start%s+(%d+): (.+)$")
    local done, how = line:match("Test%s+#(%d+): %S+ [%. ]*(.-)%s+[%d.]+ sec")
    if start then
      programs[start] = new_program(name)
      table.insert(order, start)
    elseif done then
      status[done] = how:gsub("^%*+", "")
    elseif number and programs[number] then
      local noise = text:find("^Test command:") or text:find("^Test timeout")
        or text:find("^Working Directory:") or text:find("^Environment var")
        or text:find("^ CMOCKA_")
      if not noise then
        take_line(programs[number], text)
      end
    end
  end
  local all = {}
  for _, number in ipairs(order) do
    local how = status[number] or "did not end"
    finish(programs[number], how ~= "Passed" and how or nil)
    table.insert(all, programs[number])
  end
  return all
end

local function read_plain(lines, exit_status)
  local program = new_program(nil)
  for _, line in ipairs(lines) do
    take_line(program, line)
  end
  finish(program, exit_status ~= 0 and "exit status " .. exit_status or nil)
  return { program }
end

local function read_lines(path)
  local lines, is_ctest = {}, false
  for line in io.lines(path) do
    table.insert(lines, line)
    is_ctest = is_ctest or line:find("^Test project ") ~= nil
  end
  return lines, is_ctest
end

local lines, is_ctest = read_lines(arg[1])
local exit_status = tonumber(arg[2])
local programs
if is_ctest then
  programs = read_ctest(lines)
else
  programs = read_plain(lines, exit_status)
end
local passed, failed, skipped = 0, 0, 0
for _, program in ipairs(programs) do
  passed = passed + program.passed
  failed = failed + program.failed
  skipped = skipped + program.skipped
end
if is_ctest and exit_status ~= 0 and failed == 0 then
  show("FAILED: ctest itself: exit status " .. exit_status)
  failed = 1
end
local file = assert(io.open(arg[3], "w"))
file:write(("%d %d %d\n"):format(passed, failed, skipped))
file:close()
