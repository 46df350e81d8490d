--- How the scripted provider answers: each rule says which tool calls it wants,
--- and once no wanted call is left to make, what follows from the results.
--- Pure.
local facts = require("agentwire.providers._scripted_facts")
local json = require("agentwire.json")
local question = require("agentwire.providers._scripted_question")

local M = {}

-- Files looked into for a question that names none.
local MAX_FILES = 12

-- Hits, names and headings that an answer spells out.
local MAX_NAMED = 12

local function any_of(text, patterns)
  for _, pattern in ipairs(patterns) do
    if text:find(pattern) then
      return true
    end
  end
  return false
end

-- A tool's JSON may have come with floats.
local function plural(count, noun)
  return ("%.0f %s%s"):format(count, noun, count == 1 and "" or "s")
end

local function listed(names)
  if #names <= 1 then
    return names[1] or ""
  end
  return table.concat(names, ", ", 1, #names - 1) .. " and " .. names[#names]
end

local function first_few(names)
  if #names <= MAX_NAMED then
    return listed(names)
  end
  return table.concat(names, ", ", 1, MAX_NAMED) .. " and "
    .. (#names - MAX_NAMED) .. " more"
end

local function clip(text, limit)
  if #text <= limit then
    return text
  end
  -- Cut before a byte that begins a character, not inside one.
  local stop = limit
  while stop > 0 and text:byte(stop + 1) >= 128 and text:byte(stop + 1) < 192 do
    stop = stop - 1
  end
  return text:sub(1, stop) .. "…"
end

local function call(tool, arguments)
  return { name = tool.name, arguments_json = json.encode_sorted(arguments) }
end

local function list_call(context)
  local tool = context.tools.list
  return tool and call(tool, tool.folder_key
    and { [tool.folder_key] = context.folder } or {})
end

local function file_call(tool, path)
  return call(tool, { [tool.path_key] = path })
end

local function calls_for(tool, files)
  local calls = {}
  for index, path in ipairs(files) do
    calls[index] = file_call(tool, path)
  end
  return calls
end

-- What the results say about one file: its content, or what was measured.
local function known_of(context, path)
  local known = { path = path, measures = {} }
  for _, result in ipairs(context.results) do
    if result.path == path and result.is_error then
      known.problem = result.text
    elseif result.path == path and result.role == "read" then
      known.content = facts.content(result.text)
      known.facts = facts.describe(known.content)
      known.is_truncated = facts.is_truncated(result.text)
    elseif result.path == path and result.role == "info" then
      known.measures = facts.measures(result.text)
    end
  end
  for unit, number in pairs(known.facts or {}) do
    known.measures[unit] = known.measures[unit] or number
  end
  return known
end

local function failed(known)
  if known.problem then
    return ("I could not look into %s: %s."):format(known.path,
      clip((known.problem:gsub("[%s%.]+$", "")), 200))
  end
  return ("I learnt nothing about %s."):format(known.path)
end

local function plain_files(context)
  local files = {}
  for _, entry in ipairs(context.listing or {}) do
    if not entry.is_directory and #files < MAX_FILES then
      local name = entry.name
      if context.folder ~= "." and not name:find("/", 1, true) then
        name = context.folder .. "/" .. name
      end
      files[#files + 1] = name
    end
  end
  return files
end

local function measure_tool(context)
  return context.tools.info or context.tools.read
end

local change = { name = "change" }

function change.fits(context)
  return any_of(context.lower, { "^%s*delete", "^%s*remove", "^%s*write",
    "^%s*create", "^%s*rename", "^%s*move", "^%s*edit", "^%s*change",
    "^%s*fix", "^%s*add", "^please%s+delete", "^please%s+write",
    "^please%s+create", "^please%s+edit" })
end

function change.wants()
  return {}
end

function change.answer()
  return "I am agentwire's scripted model and I only look: I change nothing."
end

local search = { name = "search" }

function search.fits(context)
  return context.term ~= nil
    and (context.tools.search or context.tools.list and context.tools.read)
end

-- Without a search tool the files themselves are read and searched here.
function search.wants(context)
  local tool = context.tools.search
  if tool then
    local arguments = { [tool.term_key] = context.term }
    if tool.folder_key then
      arguments[tool.folder_key] = context.files[1] or context.folder
    end
    return { call(tool, arguments) }
  elseif not context.listing then
    return { list_call(context) }
  end
  return calls_for(context.tools.read, plain_files(context))
end

local function found_hits(context)
  local hits, problem = {}, nil
  for _, result in ipairs(context.results) do
    local more = {}
    if result.is_error then
      problem = result.text
    elseif result.role == "search" then
      more = facts.hits(result.text)
    elseif result.role == "read" then
      more = facts.search(result.path, facts.content(result.text),
        context.term)
    end
    for _, hit in ipairs(more) do
      hits[#hits + 1] = hit
    end
  end
  return hits, problem
end

local function hit_text(hit)
  local place = hit.path .. (hit.line and ":" .. hit.line or "")
  return "\n- " .. place
    .. (hit.text and ": " .. clip(hit.text:match("^%s*(.-)%s*$"), 100) or "")
end

function search.answer(context)
  local hits, problem = found_hits(context)
  if #hits == 0 then
    return problem and "The search failed: " .. clip(problem, 200)
      or ("I found no mention of “%s”."):format(context.term)
  end
  local files, seen = {}, {}
  for _, hit in ipairs(hits) do
    if not seen[hit.path] then
      seen[hit.path] = true
      files[#files + 1] = hit.path
    end
  end
  local answer = { ("“%s” is mentioned in %s (%s): %s."):format(context.term,
    plural(#files, "file"), plural(#hits, "hit"), first_few(files)) }
  for index = 1, math.min(#hits, MAX_NAMED) do
    answer[#answer + 1] = hit_text(hits[index])
  end
  return table.concat(answer)
end

local UNITS = { "lines", "words", "characters", "bytes" }

local function asked_units(context)
  local units = {}
  for _, unit in ipairs(UNITS) do
    if context.lower:find(unit:sub(1, -2), 1, true) then
      units[#units + 1] = unit
    end
  end
  if #units > 0 then
    return units
  elseif any_of(context.lower, { "how big", "size", "large", "small", "bigg" })
  then
    return { "bytes" }
  elseif any_of(context.lower, { "how long", "long", "short" }) then
    return { "lines" }
  end
  return UNITS
end

local function measured(known, units)
  local parts = {}
  for _, unit in ipairs(units) do
    local count = known.measures[unit]
    if count then
      parts[#parts + 1] = plural(count, (unit:gsub("s$", "")))
    end
  end
  return #parts > 0 and listed(parts) or nil
end

local compare = { name = "compare" }

function compare.fits(context)
  return #context.files >= 2 and context.tools.read
    and any_of(context.lower, { "compar", "differ", "versus", "%f[%a]vs%f[%A]",
      "longer", "bigger", "larger", "shorter", "smaller" })
end

function compare.wants(context)
  return calls_for(context.tools.read, context.files)
end

local function common_lines(a, b)
  local seen, count = {}, 0
  for _, line in ipairs(facts.lines_of(a.content)) do
    if line:find("%w") then
      seen[line] = true
    end
  end
  for _, line in ipairs(facts.lines_of(b.content)) do
    if seen[line] then
      count = count + 1
      seen[line] = nil
    end
  end
  return count
end

local function compare_two(a, b)
  if a.content == b.content then
    return ("%s and %s have the same content."):format(a.path, b.path)
  end
  local more = a.facts.lines - b.facts.lines
  local lead = more == 0 and "Both have the same number of lines"
    or ("%s is longer by %s"):format(more > 0 and a.path or b.path,
      plural(math.abs(more), "line"))
  return ("%s; they have %s in common."):format(lead,
    plural(common_lines(a, b), "line"))
end

function compare.answer(context)
  local answer, readable = {}, {}
  for _, path in ipairs(context.files) do
    local known = known_of(context, path)
    if known.content then
      readable[#readable + 1] = known
      answer[#answer + 1] = ("%s has %s and begins with “%s”."):format(path,
        measured(known, { "lines", "words", "bytes" }),
        clip(known.facts.first or "", 100))
    else
      answer[#answer + 1] = failed(known)
    end
  end
  if #readable == 2 then
    answer[#answer + 1] = compare_two(readable[1], readable[2])
  end
  return table.concat(answer, " ")
end

local extreme = { name = "extreme" }

local SMALL = { "smallest", "shortest", "fewest" }
local LARGE = { "biggest", "largest", "longest", "most lines", "most words" }

function extreme.fits(context)
  return context.tools.list and measure_tool(context)
    and (any_of(context.lower, SMALL) or any_of(context.lower, LARGE))
end

function extreme.wants(context)
  if not context.listing then
    return { list_call(context) }
  end
  return calls_for(measure_tool(context), plain_files(context))
end

function extreme.answer(context)
  local unit = asked_units(context)[1]
  local is_small, ranked = any_of(context.lower, SMALL), {}
  for _, path in ipairs(plain_files(context)) do
    local known = known_of(context, path)
    local count = known.measures[unit]
    if count then
      ranked[#ranked + 1] = { path = path, count = count }
    end
  end
  if #ranked == 0 then
    return "I could not measure any file there."
  end
  table.sort(ranked, function(a, b)
    if a.count ~= b.count then
      return (a.count > b.count) ~= is_small
    end
    return a.path < b.path
  end)
  local noun = unit:gsub("s$", "")
  local answer = ("The %s of %s is %s with %s."):format(
    is_small and "smallest" or "largest", plural(#ranked, "file"),
    ranked[1].path, plural(ranked[1].count, noun))
  if ranked[2] then
    answer = answer .. (" Next comes %s with %s."):format(ranked[2].path,
      plural(ranked[2].count, noun))
  end
  return answer
end

local count = { name = "count" }

function count.fits(context)
  return (#context.files > 0 or #context.stems > 0 and context.tools.list)
    and measure_tool(context)
    and any_of(context.lower, { "how many", "how long", "how big", "how large",
      "%f[%a]size", "number of", "count" })
end

-- A name without extension ("the README") needs the listing to become a file.
local function file_wants(context, tool)
  if #context.files == 0 then
    return { list_call(context) }
  end
  return calls_for(tool, context.files)
end

function count.wants(context)
  return file_wants(context, measure_tool(context))
end

-- A count tool that lacks the asked unit leaves it to the content.
function count.more(context)
  local units, calls = asked_units(context), {}
  for _, path in ipairs(context.files) do
    local known = known_of(context, path)
    if context.tools.read and not known.problem
      and not measured(known, units) then
      calls[#calls + 1] = file_call(context.tools.read, path)
    end
  end
  return calls
end

local function no_such_file(context)
  return ("I see no file called “%s” in the listing."):format(
    context.stems[1] or "?")
end

function count.answer(context)
  if #context.files == 0 then
    return no_such_file(context)
  end
  local answer, total = {}, 0
  local units = asked_units(context)
  for _, path in ipairs(context.files) do
    local known = known_of(context, path)
    local text = measured(known, units)
    answer[#answer + 1] = text and ("%s has %s."):format(path, text)
      or failed(known)
    total = total + (known.measures[units[1]] or 0)
  end
  if #context.files > 1 then
    answer[#answer + 1] = ("Together that is %s."):format(
      plural(total, (units[1]:gsub("s$", ""))))
  end
  return table.concat(answer, " ")
end

local read = { name = "read" }

function read.fits(context)
  return (#context.files > 0 or #context.stems > 0 and context.tools.list
    and any_of(context.lower, { "what", "read", "show", "say", "open" }))
    and context.tools.read
end

function read.wants(context)
  return file_wants(context, context.tools.read)
end

local function describe_file(context, known)
  local seen = known.facts
  if not seen.first then
    return ("%s is empty."):format(known.path)
  elseif any_of(context.lower, { "first line", "begin", "start" }) then
    return ("The first line of %s is: “%s”."):format(known.path,
      clip(facts.lines_of(known.content)[1] or "", 200))
  end
  local parts = { ("%s has %s. It begins with “%s”"):format(known.path,
    measured(known, { "lines", "words" }), clip(seen.first, 120)) }
  if seen.second then
    parts[#parts + 1] = (" and goes on: “%s”"):format(clip(seen.second, 160))
  end
  parts[#parts + 1] = "."
  if #seen.headings > 1 then
    parts[#parts + 1] = (" Its headings are: %s."):format(
      first_few(seen.headings))
  end
  if known.is_truncated then
    parts[#parts + 1] = " The tool gave me only a part of it."
  end
  return table.concat(parts)
end

function read.answer(context)
  if #context.files == 0 then
    return no_such_file(context)
  end
  local answer = {}
  for index, path in ipairs(context.files) do
    local known = known_of(context, path)
    answer[index] = known.content and describe_file(context, known)
      or failed(known)
  end
  return table.concat(answer, "\n")
end

local about = { name = "about" }

function about.fits(context)
  return context.tools.list and context.tools.read
    and any_of(context.lower, { "project", "repository", "summar", "overview" })
end

local function telling_file(context)
  for _, entry in ipairs(context.listing or {}) do
    local base = (entry.name:match("([^/]+)$") or entry.name):lower()
    if base:find("^readme") then
      return entry.name
    end
  end
  return plain_files(context)[1]
end

function about.wants(context)
  if not context.listing then
    return { list_call(context) }
  end
  local path = telling_file(context)
  return path and { file_call(context.tools.read, path) } or {}
end

local list = { name = "list" }

function list.fits(context)
  return context.tools.list and (any_of(context.lower, { "files", "folder",
    "director", "%f[%a]list%f[%A]", "%f[%a]ls%f[%A]", "what is here",
    "what's here" }))
end

function list.wants(context)
  return { list_call(context) }
end

local function listing_problem(context)
  for _, result in ipairs(context.results) do
    if result.is_error then
      return "I could not list the files: " .. clip(result.text, 200)
    end
  end
  return "I could not list the files."
end

function list.answer(context)
  if not context.listing then
    return listing_problem(context)
  end
  local files, folders = {}, {}
  for _, entry in ipairs(context.listing) do
    local names = entry.is_directory and folders or files
    names[#names + 1] = entry.name
  end
  if #files + #folders == 0 then
    return "There is nothing there."
  end
  local answer = #files == 1 and "There is 1 file: " .. files[1] .. "."
    or ("There are %s: %s."):format(plural(#files, "file"), first_few(files))
  if #files == 0 then
    answer = "There are no files."
  end
  if #folders > 0 then
    answer = answer .. (" Besides, %s: %s."):format(
      plural(#folders, "folder"), first_few(folders))
  end
  return answer
end

function about.answer(context)
  local path = telling_file(context)
  local known = path and known_of(context, path)
  if not (known and known.content) then
    return list.answer(context)
  end
  return describe_file(context, known) .. " " .. list.answer(context)
end

local other = { name = "other" }

function other.fits()
  return true
end

function other.wants()
  return {}
end

local ABILITIES = {
  { "list", "list files" }, { "read", "read files and tell what is in them" },
  { "info", "count lines and words" }, { "search", "search for a word" },
}

function other.answer(context)
  local can = {}
  for _, ability in ipairs(ABILITIES) do
    if context.tools[ability[1]] then
      can[#can + 1] = ability[2]
    end
  end
  local who = "I am agentwire's scripted model: rules, not a language model."
  if #can == 0 then
    return who .. " No tool that I know how to use was offered, so I can only"
      .. " say that your question arrived."
  end
  return who .. " With the tools I was given I can " .. listed(can)
    .. ". Ask me, for example, which files are here, or what is in one of them."
end

local RULES = {
  change, search, compare, extreme, count, read, list, about, other,
}

local function already(context, wanted)
  for _, result in ipairs(context.results) do
    if result.key == wanted.name .. wanted.arguments_json then
      return true
    end
  end
  return false
end

local function unmade(context, calls)
  local left = {}
  for _, wanted in ipairs(calls) do
    if not already(context, wanted) then
      left[#left + 1] = wanted
    end
  end
  return left
end

-- A listing that resolves a name changes what is wanted, so wants are asked
-- anew each turn; a call that was made is never made again, which ends it.
local function next_calls(rule, context)
  local calls = unmade(context, rule.wants(context))
  if #calls == 0 and rule.more then
    calls = unmade(context, rule.more(context))
  end
  return calls
end

local function used_tools(calls)
  local names, seen = {}, {}
  for _, wanted in ipairs(calls) do
    if not seen[wanted.name] then
      seen[wanted.name] = true
      names[#names + 1] = wanted.name
    end
  end
  return listed(names)
end

--- What to do about a conversation: tool calls to make, or the answer.
---@param request table a decoded stream_request
---@return { rule: string, thinking: string, text: string, calls: table[] }
function M.decide(request)
  local context = question.read(request)
  for _, rule in ipairs(RULES) do
    if rule.fits(context) then
      local calls = next_calls(rule, context)
      if #calls > 0 then
        return {
          rule = rule.name,
          thinking = ("This needs %s with %s."):format(
            plural(#calls, "call"), used_tools(calls)),
          text = #context.results == 0 and "Let me look." or "One more look.",
          calls = calls,
        }
      end
      return {
        rule = rule.name,
        thinking = #context.results == 0 and "No tool is needed for this."
          or ("I have %s to go by."):format(plural(#context.results, "result")),
        text = rule.answer(context),
        calls = {},
      }
    end
  end
end

return M
