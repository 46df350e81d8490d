#include "line_world.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static line_end near, far;

static void say(line_end *end, const char *text) {
  assert_int_equal(aw_line_pipe_send(end->pipe, text, strlen(text)), AW_OK);
}

static void free_both(void) {
  line_free(&near);
  line_free(&far);
}

static bool has_a_line(const line_end *end) {
  return end->upcalls[LINE_LINE] == 1;
}

static void pair_carries_lines_both_ways(void **state) {
  (void)state;
  line_pair(&near, &far, 0);
  say(&near, "to the far end");
  say(&far, "back");
  line_until(has_a_line, &near);
  line_until(has_a_line, &far);
  assert_int_equal(near.bytes, 4);
  assert_int_equal(far.bytes, 14);
  assert_int_equal(aw_line_pipe_pending(near.pipe), 0);
  free_both();
}

/* The peer of a pipe in the test's hand. */
static int to_pipe, from_pipe;

static void start_on_pipes(line_end *end, size_t line_max) {
  int in[2], out[2];
  aw_line_pipe *lines;
  assert_int_equal(pipe(in), 0);
  assert_int_equal(pipe(out), 0);
  to_pipe = in[1];
  from_pipe = out[0];
  assert_int_equal(
      aw_line_pipe_new(&lines, line_loop, in[0], out[1], NULL, line_max),
      AW_OK);
  line_start(end, lines);
}

static void put(const char *text) {
  assert_int_equal(write(to_pipe, text, strlen(text)), strlen(text));
}

static void end_of_input_leaves_the_output_open(void **state) {
  char text[64] = "";
  (void)state;
  start_on_pipes(&near, 0);
  put("last words");
  close(to_pipe);
  line_until(line_has_eof, &near);
  assert_int_equal(near.upcalls[LINE_LINE], 1);
  assert_int_equal(near.bytes, 10);
  assert_int_equal(aw_line_pipe_state(near.pipe), AW_LINE_OPEN);
  for (int i = 0; i < 5; i++) {
    line_turn(1);
  }
  say(&near, "an answer");
  aw_line_pipe_close(near.pipe, AW_LINE_CLOSED, AW_OK, "done");
  line_until(line_has_ended, &near);
  assert_int_equal(read(from_pipe, text, sizeof text), 10);
  assert_string_equal(text, "an answer\n");
  assert_int_equal(near.end.cause, AW_LINE_CLOSED);
  assert_string_equal(near.end.reason, "done");
  close(from_pipe);
  line_free(&near);
}

static void finishing_leaves_the_input_open(void **state) {
  (void)state;
  line_pair(&near, &far, 0);
  say(&near, "the last");
  aw_line_pipe_finish(near.pipe);
  assert_int_equal(aw_line_pipe_send(near.pipe, "x", 1), AW_E_CLOSED);
  line_until(line_has_eof, &far);
  assert_int_equal(far.upcalls[LINE_LINE], 1);
  say(&far, "an answer");
  line_until(has_a_line, &near);
  assert_int_equal(aw_line_pipe_state(near.pipe), AW_LINE_FINISHING);
  aw_line_pipe_finish(far.pipe);
  line_until(line_has_ended, &near);
  line_until(line_has_ended, &far);
  assert_int_equal(near.end.cause, AW_LINE_EOF);
  assert_int_equal(near.end.error, AW_OK);
  assert_int_equal(far.end.cause, AW_LINE_EOF);
  free_both();
}

static void put_numbers(unsigned from, unsigned count) {
  char text[16];
  for (unsigned i = from; i < from + count; i++) {
    snprintf(text, sizeof text, "%u\n", i);
    put(text);
  }
}

/* Also what was read together with the line that paused waits. */
static void pause_lets_no_line_through(void **state) {
  (void)state;
  start_on_pipes(&near, 0);
  near.counts = true;
  near.pause_each = 7;
  put_numbers(0, 700);
  line_turn(100);
  for (unsigned round = 1; round <= 100; round++) {
    assert_int_equal(near.upcalls[LINE_LINE], 7 * round);
    aw_line_pipe_pause(near.pipe, false);
    line_turn(0);
  }
  assert_int_equal(near.upcalls[LINE_LINE], 700);
  assert_int_equal(near.strange, 0);
  assert_int_equal(near.upcalls[LINE_RECEIVED], 1);
  put_numbers(700, 3);
  close(to_pipe);
  line_until(line_has_eof, &near);
  assert_int_equal(near.upcalls[LINE_LINE], 703);
  assert_int_equal(near.strange, 0);
  close(from_pipe);
  line_free(&near);
}

static void paused_pipe_asks_for_nothing(void **state) {
  (void)state;
  start_on_pipes(&near, 0);
  near.pause_each = 1;
  put("one\ntwo\n");
  line_turn(100);
  for (int i = 0; i < 3; i++) {
    line_turn(0);
  }
  assert_int_equal(near.upcalls[LINE_LINE], 1);
  assert_int_equal(aw_loop_timeout_ms(line_loop), -1);
  close(to_pipe);
  close(from_pipe);
  line_free(&near);
}

#define LIMIT 1000

static void line_above_the_limit_is_dropped_and_told(void **state) {
  static const size_t lengths[] = {LIMIT, LIMIT + 1, 10 * LIMIT, LIMIT};
  char line[10 * LIMIT + 1];
  (void)state;
  memset(line, 'x', sizeof line);
  start_on_pipes(&near, LIMIT);
  for (size_t i = 0; i < 4; i++) {
    line[lengths[i]] = '\n';
    assert_int_equal(write(to_pipe, line, lengths[i] + 1), lengths[i] + 1);
    line[lengths[i]] = 'x';
    line_turn(100);
    if (lengths[i] > LIMIT) {
      assert_int_equal(near.upcalls[LINE_DROPPED], i);
      assert_int_equal(near.dropped_error, AW_E_LIMIT);
      assert_int_equal(near.dropped_whole, lengths[i]);
    }
  }
  assert_int_equal(near.upcalls[LINE_DROPPED], 2);
  assert_int_equal(near.upcalls[LINE_LINE], 2);
  assert_int_equal(near.bytes, 2 * LIMIT);
  assert_in_range(aw_line_pipe_held(near.pipe), 0, 8 * LIMIT);
  close(to_pipe);
  close(from_pipe);
  line_free(&near);
}

static void fill_output(line_end *end, unsigned lines) {
  static const char text[1000];
  for (unsigned i = 0; i < lines; i++) {
    assert_int_equal(aw_line_pipe_send(end->pipe, text, sizeof text), AW_OK);
  }
}

static void close_flushes_what_waits(void **state) {
  (void)state;
  line_pair(&near, &far, 0);
  fill_output(&near, 5000);
  aw_line_pipe_close(near.pipe, AW_LINE_CLOSED, AW_OK, "");
  line_until(line_has_eof, &far);
  assert_int_equal(far.upcalls[LINE_LINE], 5000);
  assert_int_equal(far.bytes, 5000000);
  aw_line_pipe_finish(far.pipe);
  line_until(line_has_ended, &near);
  line_until(line_has_ended, &far);
  free_both();
}

static void close_drops_what_comes(void **state) {
  (void)state;
  line_pair(&near, &far, 0);
  fill_output(&far, 5000);
  aw_line_pipe_finish(far.pipe);
  aw_line_pipe_close(near.pipe, AW_LINE_CLOSED, AW_OK, "enough");
  line_until(line_has_ended, &near);
  line_until(line_has_ended, &far);
  assert_int_equal(near.upcalls[LINE_LINE], 0);
  assert_int_equal(near.upcalls[LINE_EOF], 0);
  assert_string_equal(near.end.reason, "enough");
  assert_int_equal(far.end.cause, AW_LINE_EOF);
  free_both();
}

static void output_that_nobody_takes_is_given_up(void **state) {
  (void)state;
  line_pair(&near, &far, 0);
  aw_line_pipe_pause(far.pipe, true);
  fill_output(&near, 5000);
  aw_line_pipe_close(near.pipe, AW_LINE_CLOSED, AW_OK, "");
  line_turn(0);
  assert_int_equal(near.upcalls[LINE_ENDED], 0);
  assert_true(aw_line_pipe_pending(near.pipe) > 0);
  line_hurry();
  assert_int_equal(near.upcalls[LINE_ENDED], 1);
  assert_int_equal(near.end.cause, AW_LINE_STUCK);
  assert_int_equal(near.end.error, AW_E_TIMEOUT);
  assert_int_equal(aw_line_pipe_pending(near.pipe), 0);
  free_both();
}

static void who_stops_reading_is_heard_to_the_end(void **state) {
  (void)state;
  start_on_pipes(&near, 0);
  close(from_pipe);
  say(&near, "nobody reads this");
  line_turn(0);
  assert_int_equal(aw_line_pipe_state(near.pipe), AW_LINE_FAILING);
  assert_int_equal(aw_line_pipe_send(near.pipe, "x", 1), AW_E_CLOSED);
  put("one\ntwo\n");
  line_turn(100);
  assert_int_equal(near.upcalls[LINE_LINE], 2);
  line_hurry(); /* something came meanwhile: once more */
  assert_int_equal(near.upcalls[LINE_ENDED], 0);
  line_hurry();
  assert_int_equal(near.upcalls[LINE_ENDED], 1);
  assert_int_equal(near.end.cause, AW_LINE_LOST);
  assert_int_equal(near.end.error, AW_E_IO);
  close(to_pipe);
  line_free(&near);
}

/* However busy: the time may begin anew so often and no more. */
static void who_writes_for_ever_is_not_heard_for_ever(void **state) {
  unsigned rounds = 0;
  (void)state;
  start_on_pipes(&near, 0);
  close(from_pipe);
  say(&near, "nobody reads this");
  line_turn(0);
  for (; near.upcalls[LINE_ENDED] == 0 && rounds < 100; rounds++) {
    put("more\n");
    line_turn(100);
    line_hurry();
  }
  assert_int_equal(rounds, 30);
  close(to_pipe);
  line_free(&near);
}

static void end_says_how_the_child_ended(void **state) {
  static const struct {
    const char *script;
    unsigned lines;
    enum aw_line_cause cause;
    int error, status;
    const char *reason;
  } cases[] = {
      {"echo one; echo two", 2, AW_LINE_EXITED, AW_OK, 0,
       "exited with status 0"},
      {"echo one; exit 3", 1, AW_LINE_EXITED, AW_E_IO, 3,
       "exited with status 3"},
      {"kill -9 $$", 0, AW_LINE_KILLED, AW_E_IO, 9, "killed by signal 9"},
      {"exec >&-; exec sleep 1000", 0, AW_LINE_TERMINATED, AW_E_IO, 15,
       "had to be terminated"},
  };
  static const aw_child_options soon = {.kill_after_ms = 100};
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    line_shell(&near, cases[i].script, &soon);
    assert_true(aw_child_pid(aw_line_pipe_child(near.pipe)) > 0);
    line_until(line_has_eof, &near);
    aw_line_pipe_finish(near.pipe);
    line_until(line_has_ended, &near);
    assert_int_equal(near.upcalls[LINE_LINE], cases[i].lines);
    assert_int_equal(near.end.cause, cases[i].cause);
    assert_int_equal(near.end.error, cases[i].error);
    assert_int_equal(near.end.status, cases[i].status);
    assert_string_equal(near.end.reason, cases[i].reason);
    line_free(&near);
  }
}

static void own_close_stands_whatever_the_child_does(void **state) {
  static const char *const scripts[] = {"cat", "exec sleep 1000",
                                        "trap '' TERM; echo; exec sleep 1000",
                                        "cat > /dev/null; exit 7"};
  static const aw_child_options soon = {.kill_after_ms = 100};
  (void)state;
  for (size_t i = 0; i < 4; i++) {
    line_shell(&near, scripts[i], &soon);
    line_turn(50);
    aw_line_pipe_close(near.pipe, AW_LINE_CLOSED, AW_OK, "ours");
    line_until(line_has_ended, &near);
    assert_int_equal(near.end.cause, AW_LINE_CLOSED);
    assert_string_equal(near.end.reason, "ours");
    line_free(&near);
  }
}

/* The time that it has to write what is left begins anew while it is read. */
static void child_that_floods_and_dies_is_read_to_its_end(void **state) {
  unsigned before = 0;
  (void)state;
  line_shell(&near, "exec seq 0 99999", NULL);
  near.counts = true;
  near.pause_each = 1000;
  while (!line_has_ended(&near)) {
    line_turn(before == near.upcalls[LINE_LINE] ? 100 : 0);
    before = near.upcalls[LINE_LINE];
    aw_line_pipe_pause(near.pipe, false);
  }
  assert_int_equal(near.upcalls[LINE_LINE], 100000);
  assert_int_equal(near.strange, 0);
  assert_int_equal(near.end.cause, AW_LINE_EXITED);
  line_free(&near);
}

static void child_that_never_reads_can_be_closed(void **state) {
  static const aw_child_options soon = {.kill_after_ms = 50};
  (void)state;
  line_shell(&near, "exec sleep 1000", &soon);
  fill_output(&near, 2000);
  line_turn(0);
  assert_true(aw_line_pipe_pending(near.pipe) > 1000000);
  aw_line_pipe_close(near.pipe, AW_LINE_CLOSED, AW_OK, "");
  line_turn(0);
  line_hurry();
  assert_int_equal(aw_line_pipe_pending(near.pipe), 0);
  line_until(line_has_ended, &near);
  assert_int_equal(near.end.cause, AW_LINE_TERMINATED);
  line_free(&near);
}

static void child_can_be_sent_a_signal(void **state) {
  (void)state;
  line_shell(&near,
             "trap 'echo caught; exit 4' USR1; echo ready;"
             "while :; do sleep 0.01; done",
             NULL);
  line_until(has_a_line, &near);
  aw_child *child = aw_line_pipe_child(near.pipe);
  assert_int_equal(aw_child_signal(child, 9999), AW_E_INVALID);
  assert_int_equal(aw_child_signal(child, SIGUSR1), AW_OK);
  line_until(line_has_eof, &near);
  aw_line_pipe_finish(near.pipe);
  line_until(line_has_ended, &near);
  assert_int_equal(near.upcalls[LINE_LINE], 2);
  assert_int_equal(near.end.status, 4);
  assert_int_equal(aw_child_signal(child, SIGUSR1), AW_E_CLOSED);
  line_free(&near);
}

/* Dead, or not even reaped by whoever inherited it. */
static bool runs(int pid) {
  char name[64], what = 'Z';
  snprintf(name, sizeof name, "/proc/%d/stat", pid);
  FILE *file = fopen(name, "r");
  if (file == NULL) {
    return false;
  }
  assert_int_equal(fscanf(file, "%*d %*s %c", &what), 1);
  fclose(file);
  return what != 'Z' && what != 'X';
}

static int read_pid(const char *name) {
  FILE *file = fopen(name, "r");
  int pid = 0;
  assert_non_null(file);
  assert_int_equal(fscanf(file, "%d", &pid), 1);
  fclose(file);
  return pid;
}

static void until_dead(int pid) {
  for (int i = 0; i < 2000 && runs(pid); i++) {
    line_turn(10);
  }
  assert_false(runs(pid));
}

/* Its grandchild goes with it: at its own end, when it is let go of, when it is
 * sent a signal, and when the loop is. */
static void group_of_a_child_ends_with_it(void **state) {
  static const aw_child_options group = {.own_group = true};
  char name[] = "/tmp/agentwire-test-XXXXXX", script[128];
  (void)state;
  close(mkstemp(name));
  for (int way = 0; way < 3; way++) {
    snprintf(script, sizeof script, "sleep 1000 & echo $! > %s; echo go; %s",
             name, way == 0 ? "exit 0" : "wait");
    line_shell(&near, script, &group);
    line_until(has_a_line, &near);
    int grandchild = read_pid(name);
    if (way == 1) {
      assert_int_equal(aw_child_signal(aw_line_pipe_child(near.pipe), SIGKILL),
                       AW_OK);
    }
    if (way < 2) {
      line_until(line_has_ended, &near);
    }
    line_free(&near);
    until_dead(grandchild);
  }
  unlink(name);
}

static void freeing_the_loop_ends_the_group(void **state) {
  static const aw_child_options group = {.own_group = true};
  char name[] = "/tmp/agentwire-test-XXXXXX", script[128];
  (void)state;
  close(mkstemp(name));
  snprintf(script, sizeof script,
           "trap '' TERM; sleep 1000 & echo $! > %s; echo go; wait", name);
  line_shell(&near, script, &group);
  line_until(has_a_line, &near);
  int grandchild = read_pid(name);
  line_free(&near);
  aw_loop_free(line_loop);
  assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
  assert_int_equal(aw_loop_new(&line_loop, aw_mem_default()), AW_OK);
  until_dead(grandchild);
  unlink(name);
}

static void command_that_does_not_exist_is_an_error(void **state) {
  const char *argv[] = {"agentwire-no-such-command", NULL}, *why;
  const char *none[] = {NULL};
  aw_child_options options = {.argv = argv};
  aw_line_pipe *lines;
  (void)state;
  assert_int_equal(aw_line_pipe_spawn(&lines, line_loop, &options, 0, &why),
                   AW_E_IO);
  assert_null(lines);
  assert_string_equal(why, "no such file or directory");
  options.argv = none;
  assert_int_equal(aw_line_pipe_spawn(&lines, line_loop, &options, 0, &why),
                   AW_E_INVALID);
}

static void descriptor_that_is_not_open_is_refused(void **state) {
  aw_line_pipe *lines;
  int out = open("/dev/null", O_WRONLY);
  (void)state;
  assert_int_equal(aw_line_pipe_new(&lines, line_loop, -1, out, NULL, 0),
                   AW_E_INVALID);
  assert_null(lines);
  assert_int_equal(fcntl(out, F_GETFL), -1); /* owned, also on failure */
}

static void each_upcall_may_free(void **state) {
  (void)state;
  for (enum line_upcall upcall = LINE_LINE; upcall < LINE_UPCALLS; upcall++) {
    if (upcall == LINE_FAILING) {
      continue; /* below */
    }
    line_pair(&near, &far, 10);
    near.free_in = upcall;
    say(&far, "much too long");
    say(&far, "one");
    say(&far, "two");
    aw_line_pipe_finish(far.pipe);
    say(&near, "x");
    for (int i = 0; i < 5; i++) {
      line_turn(1);
    }
    if (near.pipe != NULL) {
      aw_line_pipe_close(near.pipe, AW_LINE_CLOSED, AW_OK, "");
    }
    line_until(line_has_ended, &far);
    assert_null(near.pipe);
    assert_int_equal(near.upcalls[upcall], 1);
    line_free(&far);
  }
}

static bool is_free(const line_end *end) {
  return end->pipe == NULL;
}

static void failing_may_free(void **state) {
  (void)state;
  start_on_pipes(&near, 0);
  near.free_in = LINE_FAILING;
  close(from_pipe);
  say(&near, "nobody reads this");
  put("nor that\n");
  line_until(is_free, &near);
  close(to_pipe);
  line_shell(&near, "exit 0", NULL);
  near.free_in = LINE_FAILING;
  line_until(is_free, &near);
  assert_int_equal(near.upcalls[LINE_FAILING], 1);
}

/* The sender's allocations fail as well as the receiver's; whatever happens,
 * each end ends, and the right lines come in the right order. */
static void run_short_of_memory(void) {
  aw_line_pipe *ends[2];
  if (aw_line_pipe_pair(ends, line_loop, 100) != AW_OK) {
    assert_null(ends[0]);
    assert_null(ends[1]);
    return;
  }
  line_start(&near, ends[0]);
  line_start(&far, ends[1]);
  far.pause_each = 3;
  for (int i = 0; i < 8; i++) {
    (void)aw_line_pipe_send(near.pipe, "a line", 6);
    (void)aw_line_pipe_send(near.pipe, "and another one", 15);
    line_turn(0);
    aw_line_pipe_pause(far.pipe, false);
    line_turn(0);
  }
  aw_line_pipe_close(near.pipe, AW_LINE_CLOSED, AW_OK, "");
  aw_line_pipe_close(far.pipe, AW_LINE_CLOSED, AW_OK, "");
  line_until(line_has_ended, &near);
  line_until(line_has_ended, &far);
  free_both();
}

static void spawn_short_of_memory(void) {
  const char *argv[] = {"true", NULL}, *why;
  aw_child_options options = {.argv = argv};
  aw_line_pipe *lines;
  int rc = aw_line_pipe_spawn(&lines, line_loop, &options, 0, &why);
  if (rc == AW_OK) {
    line_start(&near, lines);
    line_until(line_has_ended, &near);
    line_free(&near);
  } else {
    assert_int_equal(rc, AW_E_NOMEM);
    assert_string_equal(why, "out of memory");
  }
}

/* On a loop of its own, which has its memory. */
static void fail_each_allocation_of(void (*scenario)(void)) {
  aw_loop *outer = line_loop;
  failing_mem failing;
  bool failed = true;
  for (size_t at = 1; failed && at < 200; at++) {
    failing_mem_init(&failing, 0);
    assert_int_equal(aw_loop_new(&line_loop, &failing.mem), AW_OK);
    failing.fail_at = failing.calls + at;
    scenario();
    failed = failing.calls >= failing.fail_at;
    aw_loop_free(line_loop); /* also reaps */
    assert_int_equal(failing.live, 0);
  }
  assert_false(failed);
  line_loop = outer;
}

static void each_allocation_may_fail(void **state) {
  (void)state;
  fail_each_allocation_of(run_short_of_memory);
  fail_each_allocation_of(spawn_short_of_memory);
}

int main(void) {
  static const struct CMUnitTest tests[] = {
      WITH_LINES(pair_carries_lines_both_ways),
      WITH_LINES(end_of_input_leaves_the_output_open),
      WITH_LINES(finishing_leaves_the_input_open),
      WITH_LINES(pause_lets_no_line_through),
      WITH_LINES(paused_pipe_asks_for_nothing),
      WITH_LINES(line_above_the_limit_is_dropped_and_told),
      WITH_LINES(close_flushes_what_waits),
      WITH_LINES(close_drops_what_comes),
      WITH_LINES(output_that_nobody_takes_is_given_up),
      WITH_LINES(who_stops_reading_is_heard_to_the_end),
      WITH_LINES(who_writes_for_ever_is_not_heard_for_ever),
      WITH_LINES(end_says_how_the_child_ended),
      WITH_LINES(own_close_stands_whatever_the_child_does),
      WITH_LINES(child_that_floods_and_dies_is_read_to_its_end),
      WITH_LINES(child_that_never_reads_can_be_closed),
      WITH_LINES(child_can_be_sent_a_signal),
      WITH_LINES(group_of_a_child_ends_with_it),
      WITH_LINES(freeing_the_loop_ends_the_group),
      WITH_LINES(command_that_does_not_exist_is_an_error),
      WITH_LINES(descriptor_that_is_not_open_is_refused),
      WITH_LINES(each_upcall_may_free),
      WITH_LINES(failing_may_free),
      WITH_LINES(each_allocation_may_fail),
  };
  signal(SIGPIPE, SIG_DFL); /* the deadly one */
  return cmocka_run_group_tests_name("line_pipe", tests, NULL, NULL);
}
