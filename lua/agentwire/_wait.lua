--- Waiting, in one place: what a task can wait for, and what those who build
--- such things need of the scheduler.
local scheduler = require("agentwire._scheduler")

return {
  -- what is waited for
  waiter = require("agentwire._waiter").new,
  signal = require("agentwire._signal").new,
  latch = require("agentwire._latch").new,
  queue = require("agentwire._queue").new,
  -- the current task, and how its waits begin and end
  current = scheduler.current,
  waiting_task = scheduler.waiting_task,
  check_timeout = scheduler.check_timeout,
  timed_out = scheduler.timed_out,
  park = scheduler.park,
  unpark = scheduler.unpark,
  enqueue = scheduler.enqueue,
  -- words for reports
  error_text = scheduler.error_text,
  place_of = scheduler.place_of,
}
