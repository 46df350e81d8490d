--- `agentwire help`: carried out by the dispatcher, which knows all commands.
return {
  summary = "This list, or what a command takes",
  takes = { "[COMMAND]" },
  options = {},
}
