--- A conversation as any provider takes it, made from one that was cancelled,
--- cut, trimmed or written by another provider. The one place where that is
--- mended. Pure: what is given stays as it is.
---
--- What comes out: each call has exactly one result directly after it, in the
--- order of the calls; there is no result without a call; nothing is empty;
--- thinking and state are there only for the provider that wrote them.
local call_ids = require("agentwire.providers._call_ids")
local protocol = require("agentwire.provider.protocol")
local state = require("agentwire.providers._state")
local tables = require("agentwire._tables")

local M = {}

local CANCELLED = "cancelled: this call has no result"
local NO_IMAGE = "[an image was left out here: the model takes none]"
local NO_OUTPUT = "(no output)"
local GO_ON = "Go on."

local function is_blank(text)
  return type(text) ~= "string" or not text:find("%S")
end

-- Parts that the provider can take, at least one.
local function parts_of(content, rules, instead)
  if type(content) == "string" then
    content = { { type = "text", text = content } }
  end
  local parts = {}
  for _, part in ipairs(content) do
    if part.type == "image" and rules.images == false then
      parts[#parts + 1] = { type = "text", text = NO_IMAGE }
    elseif part.type == "image" or not is_blank(part.text) then
      parts[#parts + 1] = part
    end
  end
  if #parts == 0 and instead then
    parts[1] = { type = "text", text = instead }
  end
  return parts
end

-- Blocks by type: what is left of one, or nothing.
local KEEP = {}

function KEEP.text(block, is_own)
  if is_own and block.provider_state then
    return block
  end
  return not is_blank(block.text) and { type = "text", text = block.text } or nil
end

-- Without its provider's word for it, thinking is nothing; it is never text.
function KEEP.thinking(block, is_own)
  return is_own and block.provider_state and block or nil
end

function KEEP.tool_call(block, is_own)
  if block.incomplete then
    return nil
  end
  local kept = tables.copy(block)
  kept.provider_state = is_own and block.provider_state or nil
  if not protocol.is_arguments(block.arguments_json) then
    kept.arguments_json = "{}"
  end
  return kept
end

local function blocks_of(message, is_own)
  local blocks = {}
  for _, block in ipairs(message.content) do
    local keep = KEEP[block.type]
    blocks[#blocks + 1] = keep and keep(block, is_own)
  end
  return blocks
end

local function has_matter(blocks)
  for _, block in ipairs(blocks) do
    if block.type ~= "thinking" or block.opaque then
      return true
    end
  end
  return false
end

-- A model that has refused goes on refusing while it sees the turn.
local function without_refused(messages)
  local kept = {}
  for _, message in ipairs(messages) do
    if message.role == "assistant" and message.stop_reason == "refusal" then
      while #kept > 0 and kept[#kept].role ~= "user" do
        table.remove(kept)
      end
      table.remove(kept)
    else
      kept[#kept + 1] = message
    end
  end
  return kept
end

-- The results up to the next answer, by the call's id, in order.
local function results_after(messages, index)
  local results = {}
  for at = index + 1, #messages do
    local message = messages[at]
    if message.role == "assistant" then
      break
    elseif message.role == "tool" then
      local queue = results[message.tool_call_id] or {}
      results[message.tool_call_id] = queue
      queue[#queue + 1] = message
    end
  end
  return results
end

local function add_results(entries, calls, results, rules)
  for _, call in ipairs(calls) do
    local queue = results[call.given_id] or {}
    local result = table.remove(queue, 1)
    entries[#entries + 1] = {
      role = "tool", tool_call_id = call.id, tool_name = call.name, call = call,
      is_error = not result or result.is_error == true,
      content = result and parts_of(result.content, rules, NO_OUTPUT)
        or { { type = "text", text = CANCELLED } },
    }
  end
end

local function add_answer(entries, messages, index, rules, map_id)
  local message = messages[index]
  local is_own = state.fits(message, rules.tag)
  local blocks = blocks_of(message, is_own)
  if not has_matter(blocks) then
    return
  end
  local calls = {}
  for _, block in ipairs(blocks) do
    if block.type == "tool_call" then
      block.given_id, block.id = block.id, map_id(block.id)
      calls[#calls + 1] = block
    end
  end
  entries[#entries + 1] = {
    role = "assistant", content = blocks, is_own = is_own, calls = calls,
    message = message,
  }
  add_results(entries, calls, results_after(messages, index), rules)
end

local function go_on()
  return { role = "user", content = { { type = "text", text = GO_ON } } }
end

---@class agentwire.TranscriptRules
---@field tag table|nil whose state is kept; nil: nobody's
---@field ids table? a rule of `_call_ids`
---@field images boolean? false: images become a note
---@field ends_with_user boolean? an answer at the end is followed by a word
---@field begins_with_user boolean? an answer at the beginning follows one

--- The conversation as entries: `user` and `tool` with `content` (parts),
--- `assistant` with `content` (blocks), `calls`, `is_own` (its state fits), and
--- the `message` it comes from. Calls and results have mapped ids.
---@param messages table[] of a checked request
---@param rules agentwire.TranscriptRules
---@return table[] entries
function M.repair(messages, rules)
  messages = without_refused(messages)
  local map_id = call_ids.mapping(rules.ids or call_ids.rules.any)
  local entries = {}
  for index, message in ipairs(messages) do
    if message.role == "assistant" then
      add_answer(entries, messages, index, rules, map_id)
    elseif message.role == "user" then
      local parts = parts_of(message.content, rules)
      if #parts > 0 then
        entries[#entries + 1] = { role = "user", content = parts }
      end
    end
  end
  if rules.begins_with_user and (entries[1] or {}).role == "assistant" then
    table.insert(entries, 1, go_on())
  end
  local last = entries[#entries]
  if rules.ends_with_user and last and last.role == "assistant"
    and last.message.stop_reason ~= "pause" then
    entries[#entries + 1] = go_on()
  end
  return entries
end

--- Entries in turns that alternate, for providers that demand it: those of the
--- user's side (results first) and those of the model's.
---@param entries table[]
---@return table[] turns {role "user"|"assistant", entries}
function M.turns(entries)
  local turns = {}
  for _, entry in ipairs(entries) do
    local role = entry.role == "assistant" and "assistant" or "user"
    local turn = turns[#turns]
    if not turn or turn.role ~= role then
      turn = { role = role, entries = {} }
      turns[#turns + 1] = turn
    end
    turn.entries[#turn.entries + 1] = entry
  end
  return turns
end

--- The text of parts or blocks, in one string.
---@param content table[]
---@return string
function M.text_of(content)
  local pieces = {}
  for _, part in ipairs(content) do
    pieces[#pieces + 1] = part.type == "text" and part.text or nil
  end
  return table.concat(pieces, "\n")
end

return M
