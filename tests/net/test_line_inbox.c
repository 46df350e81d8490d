#include "aw_line_inbox.h"
#include "line_world.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINES_MAX 10
#define BYTES_MAX 1000
#define OUT_MAX 1000
#define LINE_MAX_BYTES 200

static const aw_line_inbox_options limits = {.inbox_lines = LINES_MAX,
                                             .inbox_bytes = BYTES_MAX,
                                             .outbox_bytes = OUT_MAX};
static aw_line_inbox *near, *far;

static aw_line_inbox *new_inbox(aw_line_pipe *lines,
                                const aw_line_inbox_options *options) {
  aw_line_inbox *inbox;
  assert_int_equal(aw_line_inbox_new(&inbox, line_loop, lines, options, NULL),
                   AW_OK);
  return inbox;
}

static void start_pair(const aw_line_inbox_options *options) {
  aw_line_pipe *ends[2];
  assert_int_equal(aw_line_pipe_pair(ends, line_loop, LINE_MAX_BYTES), AW_OK);
  near = new_inbox(ends[0], options);
  far = new_inbox(ends[1], &limits);
}

static aw_line_inbox *start_shell(const char *script, size_t line_max) {
  const char *argv[] = {"sh", "-c", script, NULL}, *why;
  aw_child_options options = {.argv = argv, .kill_after_ms = 100};
  aw_line_pipe *lines;
  assert_int_equal(
      aw_line_pipe_spawn(&lines, line_loop, &options, line_max, &why), AW_OK);
  return new_inbox(lines, &limits);
}

static void free_both(void) {
  aw_line_inbox_free(near);
  aw_line_inbox_free(far);
  near = far = NULL;
}

static int send_bytes(aw_line_inbox *inbox, const char *text, size_t len) {
  size_t at;
  return aw_line_inbox_send(inbox, text, len, &at);
}

static int say(aw_line_inbox *inbox, const char *text) {
  return send_bytes(inbox, text, strlen(text));
}

static aw_line_stats stats_of(const aw_line_inbox *inbox) {
  aw_line_stats stats;
  aw_line_inbox_stats(inbox, &stats);
  return stats;
}

static unsigned events_of(aw_line_inbox *inbox) {
  unsigned events = 0, all = 0;
  aw_source *source;
  while ((source = aw_loop_ready(line_loop, &events)) != NULL) {
    all |= source == aw_line_inbox_source(inbox) ? events : 0;
  }
  return all;
}

static void turn(unsigned times) {
  for (unsigned i = 0; i < times; i++) {
    line_turn(i == 0 ? 50 : 0);
  }
}

/* Takes a line; "" when there is none, and when none will come. */
static const char *take(aw_line_inbox *inbox) {
  static char text[2 * LINE_MAX_BYTES];
  const char *bytes = "";
  size_t len = 0;
  (void)aw_line_inbox_next(inbox, &bytes, &len);
  memcpy(text, bytes, len);
  text[len] = '\0';
  return text;
}

static int look(aw_line_inbox *inbox) {
  const char *bytes;
  size_t len;
  return aw_line_inbox_next(inbox, &bytes, &len);
}

static void until_over(aw_line_inbox *inbox) {
  unsigned events = 0;
  for (int i = 0; i < 400 && (events & AW_LINE_OVER) == 0; i++) {
    line_turn(50);
    events = events_of(inbox);
  }
  assert_int_equal(events & AW_LINE_OVER, AW_LINE_OVER);
  assert_int_equal(aw_line_inbox_state(inbox), AW_LINE_ENDED);
}

static void lines_wait_until_they_are_taken(void **state) {
  (void)state;
  start_pair(&limits);
  assert_int_equal(look(near), AW_E_AGAIN);
  assert_int_equal(say(far, "one"), AW_OK);
  assert_int_equal(say(far, "{\"two\":2}"), AW_OK);
  turn(3);
  assert_int_equal(events_of(near), AW_LINE_READABLE);
  assert_int_equal(stats_of(near).inbox_lines, 2);
  assert_int_equal(stats_of(near).inbox_bytes, 12);
  assert_string_equal(take(near), "one");
  assert_string_equal(take(near), "{\"two\":2}");
  assert_int_equal(look(near), AW_E_AGAIN);
  assert_int_equal(stats_of(near).inbox_bytes, 0);
  assert_int_equal(stats_of(near).bytes_in, 14);
  assert_int_equal(stats_of(far).lines_out, 2);
  free_both();
}

/* At the limit, after it and ten times after it: so many wait and no more, all
 * of them come, and nothing is held in the end. */
static void inbox_holds_so_many_lines(void **state) {
  static const unsigned counts[] = {LINES_MAX, LINES_MAX + 1, 10 * LINES_MAX};
  char expected[16];
  (void)state;
  start_pair(&limits);
  for (size_t i = 0; i < 3; i++) {
    unsigned sent = 0, taken = 0;
    while (taken < counts[i]) {
      for (; sent < counts[i]; sent++) {
        snprintf(expected, sizeof expected, "%u", sent);
        if (say(far, expected) != AW_OK) {
          break;
        }
      }
      turn(3);
      aw_line_stats stats = stats_of(near);
      assert_in_range(stats.inbox_lines, 1, LINES_MAX);
      for (; stats.inbox_lines > 0; stats = stats_of(near)) {
        snprintf(expected, sizeof expected, "%u", taken++);
        assert_string_equal(take(near), expected);
      }
    }
    assert_int_equal(look(near), AW_E_AGAIN);
    assert_int_equal(stats_of(near).inbox_lines, 0);
    assert_int_equal(stats_of(near).inbox_bytes, 0);
    assert_int_equal(stats_of(far).outbox_bytes, 0);
  }
  free_both();
}

static void inbox_holds_so_many_bytes(void **state) {
  char line[LINE_MAX_BYTES];
  unsigned taken = 0;
  (void)state;
  memset(line, 'x', sizeof line);
  aw_line_inbox_options few_bytes = {.inbox_bytes = BYTES_MAX};
  start_pair(&few_bytes);
  for (unsigned sent = 0; taken < 50; turn(3)) {
    while (sent < 50 && send_bytes(far, line, sizeof line) == AW_OK) {
      sent++;
    }
    assert_in_range(stats_of(near).inbox_bytes, 0, BYTES_MAX);
    for (; look(near) == AW_OK; taken++) {
    }
  }
  assert_int_equal(taken, 50);
  assert_int_equal(stats_of(near).inbox_bytes, 0);
  free_both();
}

/* A reader that takes nothing stops its sender, whose bytes are bounded; when
 * it reads again the sender is told. */
static void send_is_refused_until_there_is_room(void **state) {
  char line[LINE_MAX_BYTES];
  (void)state;
  memset(line, 'x', sizeof line);
  start_pair(&limits);
  unsigned sent = 0, refused = 0;
  for (int i = 0; i < 20000 && refused < 3; i++) {
    int rc = send_bytes(far, line, sizeof line);
    assert_true(rc == AW_OK || rc == AW_E_AGAIN);
    sent += rc == AW_OK ? 1 : 0;
    line_turn(0);
    refused = rc == AW_OK ? 0 : refused + 1; /* not just until the next turn */
  }
  assert_int_equal(refused, 3);
  assert_in_range(stats_of(far).outbox_bytes, 1, OUT_MAX + LINE_MAX_BYTES);
  events_of(far);
  for (int i = 0; i < 10; i++) { /* it stays refused */
    assert_int_equal(send_bytes(far, line, sizeof line), AW_E_AGAIN);
    line_turn(0);
  }
  assert_int_equal(events_of(far) & AW_LINE_WRITABLE, 0);
  unsigned taken = 0, events = 0;
  for (int i = 0; i < 20000 && taken < sent; i++) {
    taken += look(near) == AW_OK ? 1 : 0;
    line_turn(0);
    events |= events_of(far);
  }
  assert_int_equal(taken, sent);
  assert_int_equal(events & AW_LINE_WRITABLE, AW_LINE_WRITABLE);
  assert_int_equal(send_bytes(far, line, sizeof line), AW_OK);
  turn(2);
  assert_int_equal(stats_of(far).outbox_bytes, 0);
  free_both();
}

static void what_is_no_line_is_not_sent(void **state) {
  size_t at = 99;
  char line[10 * LINE_MAX_BYTES];
  (void)state;
  memset(line, 'x', sizeof line);
  start_pair(&limits);
  assert_int_equal(aw_line_inbox_send(near, "a\nb", 3, &at), AW_E_INVALID);
  assert_int_equal(at, 1);
  assert_int_equal(aw_line_inbox_send(near, "ab\0\n", 4, &at), AW_E_INVALID);
  assert_int_equal(at, 2);
  assert_int_equal(aw_line_inbox_send(near, "abc\n\0", 5, &at), AW_E_INVALID);
  assert_int_equal(at, 3);
  assert_int_equal(send_bytes(near, line, LINE_MAX_BYTES), AW_OK);
  assert_int_equal(send_bytes(near, line, LINE_MAX_BYTES + 1), AW_E_LIMIT);
  assert_int_equal(send_bytes(near, line, sizeof line), AW_E_LIMIT);
  assert_int_equal(send_bytes(near, "", 0), AW_OK);
  turn(3);
  assert_int_equal(stats_of(near).lines_out, 2);
  assert_int_equal(stats_of(far).lines_in, 1); /* an empty line is none */
  free_both();
}

static void too_long_a_line_is_an_end(void **state) {
  (void)state;
  near = start_shell("echo first; printf '%01000d\\n' 1; exec sleep 1000", 100);
  until_over(near);
  assert_string_equal(take(near), "first");
  assert_int_equal(look(near), AW_E_CLOSED);
  const aw_line_end *end = aw_line_inbox_end(near);
  assert_int_equal(end->cause, AW_LINE_TOO_LONG);
  assert_int_equal(end->error, AW_E_LIMIT);
  assert_string_equal(end->reason,
                      "a line of 1000 bytes came, and 100 is the limit");
  free_both();
}

static void too_long_a_line_may_be_skipped(void **state) {
  const char *argv[] = {"sh", "-c",
                        "for i in 1 2 3 4 5 6 7 8 9 10; do "
                        "printf '%01000d\\n' 1; echo $i; done",
                        NULL};
  aw_child_options child = {.argv = argv};
  aw_line_inbox_options options = {.skips = true};
  const char *why;
  aw_line_pipe *lines;
  char expected[16];
  (void)state;
  assert_int_equal(aw_line_pipe_spawn(&lines, line_loop, &child, 100, &why),
                   AW_OK);
  near = new_inbox(lines, &options);
  unsigned events = 0;
  for (int i = 0; i < 400 && aw_line_inbox_state(near) < AW_LINE_ENDED; i++) {
    line_turn(50);
    events |= events_of(near);
  }
  assert_int_equal(events & AW_LINE_SKIPPED, AW_LINE_SKIPPED);
  assert_int_equal(stats_of(near).skipped, 10);
  assert_int_equal(stats_of(near).skipped_bytes, 10000);
  for (int i = 1; i <= 10; i++) {
    snprintf(expected, sizeof expected, "%d", i);
    assert_string_equal(take(near), expected);
  }
  assert_int_equal(aw_line_inbox_end(near)->cause, AW_LINE_EXITED);
  free_both();
}

static void closing_drops_what_was_not_taken(void **state) {
  (void)state;
  start_pair(&limits);
  assert_int_equal(say(far, "not taken"), AW_OK);
  turn(2);
  assert_int_equal(stats_of(near).inbox_lines, 1);
  aw_line_inbox_close(near);
  assert_int_equal(look(near), AW_E_CLOSED);
  assert_int_equal(stats_of(near).inbox_lines, 0);
  assert_int_equal(stats_of(near).inbox_bytes, 0);
  assert_int_equal(say(near, "x"), AW_E_CLOSED);
  aw_line_inbox_close(near); /* once is enough */
  turn(2);
  assert_int_equal(look(far), AW_E_CLOSED);
  assert_int_equal(aw_line_inbox_end(far)->cause, AW_LINE_EOF);
  assert_int_equal(say(far, "in vain"), AW_OK); /* its way is still open */
  aw_line_inbox_close(far);
  until_over(near);
  assert_int_equal(aw_line_inbox_end(near)->cause, AW_LINE_CLOSED);
  free_both();
}

/* Its reason is how it ended, not that its output has. */
static void child_that_dies_says_how_after_its_lines(void **state) {
  (void)state;
  near = start_shell("echo one; echo two; exit 5", 0);
  until_over(near);
  assert_string_equal(take(near), "one");
  assert_string_equal(take(near), "two");
  assert_int_equal(look(near), AW_E_CLOSED);
  assert_int_equal(aw_line_inbox_end(near)->cause, AW_LINE_EXITED);
  assert_int_equal(aw_line_inbox_end(near)->status, 5);
  free_both();
}

/* More than its inbox and the system's buffers hold. */
static void child_that_floods_waits_for_its_reader(void **state) {
  char expected[16];
  (void)state;
  near = start_shell("exec seq 1 60000", 0);
  unsigned taken = 0;
  for (int i = 0; i < 200000 && taken < 60000; i++) {
    assert_in_range(stats_of(near).inbox_lines, 0, LINES_MAX);
    const char *text = take(near);
    if (text[0] == '\0') {
      line_turn(50);
      continue;
    }
    snprintf(expected, sizeof expected, "%u", ++taken);
    assert_string_equal(text, expected);
  }
  assert_int_equal(taken, 60000);
  until_over(near);
  assert_int_equal(look(near), AW_E_CLOSED);
  free_both();
}

static void child_that_never_reads_refuses_the_sender(void **state) {
  char line[1000];
  (void)state;
  memset(line, 'x', sizeof line);
  near = start_shell("exec sleep 1000", 0);
  int rc = AW_OK, sent = 0;
  for (; rc == AW_OK && sent < 20000; sent++) {
    rc = send_bytes(near, line, sizeof line);
    line_turn(0);
  }
  for (int i = 0; i < 10; i++) {
    rc = send_bytes(near, line, sizeof line);
    assert_int_equal(rc, AW_E_AGAIN);
    line_turn(0);
  }
  assert_in_range(stats_of(near).outbox_bytes, 1, OUT_MAX + 1000);
  assert_int_equal(aw_child_signal(aw_line_inbox_child(near), SIGKILL), AW_OK);
  until_over(near);
  assert_int_equal(aw_line_inbox_end(near)->cause, AW_LINE_KILLED);
  assert_int_equal(stats_of(near).outbox_bytes, 0);
  assert_in_range(stats_of(near).unsent_bytes, 1, OUT_MAX + 1000);
  assert_int_equal(send_bytes(near, line, sizeof line), AW_E_CLOSED);
  free_both();
}

/* Whoever waits for room is told at once that there will be none. */
static void sender_is_woken_when_nobody_reads_any_more(void **state) {
  int in[2], out[2];
  aw_line_pipe *lines;
  (void)state;
  assert_int_equal(pipe(in), 0);
  assert_int_equal(pipe(out), 0);
  assert_int_equal(aw_line_pipe_new(&lines, line_loop, in[0], out[1], NULL, 0),
                   AW_OK);
  near = new_inbox(lines, &limits);
  for (int i = 0; i < 100000 && say(near, "fill it") == AW_OK; i++) {
    line_turn(0);
  }
  line_turn(0);
  events_of(near);
  close(out[0]);
  turn(2);
  assert_int_equal(events_of(near), AW_LINE_WRITABLE);
  assert_int_equal(say(near, "x"), AW_E_CLOSED);
  close(in[1]);
  until_over(near);
  free_both();
}

static void finished_child_answers_to_the_end(void **state) {
  (void)state;
  near = start_shell("exec sort", 0);
  assert_int_equal(say(near, "b"), AW_OK);
  assert_int_equal(say(near, "a"), AW_OK);
  aw_line_inbox_finish(near);
  assert_int_equal(say(near, "c"), AW_E_CLOSED);
  until_over(near);
  assert_string_equal(take(near), "a");
  assert_string_equal(take(near), "b");
  assert_int_equal(look(near), AW_E_CLOSED);
  assert_int_equal(aw_line_inbox_end(near)->error, AW_OK);
  free_both();
}

/* It takes longer than a child that is being ended has. */
static void finished_child_has_its_time(void **state) {
  (void)state;
  near = start_shell("cat > /dev/null; sleep 0.4; echo late", 0);
  aw_line_inbox_finish(near);
  until_over(near);
  assert_string_equal(take(near), "late");
  assert_int_equal(aw_line_inbox_end(near)->cause, AW_LINE_EXITED);
  free_both();
}

static void child_that_closes_its_output_is_ended(void **state) {
  (void)state;
  near = start_shell("echo one; exec >&-; exec sleep 1000", 0);
  until_over(near);
  assert_string_equal(take(near), "one");
  assert_int_equal(aw_line_inbox_end(near)->cause, AW_LINE_TERMINATED);
  free_both();
}

/* Not for each few bytes that the system takes. */
static void sender_waits_until_half_has_gone(void **state) {
  char line[LINE_MAX_BYTES];
  int in[2], out[2];
  aw_line_pipe *lines;
  (void)state;
  memset(line, 'x', sizeof line);
  aw_line_inbox_options large = {.outbox_bytes = 100000};
  assert_int_equal(pipe(in), 0);
  assert_int_equal(pipe(out), 0);
  assert_int_equal(aw_line_pipe_new(&lines, line_loop, in[0], out[1], NULL, 0),
                   AW_OK);
  near = new_inbox(lines, &large);
  for (int i = 0; i < 3; i++) { /* the pipe is full, and so is the outbox */
    for (int j = 0; j < 1000 && send_bytes(near, line, sizeof line) == AW_OK;
         j++) {
    }
    line_turn(0);
  }
  assert_int_equal(send_bytes(near, line, sizeof line), AW_E_AGAIN);
  size_t before = stats_of(near).outbox_bytes;
  while (before > 50000) {
    char taken[4096];
    assert_int_equal(send_bytes(near, line, sizeof line), AW_E_AGAIN);
    assert_true(read(out[0], taken, sizeof taken) > 0);
    line_turn(0);
    before = stats_of(near).outbox_bytes;
  }
  assert_int_equal(events_of(near), AW_LINE_WRITABLE);
  assert_int_equal(send_bytes(near, line, sizeof line), AW_OK);
  close(in[1]);
  close(out[0]);
  free_both();
}

static aw_line_inbox *new_or_null(aw_line_pipe *lines) {
  aw_line_inbox *inbox = NULL;
  int rc = aw_line_inbox_new(&inbox, line_loop, lines, &limits, NULL);
  assert_true(rc == AW_OK || rc == AW_E_NOMEM);
  assert_true((rc == AW_OK) == (inbox != NULL));
  return inbox;
}

/* Lines come in order, or the end says that there is no memory. */
static void talk_short_of_memory(void) {
  aw_line_pipe *ends[2];
  if (aw_line_pipe_pair(ends, line_loop, LINE_MAX_BYTES) != AW_OK) {
    return;
  }
  near = new_or_null(ends[0]);
  far = new_or_null(ends[1]);
  unsigned taken = 0;
  char expected[32];
  for (unsigned i = 0; far != NULL && near != NULL && i < 40; i++) {
    snprintf(expected, sizeof expected, "line number %u", i);
    if (say(far, expected) != AW_OK) {
      break;
    }
    turn(i % 16 == 0 ? 2 : 0);
  }
  for (int i = 0; near != NULL && i < 100; i++, line_turn(0)) {
    const char *text = take(near);
    snprintf(expected, sizeof expected, "line number %u", taken);
    if (text[0] != '\0') {
      assert_string_equal(text, expected);
      taken++;
    }
  }
  if (near != NULL && aw_line_inbox_end(near) != NULL && far != NULL) {
    assert_int_equal(aw_line_inbox_end(near)->error, AW_E_NOMEM);
  }
  free_both();
}

static void each_allocation_may_fail(void **state) {
  aw_loop *outer = line_loop;
  failing_mem failing;
  bool failed = true;
  (void)state;
  for (size_t at = 1; failed && at < 200; at++) {
    failing_mem_init(&failing, 0);
    assert_int_equal(aw_loop_new(&line_loop, &failing.mem), AW_OK);
    failing.fail_at = failing.calls + at;
    talk_short_of_memory();
    failed = failing.calls >= failing.fail_at;
    aw_loop_free(line_loop);
    assert_int_equal(failing.live, 0);
  }
  assert_false(failed);
  line_loop = outer;
}

int main(void) {
  static const struct CMUnitTest tests[] = {
      WITH_LINES(lines_wait_until_they_are_taken),
      WITH_LINES(inbox_holds_so_many_lines),
      WITH_LINES(inbox_holds_so_many_bytes),
      WITH_LINES(send_is_refused_until_there_is_room),
      WITH_LINES(what_is_no_line_is_not_sent),
      WITH_LINES(too_long_a_line_is_an_end),
      WITH_LINES(too_long_a_line_may_be_skipped),
      WITH_LINES(closing_drops_what_was_not_taken),
      WITH_LINES(child_that_dies_says_how_after_its_lines),
      WITH_LINES(child_that_floods_waits_for_its_reader),
      WITH_LINES(child_that_never_reads_refuses_the_sender),
      WITH_LINES(sender_is_woken_when_nobody_reads_any_more),
      WITH_LINES(finished_child_answers_to_the_end),
      WITH_LINES(finished_child_has_its_time),
      WITH_LINES(child_that_closes_its_output_is_ended),
      WITH_LINES(sender_waits_until_half_has_gone),
      WITH_LINES(each_allocation_may_fail),
  };
  signal(SIGPIPE, SIG_DFL); /* the deadly one */
  return cmocka_run_group_tests_name("line_inbox", tests, NULL, NULL);
}
