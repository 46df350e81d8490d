-- Medians of the runs, as a table and as JSON.
--
--   lua5.4 table.lua FOLDER ROUNDS STREAMS EVENTS RESULTS
--
-- FOLDER has what run.sh wrote, lines of a peer's name, a tab, and the rest:
-- `versions` in the order of the table, `runs` with JSON, `left_out`.
local json = require("agentwire").json

local folder, rounds = arg[1], tonumber(arg[2])
local streams, events, results_path = tonumber(arg[3]), tonumber(arg[4]), arg[5]
local BASE = "agentwire:lua5.4"
local FIGURES = {
  "envelopes_per_s", "server_cpu_us_per_envelope", "client_cpu_us_per_envelope",
}

local HEADING = [[
                                         ratio to  CPU us an envelope
peer                   envelopes/s  agentwire 5.4     server   client]]

local function each_line(name)
  local lines = assert(io.lines(folder .. "/" .. name))
  return function()
    local line = lines()
    if line then
      return line:match("^([^\t]+)\t(.*)$")
    end
  end
end

local function median(values)
  table.sort(values)
  local middle = #values / 2
  local low, high = math.floor(middle + 0.5), math.floor(middle + 1)
  return (values[low] + values[high]) / 2
end

local function read_peers()
  local peers, by_name = {}, {}
  for name, version in each_line("versions") do
    local peer = { peer = name, version = version, runs = {} }
    peers[#peers + 1], by_name[name] = peer, peer
  end
  for name, text in each_line("runs") do
    local run = assert(json.decode(text))
    assert(run.envelopes == streams * events, "a run of another size")
    table.insert(by_name[name].runs, run)
  end
  return peers, by_name
end

-- A peer that failed in a later round has runs, and no figures.
local function summarise(peers, left_out)
  local measured = {}
  for _, peer in ipairs(peers) do
    if not left_out[peer.peer] then
      for _, figure in ipairs(FIGURES) do
        local values = {}
        for i, run in ipairs(peer.runs) do
          values[i] = run[figure]
        end
        peer[figure] = median(values)
      end
      measured[#measured + 1] = peer
    end
  end
  return measured
end

local function print_table(measured)
  print(("\n%d envelopes in %d streams, medians of %d rounds"):format(
    streams * events, streams, rounds))
  print(HEADING)
  for _, peer in ipairs(measured) do
    print(("%-22s %11d  %13s  %9.2f  %7.2f"):format(peer.peer,
      math.floor(peer.envelopes_per_s),
      peer.ratio and ("%.3f"):format(peer.ratio) or "-",
      peer.server_cpu_us_per_envelope, peer.client_cpu_us_per_envelope))
  end
  print()
  for _, peer in ipairs(measured) do
    print(("%-22s %s"):format(peer.peer, peer.version))
  end
end

local left_out, left_out_list = {}, json.array()
for name, reason in each_line("left_out") do
  left_out[name] = reason
  left_out_list[#left_out_list + 1] = { peer = name, reason = reason }
end
local peers, by_name = read_peers()
local measured = summarise(peers, left_out)
local base = by_name[BASE] and by_name[BASE].envelopes_per_s
for _, peer in ipairs(measured) do
  peer.ratio = base and peer.envelopes_per_s / base
end

print_table(measured)
for _, entry in ipairs(left_out_list) do
  print(("%-22s left out: %s"):format(entry.peer, entry.reason))
end

local file = assert(io.open(results_path, "w"))
file:write(json.encode {
  streams = streams, events = events, rounds = rounds,
  peers = measured, left_out = left_out_list,
}, "\n")
file:close()
print("\n" .. results_path)
