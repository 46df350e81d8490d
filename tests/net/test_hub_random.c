/* The fuzzer's world for a second in every run of the tests, from a seed that
 * is the same each time. */
#include "hub_world.h"
#include "random_lives.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void random_peers_find_nothing(void **state) {
  (void)state;
  random_lives(hub_world_run, 7, 6);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_peers_find_nothing),
  };

  return cmocka_run_group_tests_name("hub_random", tests, NULL, NULL);
}
