--- The codec of the wire: exact integers, arrays that stay arrays, `null` the
--- same value as lua-cjson's. docs/json.md has the rules.
return require("agentwire._class").module(require("agentwire.core").json,
  "aw.json")
