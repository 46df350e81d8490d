-- A real nginx with lua-nginx-module, unpacked and not installed, with a folder
-- of its own. Its handlers are in spec/openresty/app.lua.
local process = require("spec.support.process")

local M = {}

-- Where `./dev test openresty` has unpacked it.
local ROOT = os.getenv("AW_NGINX")

local CONF = [[
user root;
daemon off;
worker_processes %(workers);
worker_shutdown_timeout %(shutdown);
load_module %(root)/usr/lib/nginx/modules/ndk_http_module.so;
load_module %(root)/usr/lib/nginx/modules/ngx_http_lua_module.so;
pid %(folder)/nginx.pid;
error_log %(folder)/error.log notice;
env TMPDIR=%(folder);
events { worker_connections 2048; }
http {
  access_log off;
  client_body_temp_path %(folder)/body;
  proxy_temp_path %(folder)/proxy;
  fastcgi_temp_path %(folder)/fastcgi;
  uwsgi_temp_path %(folder)/uwsgi;
  scgi_temp_path %(folder)/scgi;
  lua_package_path "%(path)%(root)/usr/share/lua/5.1/?.lua;;";
  lua_package_cpath "%(cpath);;";
  lua_code_cache %(cache);
  lua_check_client_abort on;
  lua_socket_log_errors off;
  %(init)
  map $http_upgrade $connection_upgrade { default upgrade; "" close; }
  upstream agents { server unix:%(folder)/agent.sock; }
  server {
    listen 127.0.0.1:%(port) reuseport;
    location / {
      default_type text/plain;
      content_by_lua_block {
        require("spec.openresty.app").serve("%(folder)")
      }
      log_by_lua_block { require("spec.openresty.app").log() }
    }
    location = /ping { content_by_lua_block { ngx.say("pong") } }
    location = /pid { content_by_lua_block { ngx.print(ngx.worker.pid()) } }
    location = /guarded {
      access_by_lua_block { require("spec.openresty.app").guard() }
      content_by_lua_block { ngx.say("inside") }
    }
    location /agent {
      proxy_pass http://agents;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_read_timeout 1h;
    }
  }
}
]]

---@class spec.Nginx
local Nginx = {}
Nginx.__index = Nginx

function M.free_port()
  return tonumber(process.shell([[python3 -c 'import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])']]))
end

local function write(name, text)
  local file = assert(io.open(name, "w"))
  file:write(text)
  file:close()
end

--- Starts it in `folder`. `given`: `workers`, `shutdown`, `init`, `cache`.
function M.start(folder, given)
  given = given or {}
  local here = process.shell("pwd")
  local values = {
    root = ROOT, folder = folder, port = M.free_port(),
    workers = given.workers or 2, shutdown = given.shutdown or "10s",
    init = given.init or "", cache = given.cache or "on",
    path = ("%s/lua/?.lua;%s/lua/?/init.lua;%s/?.lua;"):format(here, here, here),
    cpath = here .. "/build/release/lib/lua/5.1/?.so",
  }
  write(folder .. "/nginx.conf", (CONF:gsub("%%%((%w+)%)", values)))
  local server = process.start({ "env", "LD_LIBRARY_PATH=" .. ROOT
    .. "/usr/lib/x86_64-linux-gnu", ROOT .. "/usr/sbin/nginx", "-p", folder,
    "-c", folder .. "/nginx.conf" }, { life_s = 1200 })
  local self = setmetatable({
    port = values.port, folder = folder, process = server,
    url = "http://127.0.0.1:" .. values.port,
  }, Nginx)
  self:eventually("it starts", function()
    return self:get("/ping") == "pong"
  end)
  return self
end

--- The body of an answer, and its status.
function Nginx:get(path, options)
  local text = process.shell(("curl -s -g -m 20 -w '\\n%%{http_code}' %s '%s%s'")
    :format(options or "", self.url, path))
  local body, status = text:match("^(.*)\n(%d+)$")
  return body and body:gsub("\n$", ""), tonumber(status), text
end

--- Waits for what no event tells, for ten seconds at most.
function Nginx:eventually(what, condition)
  for _ = 1, 200 do
    local value = condition()
    if value then
      return value
    end
    process.shell("sleep 0.05")
  end
  error(("waited in vain until %s; %s"):format(what, self:errors()), 2)
end

--- The last lines of the error log.
function Nginx:errors()
  return process.shell("tail -n 20 " .. self.folder .. "/error.log")
end

--- Lines of the error log that match an extended pattern of grep.
function Nginx:logged(pattern)
  return tonumber(process.shell(("grep -cE '%s' %s/error.log || true"):format(
    pattern, self.folder)))
end

--- The numbers of its workers; those that are to end, too.
function Nginx:workers()
  local master = process.shell("cat " .. self.folder .. "/nginx.pid")
  local pids = {}
  for pid in process.shell("pgrep -P " .. master):gmatch("%d+") do
    table.insert(pids, tonumber(pid))
  end
  return pids
end

--- Has it read its configuration again: new workers in place of the old.
function Nginx:reload()
  process.shell("kill -HUP $(cat " .. self.folder .. "/nginx.pid)")
end

--- Ends it and its workers, which nobody would if it was killed.
function Nginx:stop()
  self.process:signal("TERM")
  self.process:wait()
end

--- Asks each worker, as curl comes to either.
function Nginx:each_worker(path)
  local answers, count = {}, 0
  local wanted = #self:workers()
  for _ = 1, 400 do
    local body = self:get(path)
    local pid = body and body:match("^(%d+) ")
    if pid and not answers[pid] then
      answers[pid] = body
      count = count + 1
    end
    if count == wanted then
      return answers
    end
  end
  error("not every worker answered " .. path .. ": " .. self:errors())
end

return M
