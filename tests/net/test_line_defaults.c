/* The limits of lines, of children and of links over them that are told none,
 * by what they do: each is the one that DESIGN.md section 5 has. Times are read
 * off the loop, which knows how long it may sleep. */
#include "aw_line_inbox.h"
#include "aw_process.h"
#include "line_world.h"
#include <stdlib.h>
#include <string.h>

static void assert_due_in(int ms) {
  for (int turns = 0; turns < 20; turns++) {
    line_turn(1);
  }
  assert_in_range(aw_loop_timeout_ms(line_loop), ms * 9 / 10, ms);
}

static void start_pair(aw_line_inbox *inboxes[2]) {
  aw_line_pipe *ends[2];
  const aw_line_inbox_options none = {0};
  assert_int_equal(aw_line_pipe_pair(ends, line_loop, 0), AW_OK);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(
        aw_line_inbox_new(&inboxes[i], line_loop, ends[i], &none, NULL), AW_OK);
  }
}

static void free_pair(aw_line_inbox *inboxes[2]) {
  aw_line_inbox_free(inboxes[0]);
  aw_line_inbox_free(inboxes[1]);
}

/* Sends lines of `len` bytes until there is no room; the other end reads what
 * it likes meanwhile. Returns how many. */
static unsigned fill(aw_line_inbox *inbox, size_t len, bool turns) {
  char *text = calloc(1, len);
  unsigned count = 0;
  size_t at = 0;
  memset(text, 'x', len);
  while (count < 100000 && aw_line_inbox_send(inbox, text, len, &at) == AW_OK) {
    count++;
    if (turns) {
      line_turn(0);
    }
  }
  free(text);
  return count;
}

static void line_has_16_mib(void **state) {
  aw_line_inbox *ends[2];
  (void)state;
  start_pair(ends);
  assert_int_equal(aw_line_inbox_line_max(ends[0]), 16u << 20);
  free_pair(ends);
}

static void a_thousand_lines_and_24_wait_to_be_taken(void **state) {
  aw_line_inbox *ends[2];
  aw_line_stats stats;
  (void)state;
  start_pair(ends);
  (void)fill(ends[0], 1, false);
  for (int turns = 0; turns < 50; turns++) {
    line_turn(1);
  }
  aw_line_inbox_stats(ends[1], &stats);
  assert_int_equal(stats.inbox_lines, 1024);
  free_pair(ends);
}

static void inbox_has_1_mib(void **state) {
  aw_line_inbox *ends[2];
  aw_line_stats stats;
  (void)state;
  start_pair(ends);
  (void)fill(ends[0], 60000, true);
  aw_line_inbox_stats(ends[1], &stats);
  assert_in_range(stats.inbox_bytes, 1u << 20, (1u << 20) + 60000);
  free_pair(ends);
}

static void outbox_has_1_mib(void **state) {
  aw_line_inbox *ends[2];
  aw_line_stats stats;
  (void)state;
  start_pair(ends);
  (void)fill(ends[0], 60000, false);
  aw_line_inbox_stats(ends[0], &stats);
  assert_in_range(stats.outbox_bytes, 1u << 20, (1u << 20) + 60001);
  free_pair(ends);
}

static void count_due_in_2_s(uv_handle_t *handle, void *arg) {
  if (handle->type == UV_TIMER && uv_is_active(handle)) {
    uint64_t left = uv_timer_get_due_in((uv_timer_t *)handle);
    *(unsigned *)arg += left > 1800 && left <= 2000;
  }
}

/* Until it is killed, and until its output is given up. */
static void child_has_2_s_to_end_by_itself(void **state) {
  line_end end = {0};
  (void)state;
  line_shell(&end, "trap '' TERM; exec sleep 60", &(aw_child_options){0});
  line_turn(10);
  aw_line_pipe_close(end.pipe, AW_LINE_CLOSED, AW_OK, "test");
  line_turn(1);
  unsigned due = 0;
  uv_walk(aw_loop_uv(line_loop), count_due_in_2_s, &due);
  assert_int_equal(due, 2);
  line_free(&end);
}

static void child_has_10_s_to_be_ready(void **state) {
  const char *argv[] = {"sleep", "60", NULL};
  const aw_process_options options = {.child = {.argv = argv},
                                      .extended = true};
  const char *why = NULL;
  aw_transport *t = NULL;
  (void)state;
  assert_int_equal(aw_process_new(line_loop, &options, &t, &why), AW_OK);
  assert_due_in(10000);
  aw_transport_free(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH_LINES(line_has_16_mib),
      WITH_LINES(a_thousand_lines_and_24_wait_to_be_taken),
      WITH_LINES(inbox_has_1_mib),
      WITH_LINES(outbox_has_1_mib),
      WITH_LINES(child_has_2_s_to_end_by_itself),
      WITH_LINES(child_has_10_s_to_be_ready),
  };

  return cmocka_run_group_tests_name("line_defaults", tests, NULL, NULL);
}
