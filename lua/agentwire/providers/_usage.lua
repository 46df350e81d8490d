--- Token counts in the one meaning that docs/wire.md section 4 gives them.
local M = {}

local function count(value)
  value = tonumber(value) or 0
  return value == value and value > 0 and math.floor(value) or 0
end

--- Counts of a provider whose input leaves out what a cache had.
---@param raw { input: any, cache_read: any, cache_write: any, output: any, reasoning: any }
---@return table usage
function M.of(raw)
  local usage = {
    input = count(raw.input), output = count(raw.output),
    cache_read = count(raw.cache_read), cache_write = count(raw.cache_write),
    reasoning = tonumber(raw.reasoning) and count(raw.reasoning),
  }
  usage.total = usage.input + usage.output + usage.cache_read
    + usage.cache_write
  return usage
end

--- Counts of a provider whose input (`prompt`) includes it.
---@param raw { prompt: any, cache_read: any, cache_write: any, output: any, reasoning: any }
---@return table usage
function M.of_whole(raw)
  local read, written = count(raw.cache_read), count(raw.cache_write)
  return M.of {
    input = math.max(0, count(raw.prompt) - read - written),
    cache_read = read, cache_write = written, output = raw.output,
    reasoning = raw.reasoning,
  }
end

return M
