std = "min"
max_line_length = 100
self = false

files["spec"] = { std = "min+busted" }
-- The one file that may look for what only some versions have.
files["lua/agentwire/_compat.lua"] = { std = "max" }
