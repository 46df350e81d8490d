-- Servers that are child processes: what is said to their stdin, line by line,
-- and `aw.connect { argv = ... }`.
local aw = require("agentwire")
local envelopes = require("spec.support.envelope")
local link = require("spec.support.link")
local process = require("spec.support.process")

local SERVER = "spec/support/stdio_server.lua"
local ID, envelope = envelopes.ID, envelopes.text

local function request(id, text)
  return envelope {
    stream_id = ID .. id, message_id = ID .. "e1",
    payload = {
      model = { id = "scripted", name = "", api = "", provider = "",
        base_url = "" },
      context = { messages = { { role = "user", timestamp = 0,
        content = text } } },
    },
  }
end

--- The server's next line, decoded.
local function hear(server)
  local line = assert(server:line(), "the server has ended: "
    .. server:errors())
  return assert(aw.json.decode(line))
end

--- A whole stream, to prove that the link is up; nothing may come between.
local function check_alive(server, id, text)
  server:say(request(id, text))
  local said, expected = {}, 1
  repeat
    local message = hear(server)
    assert.equal(ID .. id, message.stream_id)
    assert.equal(expected, message.sequence)
    expected = expected + 1
    said[#said + 1] = message.payload.delta
  until message.type == "result" or message.type == "stream_error"
  assert.equal(text, table.concat(said))
end

-- What is said, the answer's type, its code, and what its text must name.
local CASES = {
  { "text that is no JSON", "hello", "error", "unknown_envelope" },
  { "bytes that are no text", "\255\254\1\2", "error", "unknown_envelope" },
  { "a cut envelope", envelope {}:sub(1, 90), "error", "unknown_envelope" },
  { "an array", "[]", "error", "unknown_envelope", "object" },
  { "no scope key", envelope { stream_id = aw.null }, "error",
    "unknown_envelope", "scope" },
  { "two scope keys", envelope { session_id = ID .. "02" }, "error",
    "unknown_envelope", "scope" },
  { "a scope that is no UUID", envelope { stream_id = "x" }, "error",
    "unknown_envelope", "stream_id" },
  { "a depth bomb", ("["):rep(100000), "error", "unknown_envelope", "deep" },
  { "a deep payload", (envelope { payload = { x = "@" } }:gsub('"@"',
    ("["):rep(200) .. ("]"):rep(200))), "error", "unknown_envelope", "deep" },
  { "a type that is a number", envelope { type = 5 }, "nack",
    "invalid_request", "type" },
  { "no type", envelope { type = aw.null }, "nack", "invalid_request",
    "type" },
  { "an unknown type", envelope { type = "frobnicate" }, "nack",
    "stream_not_found" },
  { "a version that is a string", envelope { version = "1" }, "nack",
    "version_mismatch" },
  { "a sequence that is a string", envelope { sequence = "1" }, "nack",
    "invalid_request", "sequence" },
  { "sequence 0", envelope { sequence = 0 }, "nack", "invalid_sequence" },
  { "a gap", envelope { sequence = 2 }, "nack", "sequence_gap" },
  { "no message id", envelope { message_id = aw.null }, "nack",
    "invalid_request", "message_id" },
  { "no payload", envelope { payload = aw.null }, "nack", "invalid_request",
    "payload" },
  { "a payload that is a string", envelope { payload = "x" }, "nack",
    "invalid_request", "payload" },
  { "a request without a model", envelope {}, "nack", "invalid_request",
    "model" },
  { "a kind that is not served", envelope { stream_id = aw.null,
    session_id = ID .. "03", type = "agent_start" }, "agent_error",
    "invalid_request" },
}

describe("a server on stdin and stdout", function()
  local server

  local function start(options)
    server = process.lua(SERVER, assert(aw.json.encode(options or {})))
    local ready = hear(server)
    assert.equal("ready", ready.type)
    assert.equal("1", ready.protocol_version)
    assert.same({ "agentwire.v1" }, ready.extensions)
    return server
  end

  after_each(process.stop_all)

  it("answers each kind of bad line, and goes on", function()
    start()
    for index, case in ipairs(CASES) do
      local what, line, kind, code, names = case[1], case[2], case[3], case[4],
        case[5]
      server:say(line)
      local answer = hear(server)
      assert.equal(kind, answer.type, what)
      local payload = answer.payload or answer
      assert.equal(code, payload.error_code or payload.code, what)
      local text = payload.reason or payload.message
      assert.equal("string", type(text), what)
      if names then
        assert(text:find(names, 1, true), what .. ": " .. text)
      end
      if kind == "error" then
        assert.equal("1", answer.version, what)
      elseif kind == "nack" then
        assert.equal(ID .. "01", answer.stream_id, what)
      end
      check_alive(server, ("%02x"):format(index + 15), "still here")
    end
  end)

  it("keeps a stream's place among gaps, duplicates and zeros", function()
    start { word_delay_ms = 50 } -- it goes on until it is aborted
    server:say(request("01", ("word "):rep(500)))
    for _, sequence in ipairs { 5, 1, 0 } do
      server:say(envelope { type = "more", sequence = sequence })
    end
    server:say(envelope {
      type = "abort_request", sequence = 2,
      payload = { target_stream_id = ID .. "01" },
    })
    local codes, expected = {}, 1
    local last
    repeat
      last = hear(server)
      assert.equal(expected, last.sequence)
      expected = expected + 1
      codes[#codes + 1] = last.type == "nack" and last.payload.error_code or nil
    until last.type == "stream_error" or last.type == "result"
    assert.same({ "sequence_gap", "duplicate_sequence", "invalid_sequence" },
      codes)
    assert.equal("aborted", last.payload.code)
  end)

  it("skips blank lines and takes CR LF", function()
    start()
    server:say("\n\n\r")
    server:say((request("01", "x"):gsub("\n", "")) .. "\r")
    local first = hear(server)
    assert.equal("ack", first.type)
  end)

  it("skips a line that is too long, says so once, and goes on", function()
    start { message_max = 4096 }
    for index = 1, 3 do
      server:say(("x"):rep(100000))
      local answer = hear(server)
      assert.equal("error", answer.type)
      assert.equal("unknown_envelope", answer.code)
      assert.matches("long", answer.message, 1, true)
      check_alive(server, "0" .. index, "short")
    end
    assert.is_true(server:rss_kb() < 64 * 1024)
  end)

  it("answers a line above 16 MiB with bounded memory", function()
    start()
    check_alive(server, "01", "before")
    local part = ("x"):rep(1024 * 1024)
    for _ = 1, 64 do
      server._in:write(part)
    end
    server:say("")
    assert.equal("unknown_envelope", hear(server).code)
    check_alive(server, "02", "after")
    assert(server:rss_kb() < 96 * 1024, server:rss_kb() .. " KiB")
  end)

  it("ends in order when its stdin ends", function()
    start()
    check_alive(server, "01", "words")
    server._in:close()
    server._in = io.open("/dev/null", "w")
    assert.is_nil(server:line())
    assert.equal(0, server:wait())
  end)

  it("ends in order when nobody says a word", function()
    start()
    server._in:close()
    server._in = io.open("/dev/null", "w")
    assert.is_nil(server:line())
    assert.equal(0, server:wait())
    assert.equal("", server:errors())
  end)

  it("takes lines from a pipe that closes at once", function()
    local lines = table.concat({ "nonsense", request("01", "ab cd") }, "\n")
    local output = process.shell(("printf '%%s\\n' %s | %s %s"):format(
      process.quote(lines), process.interpreter(), SERVER))
    assert.matches('^{"type":"ready"', output)
    assert.matches('"unknown_envelope"', output, 1, true)
  end)
end)

describe("a child process", function()
  local function ask(conn, text)
    local stream = assert(conn:provider():start_stream {
      model = "scripted/scripted",
      messages = { { role = "user", content = text } },
    })
    local message, why, code = stream:result(10000)
    return message and message.content[1].text, why, code
  end

  it("serves whoever started it, and ends with the connection", function()
    link.run(function()
      local conn = assert(aw.connect {
        argv = { process.interpreter(), SERVER },
      })
      assert.is_true(conn:info().extended)
      assert.equal("ünï 🦜", ask(conn, "ünï 🦜"))
      assert.equal("again", ask(conn, "again"))
      conn:close()
      assert(conn:wait_closed(5000))
    end)
  end)

  it("that dies ends every stream with a reason", function()
    local folder = process.folder()
    finally(function()
      process.remove(folder)
    end)
    link.run(function()
      local conn = assert(aw.connect { argv = { "sh", "-c",
        ("echo $$ > %s/pid; exec %s %s"):format(folder, process.interpreter(),
          SERVER) } })
      local stream = assert(conn:provider():start_stream {
        model = "scripted/scripted",
        messages = { { role = "user", content = ("word "):rep(20000) } },
      })
      assert.equal("start", assert(stream:next(5000)).type)
      process.shell(("kill -KILL $(cat %s/pid)"):format(folder))
      local message, why, code = stream:result(5000)
      assert.is_nil(message)
      assert.equal("closed", code)
      assert(why ~= "", "a reason")
      assert(conn:wait_closed(5000))
      assert.equal("closed", conn:state())
    end)
  end)

  for what, command in pairs {
    ["that says nothing and ends"] = { "true" },
    ["that is no server"] = { "echo", "hello" },
    ["that fails"] = { "sh", "-c", "exit 3" },
    ["that does not exist"] = { "/nonexistent/agentwire" },
  } do
    it(what .. " is a failed connect", function()
      link.run(function()
        local conn, why, code = aw.connect({ argv = command },
          { timeout_ms = 5000 })
        assert.is_nil(conn)
        assert.equal("string", type(why))
        assert(why ~= "", "a reason")
        assert(code ~= "timeout", why)
      end)
    end)
  end
end)
