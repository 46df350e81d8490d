--- Short names that follow from a text: the same text, the same name, in every
--- process. Not for secrets: what is hashed can be guessed from it.
local M = {}

local DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

-- Below 2^21, so that a product with 32 bits is exact in a double.
local FACTORS = { 1299709, 1540483 }

local function mix(text, factor)
  local sum = 2166136261
  for index = 1, #text do
    sum = ((sum + text:byte(index)) * factor + index) % 4294967296
  end
  return sum
end

--- 16 hexadecimal digits.
---@param text string
---@return string
function M.hex(text)
  return ("%08x%08x"):format(mix(text, FACTORS[1]), mix(text, FACTORS[2]))
end

--- Four hexadecimal digits: enough to tell a few texts apart, too few to find
--- one by.
---@param text string
---@return string
function M.tag(text)
  return ("%04x"):format(mix(text, FACTORS[1]) % 65536)
end

--- `count` letters and digits, at most 12.
---@param text string
---@param count integer
---@return string
function M.letters(text, count)
  local out = {}
  for half = 1, 2 do
    local number = mix(text, FACTORS[half])
    for _ = 1, 6 do
      local digit = number % 36
      out[#out + 1] = DIGITS:sub(digit + 1, digit + 1)
      number = (number - digit) / 36
    end
  end
  return table.concat(out, "", 1, count)
end

return M
