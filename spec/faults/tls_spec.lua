-- Certificates that must not be trusted, made by the openssl tool.
local aw = require("agentwire")
local lab = require("spec.support.lab")
local link = require("spec.support.link")
local process = require("spec.support.process")

local folder

local function openssl(words, ...)
  local said = process.shell(("cd %s && openssl %s"):format(folder,
    words:format(...)))
  return said
end

local function make_ca(name)
  openssl("req -x509 -newkey rsa:2048 -nodes -keyout %s.key -out %s.pem "
    .. "-days 2 -subj '/CN=%s'", name, name, name)
end

--- A certificate for `names` (an extension's value), signed by a CA; `when` is
--- its dates, as `openssl ca` takes them.
local function make_certificate(name, ca, names, when)
  openssl("req -newkey rsa:2048 -nodes -keyout %s.key -out %s.csr "
    .. "-subj '/CN=%s'", name, name, name)
  local file = assert(io.open(folder .. "/" .. name .. ".cnf", "w"))
  file:write(([[
[ca]
default_ca = lab
[lab]
database = %s.db
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
x509_extensions = names
[any]
commonName = supplied
[names]
subjectAltName = %s
]]):format(name, names))
  file:close()
  process.shell(("touch %s/%s.db"):format(folder, name))
  local said = openssl("ca -batch -notext -config %s.cnf -cert %s.pem "
    .. "-keyfile %s.key -in %s.csr -out %s.pem %s", name, ca, ca, name, name,
    when or "-days 2")
  local made = io.open(folder .. "/" .. name .. ".pem")
  assert(made and made:read(1), said)
  made:close()
end

local function serve(name)
  return lab.server {
    listen = "wss://127.0.0.1:0",
    tls = {
      cert_file = folder .. "/" .. name .. ".pem",
      key_file = folder .. "/" .. name .. ".key",
    },
  }
end

local CASES = {
  { "that has expired", "expired", "ca", "expired" },
  { "that is not valid yet", "early", "ca", "not yet valid" },
  { "for another name", "other", "ca", "mismatch" },
  { "of an unknown CA", "good", "stranger", "certificate" },
}

describe("a certificate", function()
  setup(function()
    folder = process.folder()
    make_ca("ca")
    make_ca("stranger")
    make_certificate("good", "ca", "IP:127.0.0.1,DNS:localhost")
    make_certificate("other", "ca", "DNS:other.example")
    make_certificate("expired", "ca", "IP:127.0.0.1",
      "-startdate 20200101000000Z -enddate 20200201000000Z")
    make_certificate("early", "ca", "IP:127.0.0.1",
      "-startdate 20990101000000Z -enddate 20990201000000Z")
  end)

  teardown(function()
    process.remove(folder)
  end)

  after_each(process.stop_all)

  local function connect(server, ca)
    return aw.connect("wss://127.0.0.1:" .. server.port,
      { tls = { ca_file = folder .. "/" .. ca .. ".pem" }, timeout_ms = 5000 })
  end

  it("that is good is trusted", function()
    local server = serve("good")
    link.run(function()
      local conn = assert(connect(server, "ca"))
      assert(lab.read(conn, { who = "tls", count = 500, size = 100 }))
      conn:close()
      conn:wait_closed(2000)
    end)
  end)

  for _, case in ipairs(CASES) do
    local what, name, ca, says = case[1], case[2], case[3], case[4]
    it(what .. " is refused, and the message says why", function()
      local server = serve(name)
      link.run(function()
        local conn, why, code = connect(server, ca)
        assert.is_nil(conn)
        assert(code ~= "timeout", why)
        assert(why:lower():find(says, 1, true), why)
      end)
    end)
  end
end)
