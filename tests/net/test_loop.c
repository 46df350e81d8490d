#include "aw_memory.h"
#include "aw_stdio.h"
#include "transport_suite.h"
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct counter counter;

struct counter {
  aw_flush flush;
  aw_loop *loop;
  aw_source source;
  unsigned runs;
  bool again;
};

static aw_loop *loop;

static int setup(void **state) {
  (void)state;
  assert_int_equal(aw_loop_new(&loop, aw_mem_default()), AW_OK);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  aw_loop_free(loop);
  return 0;
}

static void count_run(aw_flush *flush) {
  counter *c = AW_CONTAINER(flush, counter, flush);

  c->runs++;
  if (c->again) {
    aw_loop_mark(c->loop, &c->flush);
  }
}

static counter new_counter(void) {
  return (counter){.flush.run = count_run, .loop = loop};
}

static uint64_t now_ms(void) {
  return uv_hrtime() / 1000000;
}

static void empty_loop_has_nothing_to_wait_for(void **state) {
  (void)state;
  assert_false(aw_loop_wait(loop, -1));
  assert_int_equal(aw_loop_timeout_ms(loop), -1);
  assert_true(aw_loop_fd(loop) >= 0);
}

static void flush_runs_once_however_often_it_is_marked(void **state) {
  counter c = new_counter();

  (void)state;
  aw_loop_mark(loop, &c.flush);
  aw_loop_mark(loop, &c.flush);
  aw_loop_mark(loop, &c.flush);
  assert_int_equal(aw_loop_timeout_ms(loop), 0);
  aw_loop_step(loop);
  assert_int_equal(c.runs, 1);
  aw_loop_step(loop);
  assert_int_equal(c.runs, 1);
}

static void flush_that_marks_itself_does_not_hold_up_the_loop(void **state) {
  counter c = new_counter();

  (void)state;
  c.again = true;
  aw_loop_mark(loop, &c.flush);
  assert_true(aw_loop_wait(loop, -1));
  assert_in_range(c.runs, 1, 3);
  assert_int_equal(aw_loop_timeout_ms(loop), 0);
  aw_node_remove(&c.flush.node);
}

static void mark_in_timer(uv_timer_t *timer) {
  counter *c = timer->data;

  aw_loop_mark(c->loop, &c->flush);
}

static void raise_in_timer(uv_timer_t *timer) {
  counter *c = timer->data;

  aw_source_raise(&c->source, 4);
}

/* Timers that are due when a wait begins run before it blocks. */
static void start_due(uv_timer_t *timer, counter *c, uv_timer_cb callback) {
  uv_timer_init(aw_loop_uv(loop), timer);
  timer->data = c;
  uv_timer_start(timer, callback, 0, 0);
}

static void start_later(uv_timer_t *timer, counter *c, uint64_t ms) {
  uv_timer_init(aw_loop_uv(loop), timer);
  timer->data = c;
  uv_timer_start(timer, mark_in_timer, ms, 0);
}

/* The second run is the later timer's: the wait did block after the first. */
static void what_a_due_timer_marks_is_flushed_before_blocking(void **state) {
  static counter c;
  static uv_timer_t due, later; /* closed by the loop's end */

  (void)state;
  c = new_counter();
  start_due(&due, &c, mark_in_timer);
  start_later(&later, &c, 30);
  aw_loop_wait(loop, -1);
  assert_int_equal(c.runs, 2);
}

static void what_a_flush_marks_keeps_the_wait_from_blocking(void **state) {
  static counter c;
  static uv_timer_t due, later;
  uint64_t start = now_ms();

  (void)state;
  c = new_counter();
  c.again = true;
  start_due(&due, &c, mark_in_timer);
  start_later(&later, &c, 5000);
  assert_true(aw_loop_wait(loop, -1));
  assert_true(c.runs > 0);
  assert_true(now_ms() - start < 2000);
  aw_node_remove(&c.flush.node);
}

static void source_raised_by_a_due_timer_ends_the_wait(void **state) {
  static counter c;
  static uv_timer_t due, later; /* closed by the loop's end */
  uint64_t start = now_ms();
  unsigned events = 0;

  (void)state;
  c = new_counter();
  aw_source_init(&c.source, loop, NULL);
  start_due(&due, &c, raise_in_timer);
  start_later(&later, &c, 5000);
  assert_true(aw_loop_wait(loop, -1));
  assert_true(now_ms() - start < 2000);
  assert_ptr_equal(aw_loop_ready(loop, &events), &c.source);
  assert_int_equal(events, 4);
}

static void sources_come_in_order_with_their_events_merged(void **state) {
  aw_source a, b;
  unsigned events;
  int user;

  (void)state;
  aw_source_init(&a, loop, &user);
  aw_source_init(&b, loop, NULL);
  aw_source_raise(&b, 1);
  aw_source_raise(&a, 2);
  aw_source_raise(&b, 8);
  assert_int_equal(aw_loop_timeout_ms(loop), 0);
  assert_true(aw_loop_wait(loop, -1));
  assert_ptr_equal(aw_loop_ready(loop, &events), &b);
  assert_int_equal(events, 9);
  assert_int_equal(b.events, 0);
  assert_ptr_equal(aw_loop_ready(loop, &events), &a);
  assert_ptr_equal(a.user, &user);
  assert_null(aw_loop_ready(loop, &events));
  aw_source_raise(&a, 1);
  aw_source_fini(&a);
  assert_null(aw_loop_ready(loop, &events));
  assert_int_equal(aw_loop_timeout_ms(loop), -1);
}

static void never(uv_poll_t *poll, int status, int events) {
  (void)poll;
  (void)status;
  (void)events;
  fail();
}

/* Something that keeps the loop alive and never happens. */
static void watch_silence(uv_poll_t *poll, int fds[2]) {
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  assert_int_equal(uv_poll_init(aw_loop_uv(loop), poll, fds[0]), 0);
  uv_poll_start(poll, UV_READABLE, never);
}

static void end_silence(uv_poll_t *poll, int fds[2]) {
  uv_close((uv_handle_t *)poll, NULL);
  aw_loop_step(loop);
  close(fds[0]);
  close(fds[1]);
}

static void wait_ends_at_its_timeout(void **state) {
  uv_poll_t poll;
  uint64_t start;
  int fds[2];

  (void)state;
  watch_silence(&poll, fds);
  start = now_ms();
  assert_true(aw_loop_wait(loop, 50));
  assert_in_range(now_ms() - start, 49, 2000);
  end_silence(&poll, fds);
}

static double cpu_ms(void) {
  struct rusage use;

  getrusage(RUSAGE_SELF, &use);
  return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e3 +
         (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e3;
}

/* Whoever waits has timers of its own; nothing else need be open. */
static void wait_for_a_timeout_alone_costs_no_time(void **state) {
  uint64_t start = now_ms();
  double cpu = cpu_ms();

  (void)state;
  assert_false(aw_loop_wait(loop, 300));
  assert_in_range(now_ms() - start, 299, 3000);
  assert_true(cpu_ms() - cpu < 50);
  assert_int_equal(aw_loop_timeout_ms(loop), -1);
}

static void timeout_counts_from_now_not_from_the_last_turn(void **state) {
  static counter c;
  static uv_timer_t timer;
  uint64_t start;

  (void)state;
  c = new_counter();
  uv_timer_init(aw_loop_uv(loop), &timer);
  timer.data = &c;
  uv_timer_start(&timer, mark_in_timer, 1000, 0);
  aw_loop_step(loop); /* a new loop asks for a first step */
  uv_update_time(aw_loop_uv(loop));
  uv_timer_start(&timer, mark_in_timer, 1000, 0);
  assert_in_range(aw_loop_timeout_ms(loop), 900, 1000);
  start = now_ms();
  while (now_ms() - start < 30) {
  }
  assert_in_range(aw_loop_timeout_ms(loop), 0, 971);
}

/* A host that was away for longer than the timer takes. */
static void timer_that_starts_after_an_absence_is_not_due_yet(void **state) {
  static counter c;
  static uv_timer_t timer;
  uint64_t start;

  (void)state;
  c = new_counter();
  uv_timer_init(aw_loop_uv(loop), &timer);
  timer.data = &c;
  aw_loop_step(loop);
  start = now_ms();
  while (now_ms() - start < 600) {
  }
  aw_loop_arm(loop, &timer, mark_in_timer, 500);
  aw_loop_step(loop);
  assert_int_equal(c.runs, 0);
  uv_timer_stop(&timer);
}

static bool is_readable(void) {
  struct pollfd fd = {aw_loop_fd(loop), POLLIN, 0};

  return poll(&fd, 1, 0) > 0;
}

static void mark_between_turns_makes_the_descriptor_readable(void **state) {
  counter c = new_counter();

  (void)state;
  assert_false(is_readable());
  aw_loop_mark(loop, &c.flush);
  assert_true(is_readable());
  aw_loop_step(loop);
  assert_int_equal(c.runs, 1);
  assert_false(is_readable());
}

static void source_raised_between_turns_rings_as_well(void **state) {
  aw_source source;
  unsigned events = 0;

  (void)state;
  aw_source_init(&source, loop, NULL);
  aw_source_raise(&source, 1);
  assert_true(is_readable());
  aw_loop_step(loop);
  assert_false(is_readable());
  assert_ptr_equal(aw_loop_ready(loop, &events), &source);
}

static void timer_armed_between_turns_rings_as_well(void **state) {
  static counter c;
  static uv_timer_t timer;

  (void)state;
  c = new_counter();
  uv_timer_init(aw_loop_uv(loop), &timer);
  timer.data = &c;
  aw_loop_step(loop);
  assert_false(is_readable());
  aw_loop_arm(loop, &timer, mark_in_timer, 100000);
  assert_true(is_readable());
  uv_timer_stop(&timer);
}

static void bell_is_silent_inside_a_turn(void **state) {
  counter c = new_counter();

  (void)state;
  aw_loop_enter(loop);
  aw_loop_mark(loop, &c.flush);
  aw_loop_nudge(loop);
  aw_loop_ring(loop);
  assert_false(is_readable());
  aw_loop_step(loop);
  aw_loop_leave(loop);
  assert_int_equal(c.runs, 1);
  assert_false(is_readable());
}

static void turn_that_leaves_work_rings_at_its_end(void **state) {
  counter c = new_counter();

  (void)state;
  aw_loop_enter(loop);
  aw_loop_mark(loop, &c.flush);
  aw_loop_leave(loop);
  assert_true(is_readable());
  aw_loop_step(loop);
  assert_int_equal(c.runs, 1);
  assert_false(is_readable());
}

/* A program in which nothing can happen any more has to find that out. */
static void bell_is_nothing_to_wait_for(void **state) {
  (void)state;
  aw_loop_ring(loop);
  aw_loop_ring(loop);
  assert_false(aw_loop_wait(loop, -1));
  assert_false(is_readable());
  assert_false(aw_loop_wait(loop, -1));
  assert_int_equal(aw_loop_timeout_ms(loop), -1);
}

/* What several owners keep on one loop. */
typedef struct resident {
  aw_local local;
  char name;
} resident;

static char dropped[8];

static void note_drop(aw_local *local) {
  const resident *r = AW_CONTAINER(local, resident, local);
  size_t len = strlen(dropped);
  dropped[len] = r->name;
  dropped[len + 1] = '\0';
}

static void what_is_kept_is_found_by_its_key_alone(void **state) {
  static const char keys[3];
  resident a = {{.key = &keys[0], .drop = note_drop}, 'a'};
  resident b = {{.key = &keys[1], .drop = note_drop}, 'b'};
  (void)state;
  assert_null(aw_loop_find(loop, &keys[0]));
  aw_loop_keep(loop, &a.local);
  aw_loop_keep(loop, &b.local);
  assert_ptr_equal(aw_loop_find(loop, &keys[0]), &a.local);
  assert_ptr_equal(aw_loop_find(loop, &keys[1]), &b.local);
  assert_null(aw_loop_find(loop, &keys[2]));
  aw_node_remove(&a.local.node);
  assert_null(aw_loop_find(loop, &keys[0]));
  assert_ptr_equal(aw_loop_find(loop, &keys[1]), &b.local);
  aw_node_remove(&b.local.node);
  assert_string_equal(dropped, "");
}

static void close_timer_too(aw_local *local) {
  static uv_timer_t timer;
  uv_timer_init(aw_loop_uv(loop), &timer);
  uv_close((uv_handle_t *)&timer, NULL);
  note_drop(local);
}

static void free_drops_what_is_kept_youngest_first_and_once(void **state) {
  static const char keys[4];
  resident r[4] = {{{.key = &keys[0], .drop = note_drop}, 'a'},
                   {{.key = &keys[1], .drop = close_timer_too}, 'b'},
                   {{.key = &keys[2], .drop = note_drop}, 'c'},
                   {{.key = &keys[3], .drop = note_drop}, 'd'}};
  (void)state;
  dropped[0] = '\0';
  assert_int_equal(aw_loop_new(&loop, aw_mem_default()), AW_OK);
  for (int i = 0; i < 4; i++) {
    aw_loop_keep(loop, &r[i].local);
  }
  aw_node_remove(&r[2].local.node);
  aw_loop_free(loop);
  assert_string_equal(dropped, "dba");
}

static void run_teardown(aw_teardown *teardown) {
  *(bool *)(teardown + 1) = true;
}

static void free_runs_what_was_registered_for_it(void **state) {
  struct {
    aw_teardown teardown;
    bool ran;
  } stays = {{{NULL, NULL}, run_teardown}, false}, leaves = stays;

  (void)state;
  assert_int_equal(aw_loop_new(&loop, aw_mem_default()), AW_OK);
  aw_loop_at_free(loop, &stays.teardown);
  aw_loop_at_free(loop, &leaves.teardown);
  aw_node_remove(&leaves.teardown.node);
  aw_loop_free(loop);
  assert_true(stays.ran);
  assert_false(leaves.ran);
}

static void free_closes_handles_that_are_open(void **state) {
  uv_timer_t timer;
  uv_poll_t poll;
  int fds[2];

  (void)state;
  assert_int_equal(aw_loop_new(&loop, aw_mem_default()), AW_OK);
  watch_silence(&poll, fds);
  uv_timer_init(aw_loop_uv(loop), &timer);
  aw_loop_free(loop);
  close(fds[0]);
  close(fds[1]);
}

static void entropy_differs(void **state) {
  unsigned char a[32] = {0}, b[32] = {0};

  (void)state;
  assert_int_equal(aw_loop_entropy(a, sizeof a), AW_OK);
  assert_int_equal(aw_loop_entropy(b, sizeof b), AW_OK);
  assert_memory_not_equal(a, b, sizeof a);
}

/* The allocation number `left` and all after it fail. */
static void *failing_realloc(void *user, void *block, size_t size) {
  unsigned *left = user;

  if (size == 0) {
    free(block);
    return NULL;
  }
  if (*left == 0) {
    return NULL;
  }
  --*left;
  return realloc(block, size);
}

static int make_everything(const aw_mem *mem) {
  aw_stdio_options options = {.is_server = true, .extended = true};
  aw_transport *client, *server, *stdio;
  aw_loop *l;
  int fds[2], rc = aw_loop_new(&l, mem);

  if (rc != AW_OK) {
    assert_null(l);
    return rc;
  }
  rc = aw_memory_pair(l, true, &client, &server);
  if (rc == AW_OK) {
    aw_loop_step(l);
    rc = aw_transport_send(client, "hello", 5);
    aw_transport_free(client);
    aw_transport_free(server);
  }
  if (rc == AW_OK) {
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    options.in_fd = options.out_fd = fds[0];
    rc = aw_stdio_new(l, &options, &stdio);
    if (rc == AW_OK) {
      aw_loop_step(l);
      aw_transport_free(stdio);
    }
    assert_int_equal(close(fds[0]), -1); /* owned, also on failure */
    close(fds[1]);
  }
  aw_loop_free(l);
  return rc;
}

static void every_allocation_may_fail(void **state) {
  unsigned allowed, left;
  aw_mem mem = {failing_realloc, &left};
  int rc = AW_E_NOMEM;

  (void)state;
  for (allowed = 0; rc != AW_OK && allowed < 100; allowed++) {
    left = allowed;
    rc = make_everything(&mem);
    assert_true(rc == AW_OK || rc == AW_E_NOMEM);
  }
  assert_int_equal(rc, AW_OK);
  assert_in_range(allowed, 6, 50);
}

static void make_stdio(suite_pair *pair) {
  aw_stdio_options options = {.extended = true};
  aw_transport *t;
  int fds[2];

  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  options.in_fd = options.out_fd = fds[0];
  assert_int_equal(aw_stdio_new(pair->loop, &options, &t), AW_OK);
  suite_attach(&pair->client, t);
  options.in_fd = options.out_fd = fds[1];
  options.is_server = true;
  assert_int_equal(aw_stdio_new(pair->loop, &options, &t), AW_OK);
  suite_attach(&pair->server, t);
}

static const suite_factory stdio_pair = {.name = "stdio", .make = make_stdio};
static suite_pair pair;

static int setup_pair(void **state) {
  (void)state;
  suite_start(&pair, &stdio_pair);
  make_stdio(&pair);
  return 0;
}

static int teardown_pair(void **state) {
  (void)state;
  suite_stop(&pair);
  return 0;
}

static size_t size_kilo(size_t index) {
  (void)index;
  return 1024;
}

/* A foreign loop that knows nothing but the three functions. */
static unsigned drive(bool (*done)(suite_pair *p)) {
  struct pollfd fd = {aw_loop_fd(pair.loop), POLLIN, 0};
  unsigned steps = 0;

  while (!done(&pair)) {
    int ready = poll(&fd, 1, aw_loop_timeout_ms(pair.loop));
    assert_true(ready > 0 || aw_loop_timeout_ms(pair.loop) == 0);
    pair.in_loop = true;
    aw_loop_step(pair.loop);
    pair.in_loop = false;
    steps++;
    assert_true(steps < 100000);
  }
  return steps;
}

static void answer(suite_end *end, char *bytes, size_t len) {
  assert_int_equal(aw_transport_send(end->t, bytes, len), AW_OK);
}

static bool has_500_answers(suite_pair *p) {
  return p->client.messages == 500;
}

static void send_next(suite_end *end, char *bytes, size_t len) {
  (void)bytes;
  (void)len;
  if (end->messages < 500) {
    assert_int_equal(aw_transport_send(end->t, "again", 5), AW_OK);
  }
}

static void foreign_loop_needs_only_fd_timeout_and_step(void **state) {
  unsigned steps;

  (void)state;
  drive(suite_both_open);
  pair.client.on_message = send_next;
  pair.server.on_message = answer;
  assert_int_equal(aw_transport_send(pair.client.t, "first", 5), AW_OK);
  assert_int_equal(aw_loop_timeout_ms(pair.loop), 0);
  steps = drive(has_500_answers);
  assert_in_range(steps, 500, 3000); /* each way a step or two: no spinning */
  aw_transport_close(pair.client.t, 1000, NULL);
  drive(suite_both_closed);
}

static void foreign_loop_sees_that_reading_was_resumed(void **state) {
  (void)state;
  drive(suite_both_open);
  aw_transport_pause(pair.client.t, true);
  aw_loop_step(pair.loop);
  pair.server.size_of = size_kilo;
  pair.server.send_total = 500;
  suite_pump(&pair.server);
  aw_loop_step(pair.loop);
  aw_transport_pause(pair.client.t, false);
  drive(has_500_answers);
}

static void far_timer(uv_timer_t *timer) {
  (void)timer;
}

static void take_time(aw_flush *flush) {
  uint64_t start = now_ms();

  (void)flush;
  while (now_ms() - start < 5) {
  }
}

/* Regression: the timeout passed before the poll began, and the poll then
 * waited for the next timer. */
static void wait_ends_although_a_flush_took_longer(void **state) {
  counter c = {.flush.run = take_time, .loop = loop};
  uv_timer_t far;
  uint64_t start = now_ms();

  (void)state;
  uv_timer_init(aw_loop_uv(loop), &far);
  uv_timer_start(&far, far_timer, 5000, 0);
  for (int i = 0; i < 5; i++) {
    aw_loop_mark(loop, &c.flush);
    aw_loop_wait(loop, 1);
  }
  assert_true(now_ms() - start < 2000);
  uv_close((uv_handle_t *)&far, NULL);
  aw_loop_step(loop); /* it is on this function's stack */
}

static void idle_transports_cost_nothing(void **state) {
  struct pollfd fd = {aw_loop_fd(pair.loop), POLLIN, 0};
  uint64_t start;
  double cpu;

  (void)state;
  suite_until(&pair, suite_both_open);
  while (aw_loop_timeout_ms(pair.loop) == 0) {
    suite_turn(&pair, 0);
  }
  assert_int_equal(aw_loop_timeout_ms(pair.loop), -1);
  cpu = cpu_ms();
  start = now_ms();
  assert_true(aw_loop_wait(pair.loop, 300)); /* one call, not many */
  assert_true(now_ms() - start >= 299);
  assert_int_equal(poll(&fd, 1, 100), 0);
  assert_true(cpu_ms() - cpu < 10);
}

#define WITH_LOOP(test)                                                        \
  { #test, test, setup, teardown, NULL }
#define WITH_PAIR(test)                                                        \
  { #test, test, setup_pair, teardown_pair, NULL }

int main(void) {
  static const struct CMUnitTest tests[] = {
      WITH_LOOP(empty_loop_has_nothing_to_wait_for),
      WITH_LOOP(flush_runs_once_however_often_it_is_marked),
      WITH_LOOP(flush_that_marks_itself_does_not_hold_up_the_loop),
      WITH_LOOP(what_a_due_timer_marks_is_flushed_before_blocking),
      WITH_LOOP(what_a_flush_marks_keeps_the_wait_from_blocking),
      WITH_LOOP(source_raised_by_a_due_timer_ends_the_wait),
      WITH_LOOP(sources_come_in_order_with_their_events_merged),
      WITH_LOOP(wait_ends_at_its_timeout),
      WITH_LOOP(wait_for_a_timeout_alone_costs_no_time),
      WITH_LOOP(mark_between_turns_makes_the_descriptor_readable),
      WITH_LOOP(source_raised_between_turns_rings_as_well),
      WITH_LOOP(timer_armed_between_turns_rings_as_well),
      WITH_LOOP(bell_is_silent_inside_a_turn),
      WITH_LOOP(turn_that_leaves_work_rings_at_its_end),
      WITH_LOOP(bell_is_nothing_to_wait_for),
      WITH_LOOP(timeout_counts_from_now_not_from_the_last_turn),
      WITH_LOOP(timer_that_starts_after_an_absence_is_not_due_yet),
      WITH_LOOP(wait_ends_although_a_flush_took_longer),
      WITH_LOOP(what_is_kept_is_found_by_its_key_alone),
      cmocka_unit_test(free_drops_what_is_kept_youngest_first_and_once),
      cmocka_unit_test(free_runs_what_was_registered_for_it),
      cmocka_unit_test(free_closes_handles_that_are_open),
      cmocka_unit_test(entropy_differs),
      cmocka_unit_test(every_allocation_may_fail),
      WITH_PAIR(foreign_loop_needs_only_fd_timeout_and_step),
      WITH_PAIR(foreign_loop_sees_that_reading_was_resumed),
      WITH_PAIR(idle_transports_cost_nothing),
  };

  return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
