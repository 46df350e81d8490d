--- The API's index, made of the docstrings.
---
---   lua tools/api.lua           writes docs/api.md
---   lua tools/api.lua check     as TAP: docs/api.md is what would be written,
---                               each public function has a docstring, each
---                               option a type
local OUT = "docs/api.md"

local function read(path)
  local file = io.open(path, "rb")
  local text = file and file:read("*a")
  if file then
    file:close()
  end
  return text
end

local function lua_files()
  local list = {}
  local pipe = assert(io.popen(
    "find lua/agentwire -name '*.lua' | LC_ALL=C sort"))
  for path in pipe:lines() do
    list[#list + 1] = path
  end
  pipe:close()
  return list
end

-- The comment above a line, without its marks: prose, and what has an @.
local function split_doc(lines)
  local prose, tags = {}, {}
  for _, line in ipairs(lines) do
    local text = line:match("^%-%-%-?%s?(.*)$")
    if text:find("^@") or #tags > 0 then
      tags[#tags + 1] = text
    else
      prose[#prose + 1] = text
    end
  end
  return table.concat(prose, " "):gsub("%s+", " "), tags
end

local function first_sentence(prose)
  return prose:match("^(.-%.)%s") or prose
end

-- One file: its functions by owner, its classes, what it closes as what.
local function scan(path)
  local file = { path = path, functions = {}, classes = {}, seals = {},
    options = {}, requires = {} }
  local doc = {}
  local text = assert(read(path))
  for line in text:gmatch("([^\n]*)\n") do
    local owner, sign, name, arguments =
      line:match("^function ([%w_]+)([.:])([%w_]+)(%b())")
    if line:find("^%-%-") then
      doc[#doc + 1] = line
    else
      if owner and not name:find("^_") then
        local prose, tags = split_doc(doc)
        table.insert(file.functions, { owner = owner, sign = sign, name = name,
          arguments = arguments, prose = prose, tags = tags })
      end
      local alias, module = line:match('^local ([%w_]+) = require%(?%s*"([%w_.]+)"')
      if alias then
        file.requires[alias] = module
      end
      local class, title = line:match('class%.seal%((%w+), "([^"]+)"[,)]')
      if class then
        file.seals[class] = title
      end
      local last
      for _, each in ipairs(doc) do
        local more = last and each:match("^%-%-%- ([^@].*)$")
        if more then
          last.text = last.text .. " " .. more
        end
        local named, rest = each:match("^%-%-%-@class ([%w_.]+)(.*)$")
        if named then
          file.classes[#file.classes + 1] = { name = named, rest = rest,
            fields = {} }
        end
        local field, kind = each:match("^%-%-%-@field ([%w_]+) (.*)$")
        last = more and last or nil
        if field and file.classes[1] then
          last = { name = field, text = kind }
          table.insert(file.classes[#file.classes].fields, last)
        end
      end
      doc = {}
    end
  end
  for body in text:gmatch('spec%("[^"]*", (%b{})') do
    for name in body:sub(2, -2):gsub("%b{}", ""):gsub("%b()", "")
      :gmatch("([%a_][%w_]*) = ") do
      table.insert(file.options, name)
    end
  end
  return file
end

local function waits(fn)
  for _, tag in ipairs(fn.tags) do
    if tag:find("^@async") then
      return true
    end
  end
  return false
end

-- `title.name(arguments)`, and whether it waits.
local function signature(title, sign, name, fn)
  return ("`%s%s%s%s`%s"):format(title, sign, name,
    fn.arguments:gsub("^%(self, ?", "("), waits(fn) and " (waits)" or "")
end

local function put_functions(out, title, list)
  out[#out + 1] = "\n## " .. title .. "\n"
  table.sort(list, function(a, b)
    return a.text < b.text
  end)
  for _, each in ipairs(list) do
    out[#out + 1] = "- " .. each.text
      .. (each.prose ~= "" and ": " .. each.prose or "")
  end
end

local function put_class(out, class)
  out[#out + 1] = "\n## " .. class.name .. "\n"
  for _, field in ipairs(class.fields) do
    out[#out + 1] = ("- `%s` %s"):format(field.name, field.text)
  end
end

local function module_functions(files)
  local found = {}
  for path, file in pairs(files) do
    local text = read(path)
    local title = text:match('class%.module%([^"]-"(aw[%w_.]*)"')
    for name, alias, member in text:gmatch(
      "\n  ([%w_]+) = ([%w_]+)%.([%w_]+),") do
      local module = title and file.requires[alias]
      local base = module and "lua/" .. module:gsub("%.", "/")
      local target = base and (files[base .. ".lua"] or files[base .. "/init.lua"])
      for _, fn in ipairs(target and target.functions or {}) do
        if fn.name == member and fn.sign == "." then
          found[title] = found[title] or {}
          table.insert(found[title], { prose = first_sentence(fn.prose),
            text = signature(title, ".", name, fn) })
        end
      end
    end
    for _, fn in ipairs(title and file.functions or {}) do
      if fn.sign == "." then
        found[title] = found[title] or {}
        table.insert(found[title], { prose = first_sentence(fn.prose),
          text = signature(title, ".", fn.name, fn) })
      end
    end
  end
  return found
end

local function sorted_keys(map)
  local keys = {}
  for key in pairs(map) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  return keys
end

local function collect(files, problems)
  local sections, classes, typed = module_functions(files), {}, {}
  for path, file in pairs(files) do
    for _, fn in ipairs(file.functions) do
      local title = file.seals[fn.owner]
      if title and fn.sign == ":" then
        sections[title] = sections[title] or {}
        table.insert(sections[title], {
          text = signature(title, ":", fn.name, fn),
          prose = first_sentence(fn.prose) })
        if fn.prose == "" and #fn.tags == 0 then
          problems[#problems + 1] = ("%s: %s:%s has no docstring"):format(path,
            fn.owner, fn.name)
        end
      end
    end
    for _, class in ipairs(file.classes) do
      for _, field in ipairs(class.fields) do
        typed[field.name] = true
      end
      if #class.fields > 0 then
        classes[class.name] = class
      end
    end
  end
  for path, file in pairs(files) do
    for _, name in ipairs(file.options) do
      if not typed[name] then
        problems[#problems + 1] = ("%s: option %s has no @field"):format(path,
          name)
      end
    end
  end
  return sections, classes
end

local function write_page(sections, classes)
  local out = { "# API", "",
    "Made by `lua tools/api.lua` of the docstrings: what there is, by name, and",
    "what of it waits: only a task may call that. The other pages explain it." }
  for _, title in ipairs(sorted_keys(sections)) do
    put_functions(out, title, sections[title])
  end
  for _, name in ipairs(sorted_keys(classes)) do
    if name:find("Options$") or name:find("Policy$") or name:find("Limits$")
      or name:find("Request$") or name:find("Definition$")
      or name:find("Call$") or name:find("Result$") or name:find("Start$")
      or name:find("Query$") then
      put_class(out, classes[name])
    end
  end
  return table.concat(out, "\n") .. "\n"
end

local function tap(list, passed, what)
  list.count = (list.count or 0) + 1
  list[#list + 1] = ("%s %d - %s"):format(passed and "ok" or "not ok",
    list.count, what)
  return passed
end

local function main()
  local files, problems = {}, {}
  for _, path in ipairs(lua_files()) do
    files[path] = scan(path)
  end
  local page = write_page(collect(files, problems))
  if arg[1] ~= "check" then
    local file = assert(io.open(OUT, "wb"))
    file:write(page)
    file:close()
    return 0
  end
  table.sort(problems)
  local lines = {}
  local good = tap(lines, #problems == 0,
    "public functions have docstrings, options have types")
  for _, problem in ipairs(problems) do
    lines[#lines + 1] = "# " .. problem
  end
  good = tap(lines, read(OUT) == page,
    "docs/api.md is what tools/api.lua makes of the docstrings") and good
  print("1..2\n" .. table.concat(lines, "\n"))
  return good and 0 or 1
end

os.exit(main())
