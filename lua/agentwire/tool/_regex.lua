--- Regular expressions of JSON Schema: does a text hold a match? The search
--- follows all ways at once, so no pattern makes it worse than the length of
--- the text times that of the pattern, and each step is counted.
local parse = require("agentwire.tool._regex_parse")

local M = {}

-- Steps of a program; `(a{100}){100}` would have 10 000.
local MAX_PROGRAM = 4000

---@class agentwire.Regex
---@field partial boolean some texts beyond ASCII cannot be decided
local Regex = {}
Regex.__index = Regex

local function emit(program, step)
  if #program >= MAX_PROGRAM then
    error({ regex = ("larger than %d steps"):format(MAX_PROGRAM) }, 0)
  end
  program[#program + 1] = step
  return step
end

local build

local BUILDERS = {}

function BUILDERS.set(program, tree)
  emit(program, { op = "set", test = tree.test })
end

function BUILDERS.start(program)
  emit(program, { op = "start" })
end

function BUILDERS.finish(program)
  emit(program, { op = "finish" })
end

function BUILDERS.edge(program, tree)
  emit(program, { op = "edge", negated = tree.negated })
end

function BUILDERS.list(program, tree, back)
  for index = 1, #tree do
    build(program, tree[back and #tree + 1 - index or index], back)
  end
end

function BUILDERS.any(program, tree, back)
  local jumps = {}
  for index, each in ipairs(tree) do
    local split = index < #tree and emit(program, { op = "split" })
    if split then
      split.x = #program + 1
    end
    build(program, each, back)
    if split then
      jumps[index] = emit(program, { op = "jump" })
      split.y = #program + 1
    end
  end
  for _, jump in ipairs(jumps) do
    jump.x = #program + 1
  end
end

BUILDERS["repeat"] = function(program, tree, back)
  for _ = 1, tree.least do
    local before = #program
    build(program, tree[1], back)
    if #program == before then
      break -- nothing, however often
    end
  end
  local splits = {}
  local many = tree.most == math.huge
  for index = 1, many and 1 or tree.most - tree.least do
    splits[index] = emit(program, { op = "split" })
    splits[index].x = #program + 1
    local before = #program
    build(program, tree[1], back)
    if many then
      emit(program, { op = "jump", x = before })
    end
  end
  for _, split in ipairs(splits) do
    split.y = #program + 1
  end
end

local function build_whole(tree, back)
  local program = { back = back }
  build(program, tree, back)
  emit(program, { op = "match" })
  return program
end

function BUILDERS.look(program, tree)
  emit(program, { op = "look", negated = tree.negated,
    program = build_whole(tree[1], tree.behind or false) })
end

function build(program, tree, back)
  BUILDERS[tree.kind](program, tree, back)
end

---@param pattern string
---@return agentwire.Regex|nil
---@return string? why "unknown escape \\Z at byte 7"
function M.compile(pattern)
  local ok, tree, partial = pcall(parse.read, pattern)
  local program
  if ok then
    ok, program = pcall(build_whole, tree, false)
  else
    program = tree
  end
  if not ok then
    if type(program) ~= "table" then
      error(program, 0)
    end
    return nil, program.regex
  end
  return setmetatable({ partial = partial, _program = program }, Regex)
end

local function code_before(text, at)
  local from = at - 1
  while from > 1 and from > at - 4 do
    local byte = text:byte(from)
    if byte < 0x80 or byte > 0xBF then
      break
    end
    from = from - 1
  end
  if from < 1 then
    return nil
  end
  return (parse.decode(text, from)), from
end

local function is_word(code)
  return code ~= nil and parse.in_ranges(parse.WORD, code)
end

local search

local TESTS = {}

function TESTS.start(_, _, at)
  return at == 1
end

function TESTS.finish(run, _, at)
  return at > #run.text
end

function TESTS.edge(run, step, at)
  local before = is_word((code_before(run.text, at)))
  local after = is_word((parse.decode(run.text, at)))
  return (before ~= after) ~= (step.negated or false)
end

--- What is unknown counts against a match here when it counts for it inside of
--- a negated look.
function TESTS.look(run, step, at)
  local assume = run.assume
  if step.negated then
    assume = not assume
  end
  local found = search(step.program, run.text, at, assume, run.budget, true)
  return found ~= (step.negated or false)
end

--- Adds a state and all that it reaches without a character.
local function follow(run, list, at, pc)
  while run.seen[pc] ~= run.stamp do
    run.seen[pc] = run.stamp
    local step = run.program[pc]
    local op = step.op
    if op == "split" then
      follow(run, list, at, step.x)
      pc = step.y
    elseif op == "jump" then
      pc = step.x
    elseif op == "set" then
      list[#list + 1] = pc
      return
    elseif op == "match" then
      run.found = true
      return
    elseif TESTS[op](run, step, at) then
      pc = pc + 1
    else
      return
    end
  end
end

local function advance(run, states, code, after)
  local list = {}
  for index = 1, #states do
    local pc = states[index]
    local matches = run.program[pc].test(code)
    if matches == nil then
      matches = run.assume
    end
    if matches then
      follow(run, list, after, pc + 1)
    end
  end
  return list
end

---@param here boolean? only a match that begins at `at`
function search(program, text, at, assume, budget, here)
  local run = { program = program, text = text, assume = assume,
    budget = budget, seen = {}, stamp = 1, found = false }
  local step = program.back and code_before or parse.decode
  local states = {}
  follow(run, states, at, 1)
  while not run.found do
    local code, after = step(text, at)
    if not code or #states == 0 and (here or program[1].op == "start") then
      return false
    end
    budget:spend(#states + 1)
    run.stamp = run.stamp + 1
    states = advance(run, states, code, after)
    at = after
    if not here and not run.found then
      follow(run, states, at, 1)
    end
  end
  return true
end

--- Whether the text holds a match.
---@param text string
---@param budget {spend: fun(self: table, steps: integer)} raises when it is used up
---@return boolean|nil found nil: it cannot be decided
function Regex:find(text, budget)
  local certain = search(self._program, text, 1, false, budget)
  if certain or not self.partial then
    return certain
  end
  if search(self._program, text, 1, true, budget) then
    return nil
  end
  return false
end

---@return integer steps of its program
function Regex:size()
  return #self._program
end

return M
