-- Upstreams that send anything: a reader says what is wrong and never raises,
-- and what it tells fits the order of a stream's events.
local json = require("agentwire.json")
local reconstruct = require("agentwire.provider.reconstruct")

local NAMES = { "anthropic", "gemini", "ollama", "openai_chat",
  "openai_responses" }

local function read_sample(name)
  local file = assert(io.open("spec/support/samples/" .. name .. ".jsonl"))
  local text = file:read("*a")
  file:close()
  return text
end

local ODD = { function() return json.null end, function() return 7 end,
  function() return -1.5 end, function() return "odd" end,
  function() return "" end, function() return true end,
  function() return json.array {} end, function() return {} end,
  function() return json.array { 1, "x", json.null } end,
  function() return { type = "text", id = 5, name = json.array {} } end }

-- All places in a value: the table and the key of each.
local function places(value, list)
  for key, each in pairs(value) do
    list[#list + 1] = { value, key }
    if type(each) == "table" and each ~= json.null then
      places(each, list)
    end
  end
  return list
end

local function lines_of(sample)
  local lines = {}
  for line in sample:gmatch("[^\n]+") do
    lines[#lines + 1] = json.decode(line)
  end
  return lines
end

-- A sample with some values replaced, events repeated, swapped or left out.
local function spoilt(sample, random)
  local lines = lines_of(sample)
  for _ = 1, random(3) do
    local at = random(#lines)
    local all = places(lines[at], {})
    table.sort(all, function(a, b)
      return tostring(a[2]) < tostring(b[2])
    end)
    local place = all[1] and all[random(#all)]
    if place then
      place[1][place[2]] = ODD[random(#ODD)]()
    end
    if random(4) == 1 then
      table.insert(lines, random(#lines), lines[random(#lines)])
    elseif random(4) == 1 and #lines > 1 then
      table.remove(lines, random(#lines))
    end
  end
  return lines
end

-- The same numbers on each Lua.
local function generator(seed)
  return function(most)
    seed = (seed * 16807) % 2147483647
    return seed % most + 1
  end
end

describe("a request with a forged state", function()
  local function forged(name, text)
    local vendor = require("agentwire.providers." .. name).vendor
    local tag = { api = "a", provider = "p", model = "m", scope = "s" }
    local built = assert(vendor.build({ model = { id = "m" }, options = {},
      context = { messages = { { role = "assistant", state_of = tag, content = {
        { type = "thinking", thinking = "x", provider_state = text },
        { type = "thinking", thinking = "", opaque = "y", provider_state = text },
        { type = "text", text = "x", provider_state = text },
        { type = "tool_call", id = "i", name = "f", arguments_json = "{}",
          provider_state = text } } } } } }, { tag = tag, base_url = "http://x",
      settings = { takes = {}, api_version = "2023-06-01" } }))
    return json.encode(built.body)
  end

  for _, name in ipairs(NAMES) do
    it("is built all the same: " .. name, function()
      for _, text in ipairs { "", "{", "7", "null", "[]", "{}",
        '{"details":7}', '{"details":[7]}', '{"chunk":"x"}', '{"chunk":{"a":1}}',
        '{"field":7}', '{"field":"role"}', '{"id":7,"phase":[]}',
        '{"item":"x"}', '{"item":7}', '{"signature":{}}', '{"citations":7}' } do
        assert.is_string(forged(name, text))
      end
      assert.is_nil(forged(name, '{"field":"role"}'):find('assistantx', 1, true))
    end)
  end
end)

describe("a reader of nonsense", function()
  for _, name in ipairs(NAMES) do
    it("never raises, and tells what fits: " .. name, function()
      local vendor = require("agentwire.providers." .. name).vendor
      local sample, random = read_sample(name), generator(20261127)
      for round = 1, 1500 do
        local lines, fed = spoilt(sample, random), {}
        local rec = reconstruct.new { implicit_start = false }
        local reader = vendor.reader { settings = { takes = {} },
          emit = function(event)
            assert(rec:push(event), event.type .. " does not fit")
          end }
        local ok, problem = pcall(function()
          for _, line in ipairs(lines) do
            fed[#fed + 1] = json.encode(line)
            if fed[#fed] and not reader.ended and not reader:feed(fed[#fed]) then
              return
            end
          end
          if reader:finish() then
            assert(not rec:open_index(), "a block is open behind the end")
          end
        end)
        assert(ok, ("round %d: %s\n%s"):format(round, tostring(problem),
          table.concat(fed, "\n")))
      end
    end)
  end
end)
