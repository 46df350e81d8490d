-- Real processes for specs: started, spoken to by lines, watched in /proc, and
-- always reaped. Plain Lua can neither fork nor see a pid, so a small shell
-- stands above each process: it prints the pid, waits, and prints the status.
local M = {}

local running = {}

-- A process that outlives its spec for whatever reason ends after this long.
local LIFE_S = tonumber(os.getenv("AW_PROCESS_LIFE_S")) or 280

local SHELL = [[
exec 2>/dev/null
%s
{ %s exec %s; } <%s/in >%s/out 2>%s/err &
pid=$!
echo $pid
timeout %d tail --pid=$pid -f /dev/null >/dev/null 2>&1 </dev/null \
  || kill -KILL $pid 2>/dev/null &
wait $pid
echo "exit $?"
]]

function M.quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

--- The output of a shell command, without its last line break.
function M.shell(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local text = pipe:read("*a")
  pipe:close()
  return (text:gsub("\n$", ""))
end

--- A new empty folder; `M.remove` takes it away.
function M.folder()
  return (M.shell("mktemp -d"))
end

function M.remove(folder)
  M.shell("rm -rf " .. M.quote(folder))
end

--- The interpreter that runs this spec.
function M.interpreter()
  local index = 0
  while arg and arg[index - 1] do
    index = index - 1
  end
  local name = arg and index < 0 and arg[index]
  return name or (rawget(_G, "jit") and "luajit" or "lua5.4")
end

local function environment()
  local path = "./lua/?.lua;./lua/?/init.lua;./?.lua;" .. package.path
  return ("export LUA_PATH=%s LUA_CPATH=%s"):format(M.quote(path),
    M.quote(package.cpath))
end

---@class spec.Process
---@field pid integer
local Process = {}
Process.__index = Process

--- Starts a command (a list of words). `options`: `descriptors`, its ulimit;
--- otherwise as many as there may be; `prefix`, shell words before it.
function M.start(words, options)
  options = options or {}
  local quoted = {}
  for index, word in ipairs(words) do
    quoted[index] = M.quote(tostring(word))
  end
  local folder = M.folder()
  M.shell(("mkfifo %s/in %s/out"):format(folder, folder))
  local limit = ("ulimit -n %s;"):format(options.descriptors
    or '"$(ulimit -H -n)"')
  local command = table.concat(quoted, " ")
  if options.prefix then
    command = options.prefix .. " " .. command
  end
  local handle = assert(io.popen(SHELL:format(environment(), limit, command,
    folder, folder, folder, options.life_s or LIFE_S)))
  local self = setmetatable({
    pid = assert(tonumber(handle:read("*l"))),
    _handle = handle,
    _folder = folder,
    _status = nil,
    _errors = nil,
  }, Process)
  running[self] = true
  self._in = assert(io.open(folder .. "/in", "w"))
  self._in:setvbuf("line")
  self._out = assert(io.open(folder .. "/out", "r"))
  return self
end

--- Starts a Lua script with the interpreter of the spec.
function M.lua(script, ...)
  local words = { M.interpreter(), script, ... }
  local options
  if type(words[#words]) == "table" then
    options = table.remove(words)
  end
  return M.start(words, options)
end

--- Starts a few lines of Lua with the interpreter of the spec.
function M.run_text(text)
  return M.start { M.interpreter(), "-e", text }
end

--- What it wrote to stderr so far.
function Process:errors()
  if self._status ~= nil then
    return self._errors
  end
  local file = io.open(self._folder .. "/err")
  local text = file and file:read("*a") or ""
  if file then
    file:close()
  end
  return text
end

--- Its next line of output; waits for it. nil at the end.
function Process:line()
  return self._out:read("*l")
end

--- Its next line, which has to be there and to match; the captures.
function Process:expect(pattern)
  local line = self:line()
  if not line or not line:find(pattern) then
    error(("expected %q from a process, got %q; stderr: %s"):format(pattern,
      tostring(line), self:errors()), 2)
  end
  return line:match(pattern)
end

function Process:say(text)
  self._in:write(text, "\n")
end

--- Says a line and returns the answering one.
function Process:ask(text)
  self:say(text)
  return self:line()
end

function Process:signal(name)
  if self._status == nil then
    M.shell(("kill -%s %d"):format(name, self.pid))
  end
end

--- Waits until it has ended; its exit status, above 128 for a signal.
function Process:wait()
  if self._status == nil then
    local line = self._handle:read("*l") or ""
    self._errors = self:errors()
    self._status = tonumber(line:match("%d+")) or -1
    self._handle:close()
    self._in:close()
    self._out:close()
    running[self] = nil
    M.remove(self._folder)
  end
  return self._status
end

--- Ends it now. Idempotent.
function Process:stop()
  if self._status == nil then
    self:signal("CONT")
    self:signal("KILL")
  end
  self:wait()
end

local function read_proc(self, name)
  local file = assert(io.open(("/proc/%d/%s"):format(self.pid, name)))
  local text = file:read("*a")
  file:close()
  return text
end

--- Waits until the signals that were sent have been delivered: of two alike one
--- would be lost.
function Process:take_signals()
  for _ = 1, 1000 do
    if not read_proc(self, "status"):find("Pnd:%s*0*[1-9a-f]") then
      return
    end
    M.shell("sleep 0.01")
  end
  error("a signal is not taken", 2)
end

--- How many descriptors it has open.
function Process:descriptors()
  return tonumber(M.shell(("ls /proc/%d/fd | wc -l"):format(self.pid)))
end

function Process:rss_kb()
  return tonumber(read_proc(self, "status"):match("VmRSS:%s*(%d+)"))
end

--- Processor time that it has used, in clock ticks of 10 ms.
function Process:cpu_ms()
  local fields = {}
  for field in read_proc(self, "stat"):match("%) (.*)$"):gmatch("%S+") do
    fields[#fields + 1] = field
  end
  return 10 * (tonumber(fields[12]) + tonumber(fields[13]))
end

--- Ends all that were started and not ended: for `after_each`.
function M.stop_all()
  local left = {}
  for each in pairs(running) do
    left[#left + 1] = each
  end
  for _, each in ipairs(left) do
    each:stop()
  end
end

return M
