-- Reads what an upstream sends, as a transcript, through an adapter's reader.
package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path

local json = require("agentwire.json")
local reconstruct = require("agentwire.provider.reconstruct")
local sse = require("spec.support.sse")

local M = {}

--- One event, `data:` with this table or text.
function M.event(value, name)
  if type(value) == "table" then
    value = json.encode_sorted(value)
  end
  return (name and "event: " .. name .. "\n" or "") .. "data: " .. value .. "\n\n"
end

--- A whole transcript of events, each a table or a text.
function M.events(list)
  local out = {}
  for index, each in ipairs(list) do
    out[index] = M.event(each, type(each) == "table" and each.type or nil)
  end
  return table.concat(out)
end

--- Reads pieces of bytes to their end.
---@return table read events, rec (a reconstructor), message or text, code, details
function M.read(vendor, pieces, settings)
  local read = { events = {}, rec = reconstruct.new { implicit_start = false } }
  settings = settings or {}
  settings.takes = settings.takes or {}
  local reader = vendor.reader {
    settings = settings, request = { model = { id = "m" }, options = {} },
    emit = function(event)
      read.events[#read.events + 1] = event
      assert(read.rec:push(event), "an event that does not fit: " .. event.type)
    end,
  }
  local function take(data, name)
    if read.failed or reader.ended then
      return
    end
    local ok, text, code, details = reader:feed(data, name)
    if not ok then
      read.failed = { text, code, details }
    end
  end
  local splitter = (vendor.lines and sse.lines or sse.new)(take)
  for _, piece in ipairs(pieces) do
    splitter:push(piece)
  end
  if splitter.close then
    splitter:close()
  end
  if read.failed then
    read.text, read.code, read.details = read.failed[1], read.failed[2], read.failed[3]
  else
    read.message, read.text, read.code, read.details = reader:finish()
  end
  read.usage = reader.usage
  read.content = read.rec:message().content
  return read
end

local function pieces_at_random(bytes)
  local pieces, at = {}, 1
  while at <= #bytes do
    local size = math.random(1, 40)
    pieces[#pieces + 1] = bytes:sub(at, at + size - 1)
    at = at + size
  end
  return pieces
end

--- Asserts that cuts change nothing: at each byte, and many at random.
---@return table read of the whole
function M.cut(vendor, bytes, settings)
  local whole = M.read(vendor, { bytes }, settings)
  local function same(pieces, where)
    local read = M.read(vendor, pieces, settings)
    local got, wanted = json.encode_sorted(read.events),
      json.encode_sorted(whole.events)
    assert(got == wanted and read.code == whole.code,
      ("cut %s: %s"):format(where, got))
  end
  for at = 1, #bytes - 1 do
    same({ bytes:sub(1, at), bytes:sub(at + 1) }, "at " .. at)
  end
  for round = 1, 20 do
    same(pieces_at_random(bytes), "at random " .. round)
  end
  return whole
end

--- Asserts that what ends before `marker` has come whole is no success.
function M.ends_early(vendor, bytes, marker, settings)
  local at = assert(bytes:find(marker, 1, true), "no marker in the transcript")
  local after = bytes:find(vendor.lines and "\n" or "\n\n", at, true)
  assert(after, "the marker's event has no end")
  local last = vendor.lines and after - 2 or after
  for size = 0, last do
    local read = M.read(vendor, { bytes:sub(1, size) }, settings)
    assert(not read.message, ("%d of %d bytes are taken for a success"):format(
      size, #bytes))
    assert(read.code == "truncated" or read.code == "provider_error",
      tostring(read.code))
  end
  assert(M.read(vendor, { bytes }, settings).message, "the whole is no success")
end

return M
