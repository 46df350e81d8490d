-- A tool server behind NAT: it dials out, registers its tools, and executes
-- what the other side asks for, on the connection that it opened itself.
--
--   lua examples/03_remote_tool.lua
local aw = require("agentwire")

--- The tool server. Elsewhere this is a process of its own, with
--- aw.connect("wss://the.agent.example") instead of an end of a pair.
local function serve_tools(conn)
  local tools = aw.tool.registry()
  tools:add {
    name = "primes",
    description = "The primes up to a limit",
    parameters = {
      type = "object",
      properties = { limit = { type = "integer", minimum = 2 } },
      required = { "limit" },
    },
    handler = function(args, call)
      local found, composite = {}, {}
      for n = 2, args.limit do
        if not composite[n] then
          found[#found + 1] = n
          for multiple = n * n, args.limit, n do
            composite[multiple] = true
          end
        end
        if n % 25 == 0 then
          call:progress(100 * n / args.limit, "at " .. n)
          aw.task.yield() -- a cancellation is noticed where a task waits
        end
      end
      return table.concat(found, " ")
    end,
  }
  return assert(aw.tool.register(conn, tools))
end

aw.run(function()
  local server_end, agent_end = aw.pair()

  -- The agent's side: what peers register becomes a tool source.
  local pool = aw.tool.pool()
  aw.tool.attach(agent_end, nil, { pool = pool })

  local registration = serve_tools(server_end)
  for _, tool in ipairs(pool:list()) do
    print(tool.name .. ": " .. tool.description)
  end

  local result = assert(pool:execute {
    name = "primes",
    args = { limit = 100 },
    on_update = function(update)
      print(("%3d %% %s"):format(update.progress, update.status))
    end,
  })
  print(result.parts[1].text)

  -- Every call has one outcome; a bad one says what was wrong with it.
  local _, why, code = pool:execute { name = "primes", args = { limit = "x" } }
  print(code .. ": " .. why)

  registration:close()
  server_end:close()
end)
