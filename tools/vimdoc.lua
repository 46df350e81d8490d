--- Neovim's help file, made of docs/neovim.md.
---
---   lua tools/vimdoc.lua           writes doc/agentwire.txt
---   lua tools/vimdoc.lua check     as TAP: that it is what would be written
local IN, OUT = "docs/neovim.md", "doc/agentwire.txt"
local WIDTH = 78

local function read(path)
  local file = io.open(path, "rb")
  local text = file and file:read("*a")
  if file then
    file:close()
  end
  return text
end

-- Columns of text, not bytes.
local function width(text)
  local _, count = text:gsub("[^\128-\191]", "")
  return count
end

-- Links are their texts; what would be a tag or a link of the help's is not.
local function plain(text)
  return (text:gsub("%[(.-)%]%(.-%)", "%1"):gsub("%*%*", ""):gsub("[*|]", ""))
end

-- Lines of words, the first with `head` before it, the others indented alike.
local function wrap(out, text, head, indent)
  local line, is_empty = head, true
  for word in text:gmatch("%S+") do
    if not is_empty and width(line) + 1 + width(word) > WIDTH then
      out[#out + 1] = line
      line, is_empty = indent, true
    end
    line = line .. (is_empty and "" or " ") .. word
    is_empty = false
  end
  out[#out + 1] = line
end

local function tag_of(title)
  return "*agentwire-" .. title:lower():gsub("[^%w]+", "-") .. "*"
end

local function put_heading(out, level, title)
  local tag = level == 1 and "*agentwire*" or tag_of(title)
  title = level == 1 and title or title:upper()
  out[#out + 1] = ("="):rep(WIDTH)
  out[#out + 1] = title
    .. (" "):rep(math.max(1, WIDTH - width(title) - width(tag))) .. tag
end

local function cells_of(line)
  local cells = {}
  for cell in line:sub(2):gmatch("%s*(.-)%s*|") do
    cells[#cells + 1] = cell
  end
  return cells
end

-- A row is an entry: its first cell on a line, what the others say below.
local function put_row(out, line, head)
  local cells = cells_of(line)
  if not head then
    return cells
  elseif not line:find("[^|%s-]") then
    return head
  end
  out[#out + 1] = plain(cells[1])
  for index = 2, #cells do
    if cells[index] ~= "" then
      local name = #cells > 2 and head[index] ~= "" and head[index] .. ": " or ""
      wrap(out, name .. plain(cells[index]), "    ", "    ")
    end
  end
  return head
end

local function put_block(out, lines)
  out[#out + 1] = ">"
  for _, line in ipairs(lines) do
    out[#out + 1] = line == "" and "" or "    " .. line
  end
  out[#out + 1] = "<"
end

local function convert(text)
  local out, block, paragraph, head = {}, nil, {}, nil
  local function end_paragraph()
    if #paragraph > 0 then
      local joined = table.concat(paragraph, " ")
      local mark, rest = joined:match("^(%- )(.*)$")
      wrap(out, plain(rest or joined), mark or "", mark and "  " or "")
      paragraph = {}
    end
  end
  for line in text:gmatch("([^\n]*)\n") do
    local level, title = line:match("^(#+) (.*)$")
    if line:find("^```") then
      end_paragraph()
      if block then
        put_block(out, block)
      end
      block = not block and {} or nil
    elseif block then
      block[#block + 1] = line
    elseif level then
      put_heading(out, #level, title)
    elseif line:find("^|") then
      head = put_row(out, line, head)
    elseif line == "" then
      end_paragraph()
      head = nil
      out[#out + 1] = ""
    else
      if line:find("^%- ") then
        end_paragraph()
      end
      paragraph[#paragraph + 1] = line
    end
  end
  end_paragraph()
  return table.concat(out, "\n")
end

local function page()
  return "*agentwire.txt*  AI agents over the wire\n\n"
    .. convert(assert(read(IN)))
    .. "\n\nvim:tw=78:ts=8:noet:ft=help:norl:\n"
end

if arg[1] == "check" then
  local same = read(OUT) == page()
  print("1..1")
  print((same and "ok" or "not ok") .. " 1 - " .. OUT
    .. " is what tools/vimdoc.lua makes of " .. IN)
  os.exit(same and 0 or 1)
end
local file = assert(io.open(OUT, "wb"))
file:write(page())
file:close()
