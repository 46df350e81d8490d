--- The timers of a host: a heap, by deadline and then by age.
local M = {}

local function is_before(a, b)
  if a.deadline ~= b.deadline then
    return a.deadline < b.deadline
  end
  return a.age < b.age
end

local function put(heap, i, timer)
  heap[i] = timer
  timer.index = i
end

local function sift_up(heap, i, timer)
  while i > 1 do
    local parent = (i - i % 2) / 2
    if not is_before(timer, heap[parent]) then
      break
    end
    put(heap, i, heap[parent])
    i = parent
  end
  put(heap, i, timer)
end

local function sift_down(heap, count, i, timer)
  while 2 * i <= count do
    local child = 2 * i
    if child < count and is_before(heap[child + 1], heap[child]) then
      child = child + 1
    end
    if not is_before(heap[child], timer) then
      break
    end
    put(heap, i, heap[child])
    i = child
  end
  put(heap, i, timer)
end

---@class agentwire.HostTimer
---@field deadline number
---@field age integer
---@field fn fun(argument: any)
---@field argument any
---@field index integer? where it stands; nil: it has fired or was cancelled

--- `[1]` is due first.
---@class agentwire.HostTimers
---@field count integer
---@field newest integer the age of the last that was added
local Timers = {}
Timers.__index = Timers

---@return agentwire.HostTimers
function M.new()
  return setmetatable({ count = 0, newest = 0 }, Timers)
end

---@param deadline number
---@param fn fun(argument: any)
---@param argument any
---@return agentwire.HostTimer
function Timers:add(deadline, fn, argument)
  local age, count = self.newest + 1, self.count + 1
  self.newest, self.count = age, count
  local timer = {
    deadline = deadline,
    age = age,
    fn = fn,
    argument = argument,
    index = nil,
  }
  sift_up(self, count, timer)
  return timer
end

--- Idempotent.
---@param timer agentwire.HostTimer
function Timers:remove(timer)
  local heap, count, i = self, self.count, timer.index
  if not i then
    return
  end
  local last = heap[count]
  heap[count] = nil
  count = count - 1
  self.count = count
  timer.index = nil
  if last ~= timer then
    if i > 1 and is_before(last, heap[(i - i % 2) / 2]) then
      sift_up(heap, i, last)
    else
      sift_down(heap, count, i, last)
    end
  end
end

return M
