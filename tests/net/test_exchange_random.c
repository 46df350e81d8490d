/* The fuzzer's world for some seconds in every run of the tests, from a seed
 * that is the same each time. */
#include "exchange_world.h"
#include "random_lives.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void random_clients_find_nothing(void **state) {
  (void)state;
  random_lives(exchange_world_run, 9, 4);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_clients_find_nothing),
  };

  return cmocka_run_group_tests_name("exchange_random", tests, NULL, NULL);
}
