--- Waiting, in one place: what a task can wait for, and what those who build
--- such things need of the scheduler.
local latches = require("agentwire._latch")
local queues = require("agentwire._queue")
local scheduler = require("agentwire._scheduler")
local signals = require("agentwire._signal")
local waiters = require("agentwire._waiter")

return {
  -- what is waited for
  waiter = waiters.new,
  signal = signals.new,
  latch = latches.new,
  queue = queues.new,
  -- the classes of those that users make
  public = {
    waiter = waiters.public, signal = signals.public, latch = latches.public,
    queue = queues.public,
  },
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
