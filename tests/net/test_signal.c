/* Signals of the process as sources of a loop; what scripts see of them is in
 * spec/signal_spec.lua. */
#include "aw_error.h"
#include "aw_signal.h"
#include "limit_kit.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static aw_loop *loop;
static aw_signal *watches[AW_SIGNALS_MAX + 1];
static unsigned open_watches;

static bool watch(unsigned place) {
  int rc = aw_signal_new(&watches[place], loop, SIGUSR2, AW_SIGNAL_WAIT, NULL);
  if (rc == AW_OK) {
    open_watches++;
    return true;
  }
  assert_int_equal(rc, AW_E_LIMIT);
  return false;
}

static void end_watch(unsigned place) {
  aw_signal_free(watches[place]);
  open_watches--;
}

static unsigned count_watches(void) {
  return open_watches;
}

static void watches_are_limited_and_give_the_signal_back(void **state) {
  struct sigaction before, after;
  (void)state;
  sigaction(SIGUSR2, NULL, &before);
  assert_int_equal(aw_loop_new(&loop, aw_mem_default()), AW_OK);
  limit_check(&(limit){AW_SIGNALS_MAX, watch, end_watch, count_watches});
  sigaction(SIGUSR2, NULL, &after);
  assert_true(before.sa_handler == after.sa_handler);
  aw_loop_free(loop);
}

static void each_watch_is_told(void **state) {
  unsigned events, told = 0;
  (void)state;
  assert_int_equal(aw_loop_new(&loop, aw_mem_default()), AW_OK);
  for (unsigned i = 0; i < AW_SIGNALS_MAX; i++) {
    assert_true(watch(i));
  }
  raise(SIGUSR2);
  for (unsigned turns = 0; turns < 100 && told < AW_SIGNALS_MAX; turns++) {
    aw_loop_wait(loop, 100);
    while (aw_loop_ready(loop, &events) != NULL) {
      assert_int_equal(events, AW_SIGNAL_CAME);
      told++;
    }
  }
  assert_int_equal(told, AW_SIGNALS_MAX);
  for (unsigned i = 0; i < AW_SIGNALS_MAX; i++) {
    end_watch(i);
  }
  aw_loop_free(loop);
}

static void freed_watch_is_told_nothing_more(void **state) {
  unsigned events;
  (void)state;
  assert_int_equal(aw_loop_new(&loop, aw_mem_default()), AW_OK);
  assert_true(watch(0));
  raise(SIGUSR2);
  aw_loop_wait(loop, 1000); /* told, and not heard yet */
  end_watch(0);
  assert_null(aw_loop_ready(loop, &events));
  aw_loop_free(loop);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(watches_are_limited_and_give_the_signal_back),
      cmocka_unit_test(each_watch_is_told),
      cmocka_unit_test(freed_watch_is_told_nothing_more),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
