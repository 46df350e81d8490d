-- examples/openresty, as a reader would start it.
local aw = require("agentwire")
local link = require("spec.support.link")
local nginx = require("spec.openresty.nginx")
local process = require("spec.support.process")

local ROOT = os.getenv("AW_NGINX")

describe("the example with nginx", function()
  local example, url, port, here, folder

  setup(function()
    here, folder = process.shell("pwd"), process.folder()
    port = nginx.free_port()
    example = process.start { "env", "TMPDIR=" .. folder, "PROGRAM=" .. ROOT .. "/usr/sbin/nginx",
      "MODULES=" .. ROOT .. "/usr/lib/nginx/modules",
      "LD_LIBRARY_PATH=" .. ROOT .. "/usr/lib/x86_64-linux-gnu",
      ("LUA_MODULES=%s/lua/?.lua;%s/lua/?/init.lua;%s/usr/share/lua/5.1/?.lua;")
        :format(here, here, ROOT),
      "LUA_C_MODULES=" .. here .. "/build/release/lib/lua/5.1/?.so",
      "examples/openresty/run.sh", port }
    url = example:expect("^(http://.*)$")
    for _ = 1, 100 do
      if process.shell("curl -s -o /dev/null -w '%{http_code}' " .. url)
        == "401" then
        break
      end
      process.shell("sleep 0.05")
    end
  end)

  teardown(function()
    example:signal("TERM")
    assert.equal(0, example:wait())
    process.stop_all()
    process.remove(folder)
  end)

  local function ask(token, options)
    return process.shell(("curl -s -N -m 10 -H 'Authorization: Bearer %s' "
      .. "-w '%%{http_code}' %s %s/ask"):format(token, options, url))
  end

  it("answers with events, to whom it knows", function()
    local text = ask("token-of-ada", "-d Hello")
    assert.matches("^event: agent_start\ndata: {", text)
    local said = {}
    for delta in text:gmatch('"delta":"([^"]*)"') do
      table.insert(said, delta)
    end
    assert.equal("You asked: Hello", table.concat(said))
    assert.matches('event: result\ndata: {.-"stop_reason":"stop".-}\n\n200$', text)
    assert.matches("401$", ask("wrong", "-d Hello"))
    assert.matches("400$", ask("token-of-bob", ""))
  end)

  it("limits who asks too much", function()
    local codes = process.shell(("curl -s -Z --parallel-max 50 -o /dev/null "
      .. "-w '%%{http_code} ' -d x -H 'Authorization: Bearer token-of-bob' "
      .. "'%s/ask?[1-50]'"):format(url))
    local _, refused = codes:gsub("429", "")
    local _, answered = codes:gsub("200", "")
    assert.is_true(refused > 0 and answered > 0, codes)
    assert.equal(50, refused + answered)
  end)

  it("cancels what nobody waits for any more", function()
    ask("token-of-ada", "--max-time 0.2 -d '" .. ("word "):rep(200) .. "'")
    local told
    for _ = 1, 100 do
      told = process.shell("cat " .. folder .. "/*/error.log")
        :find("a run has ended: cancelled: the client has gone", 1, true)
      if told then
        break
      end
      process.shell("sleep 0.05")
    end
    assert.is_truthy(told)
  end)

  it("passes agentwire on, and says who asks", function()
    link.run(function()
      local conn = assert(aw.connect(("ws://127.0.0.1:%d/agent"):format(port), {
        token = "token-of-bob",
        headers = { ["X-Agent-User"] = "ada" }, -- which nobody believes
      }))
      local session = assert(conn:agent():start {})
      for _ in session:prompt("Hi") do end
      assert.equal("You asked: Hi", session:result().text)
      session:stop()
      conn:close()
      local refused, why = aw.connect(("ws://127.0.0.1:%d/agent"):format(port))
      assert.is_nil(refused)
      assert.matches("401", why)
    end)
  end)
end)
