-- What both ends of the lua-http peer share.
local cjson = require("cjson")

local M = { DELTA = "fifteen letters" }

-- lua-http 0.4 does not wait for the rest of a frame of more than 125 bytes:
-- `receive` raises if TCP has cut it. So the client grants credit, and what is
-- in flight fits any window and segment, where nothing is cut.
M.WINDOW = 128
M.GRANT = 64

--- A random UUID, version 4.
function M.new_id()
  local random = math.random
  return ("%08x-%04x-4%03x-a%03x-%06x%06x"):format(random(0, 0x7fffffff),
    random(0, 0xffff), random(0, 0xfff), random(0, 0xfff),
    random(0, 0xffffff), random(0, 0xffffff))
end

--- The envelope as text.
function M.envelope(kind, stream_id, sequence, payload)
  return cjson.encode {
    type = kind,
    stream_id = stream_id,
    message_id = M.new_id(),
    sequence = sequence,
    timestamp = os.time() * 1000,
    version = 1,
    payload = payload,
  }
end

--- CPU time of this process in microseconds, user and system.
function M.cpu_us()
  return os.clock() * 1e6
end

return M
