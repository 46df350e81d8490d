--- The words of a command line, read by a command's own table:
---
---   takes = { "URL", "[JSON]" }      in brackets: may be left out
---   options = { { "--model REF", "what it is for" }, { "--json", "…" } }
---
--- gives `{ URL = …, JSON = …, model = …, json = true }`. The same table makes
--- the help, so that neither knows what the other does not.
local compat = require("agentwire._compat")
local json = require("agentwire.json")
local misuse = require("agentwire._misuse")

local M = {}

-- Every command has it.
M.HELP = { "--help", "this text" }

-- What everybody who lists the processes would read.
local SECRETS = { ["--token"] = true, ["--password"] = true, ["--key"] = true,
  ["--api-key"] = true }

local READERS = {}

function READERS.SECONDS(text)
  local number = tonumber(text)
  if not number or number ~= number or number <= 0 or number > 1e6 then
    return nil, "expected seconds, as in 2.5"
  end
  return number
end

function READERS.COUNT(text)
  local number = tonumber(text)
  if not number or number < 1 or number > 1e6 or number % 1 ~= 0 then
    return nil, "expected a number from 1 on"
  end
  return number
end

-- What goes to a peer has to have a JSON form.
function READERS.TEXT(text)
  if not json.encode(text) then
    return nil, "it is no UTF-8"
  end
  return text
end

READERS.REF, READERS.TOOL = READERS.TEXT, READERS.TEXT

-- A value by its kind; without a reader of its own it is what was written.
local function read_value(kind, text)
  local value, why = text, nil
  if READERS[kind] then
    value, why = READERS[kind](text)
  end
  return value, why
end

--- An option's name as it is written, and of what it takes; no kind: a flag.
---@param option string[]
---@return string flag, string? kind
function M.parts(option)
  local flag, kind = option[1]:match("^(%S+) (%S+)$")
  return flag or option[1], kind
end

--- The name of an option's value in the table that is given.
---@param flag string "--token-env"
function M.key(flag)
  return (flag:gsub("^%-+", ""):gsub("%-", "_"))
end

local function find_option(command, flag)
  local names = {}
  for _, option in ipairs(command.options) do
    local name, kind = M.parts(option)
    if name == flag then
      return M.key(name), kind
    end
    names[#names + 1] = name
  end
  if SECRETS[flag] then
    return nil, flag .. ": others see a command line: give the name of a "
      .. "variable (--token-env NAME) or a file (--token-file FILE)"
  end
  names[#names + 1] = "--help"
  local meant = misuse.nearest(flag, names)
  return nil, ("unknown option %s; %s"):format(flag,
    meant and "did you mean " .. meant .. "?" or "--help lists them")
end

local function read_option(command, given, word, next_word)
  local flag, value = word:match("^(%-%-[^=]+)=(.*)$")
  flag = flag or word
  local key, kind = find_option(command, flag)
  if not key then
    return nil, kind
  elseif given[key] ~= nil then
    return nil, flag .. " is given twice"
  elseif not kind then
    given[key] = true
    return value == nil, value and flag .. " takes no value"
  end
  local takes_next = value == nil
  value = value or next_word
  if value == nil or value == "" then
    return nil, ("%s needs a value: %s"):format(flag, kind)
  end
  local why
  given[key], why = read_value(kind, value)
  return given[key] ~= nil, why and ("%s: %s"):format(flag, why), takes_next
end

-- `given.rest` has the words that "[NAME...]" stands for.
local function place_words(command, given, words)
  local many
  for index, name in ipairs(command.takes) do
    local optional = name:match("^%[(.*)%]$")
    many = name:find("...", 1, true) and index
    local word, why = words[index], nil
    if word == nil and not optional then
      return nil, name .. " is missing"
    elseif word == "" and not many then
      return nil, (optional or name) .. " is empty"
    elseif word and not many then
      given[optional or name], why = read_value(name, word)
    end
    if why then
      return nil, name .. ": " .. why
    end
  end
  if not many and #words > #command.takes then
    return nil, ("unexpected %q"):format(words[#command.takes + 1])
  end
  given.rest = { compat.unpack(words, many or #words + 1) }
  return given
end

--- Reads the words after the command's name.
---@param command table
---@param words string[]
---@return table|nil given
---@return string? problem
function M.read(command, words)
  local given, plain, index = {}, {}, 1
  while words[index] do
    local word = words[index]
    if word == "--" then
      for rest = index + 1, #words do
        plain[#plain + 1] = words[rest]
      end
      break
    elseif word == "--help" or word == "-h" then
      return { help = true }
    elseif word:find("^%-.") and not tonumber(word) then
      local ok, problem, took = read_option(command, given, word,
        words[index + 1])
      if not ok then
        return nil, problem
      end
      index = index + (took and 1 or 0)
    else
      plain[#plain + 1] = word
    end
    index = index + 1
  end
  return place_words(command, given, plain)
end

return M
