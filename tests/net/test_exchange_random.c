/* The fuzzer's world for some seconds in every run of the tests, from a seed
 * that is the same each time. */
#include "aw_uuid.h"
#include "exchange_world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include <cmocka.h>

#define LIVES 4000
#define STEPS 150
#define SECONDS 4

static void random_clients_find_nothing(void **state) {
  static const uint8_t seed[32] = {9};
  time_t began = time(NULL);
  aw_random random;

  (void)state;
  aw_random_seed(&random, seed);
  for (int life = 0; life < LIVES && time(NULL) - began < SECONDS; life++) {
    uint8_t bytes[2 * STEPS];

    for (size_t i = 0; i < sizeof bytes; i++) {
      bytes[i] = (uint8_t)(aw_random_next(&random) >> 56);
    }
    exchange_world_run(bytes, sizeof bytes);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_clients_find_nothing),
  };

  return cmocka_run_group_tests_name("exchange_random", tests, NULL, NULL);
}
