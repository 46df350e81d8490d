#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "aw_error.h"
#include "aw_map.h"
#include "failing_mem.h"
#include <string.h>

static const uint64_t seed[2] = {11, 22};

static aw_uuid number_id(unsigned n) {
  aw_uuid id = {{0}};

  id.bytes[3] = (uint8_t)(n >> 8);
  id.bytes[15] = (uint8_t)n;
  return id;
}

static void map_finds_what_was_put(void **state) {
  aw_uuid a = number_id(1), b = number_id(2);
  int va, vb;
  aw_map map;

  (void)state;
  aw_map_init(&map, aw_mem_default(), seed);
  assert_null(aw_map_get(&map, 0, &a));
  assert_null(aw_map_remove(&map, 0, &a));
  assert_int_equal(aw_map_put(&map, 0, &a, &va), 0);
  assert_int_equal(aw_map_put(&map, 0, &b, &vb), 0);
  assert_ptr_equal(aw_map_get(&map, 0, &a), &va);
  assert_ptr_equal(aw_map_get(&map, 0, &b), &vb);
  assert_int_equal(map.count, 2);
  aw_map_fini(&map);
  assert_null(aw_map_get(&map, 0, &a));
}

static void map_refuses_a_key_twice_and_keeps_the_first(void **state) {
  aw_uuid a = number_id(1);
  int first, second;
  aw_map map;

  (void)state;
  aw_map_init(&map, aw_mem_default(), seed);
  assert_int_equal(aw_map_put(&map, 0, &a, &first), 0);
  assert_int_equal(aw_map_put(&map, 0, &a, &second), AW_E_EXISTS);
  assert_ptr_equal(aw_map_get(&map, 0, &a), &first);
  assert_int_equal(map.count, 1);
  aw_map_fini(&map);
}

static void map_keeps_kinds_apart(void **state) {
  aw_uuid a = number_id(1);
  int zero, one;
  aw_map map;

  (void)state;
  aw_map_init(&map, aw_mem_default(), seed);
  assert_int_equal(aw_map_put(&map, 0, &a, &zero), 0);
  assert_int_equal(aw_map_put(&map, 1, &a, &one), 0);
  assert_ptr_equal(aw_map_remove(&map, 0, &a), &zero);
  assert_null(aw_map_get(&map, 0, &a));
  assert_ptr_equal(aw_map_get(&map, 1, &a), &one);
  aw_map_fini(&map);
}

static void map_walk_visits_every_value_once(void **state) {
  int values[100] = {0};
  aw_map map;
  size_t cursor = 0;
  int *value;
  unsigned i;

  (void)state;
  aw_map_init(&map, aw_mem_default(), seed);
  assert_null(aw_map_next(&map, &cursor));
  for (i = 0; i < 100; i++) {
    aw_uuid id = number_id(i);

    assert_int_equal(aw_map_put(&map, 2, &id, &values[i]), 0);
  }
  for (cursor = 0; (value = aw_map_next(&map, &cursor)) != NULL;) {
    ++*value;
  }
  for (i = 0; i < 100; i++) {
    assert_int_equal(values[i], 1);
  }
  aw_map_fini(&map);
}

/* Random puts and removals against a plain table; small ids, so that chains
 * form, wrap around the end and are cut in the middle. */
static void map_agrees_with_a_plain_table(void **state) {
  static char cells[300];
  static char *model[300];
  uint8_t bytes[32] = {7};
  aw_random random;
  aw_map map;
  size_t live = 0;
  int step;

  (void)state;
  memset(model, 0, sizeof model);
  aw_random_seed(&random, bytes);
  aw_map_init(&map, aw_mem_default(), seed);
  for (step = 0; step < 100000; step++) {
    uint64_t dice = aw_random_next(&random);
    unsigned n = (unsigned)(dice % 300);
    aw_uuid id = number_id(n);

    if (dice >> 32 & 1) {
      int rc = aw_map_put(&map, 0, &id, &cells[n]);

      assert_int_equal(rc, model[n] == NULL ? 0 : AW_E_EXISTS);
      live += rc == 0;
      model[n] = &cells[n];
    } else {
      assert_ptr_equal(aw_map_remove(&map, 0, &id), model[n]);
      live -= model[n] != NULL;
      model[n] = NULL;
    }
    n = (unsigned)(dice >> 40) % 300;
    id = number_id(n);
    assert_ptr_equal(aw_map_get(&map, 0, &id), model[n]);
    assert_int_equal(map.count, live);
  }
  aw_map_fini(&map);
}

/* A peer that does not know the seed cannot foresee where its ids land. */
static void map_order_depends_on_the_seed(void **state) {
  const uint64_t other[2] = {11, 23};
  char values[64];
  aw_map a, b;
  size_t ca = 0, cb = 0, same = 0;
  unsigned i;

  (void)state;
  aw_map_init(&a, aw_mem_default(), seed);
  aw_map_init(&b, aw_mem_default(), other);
  for (i = 0; i < 64; i++) {
    aw_uuid id = number_id(i);

    assert_int_equal(aw_map_put(&a, 0, &id, &values[i]), 0);
    assert_int_equal(aw_map_put(&b, 0, &id, &values[i]), 0);
  }
  for (i = 0; i < 64; i++) {
    same += aw_map_next(&a, &ca) == aw_map_next(&b, &cb);
  }
  assert_true(same < 16);
  aw_map_fini(&a);
  aw_map_fini(&b);
}

static int put_many(const aw_mem *mem) {
  aw_map map;
  char values[100];
  unsigned i, j;
  int rc = 0;

  aw_map_init(&map, mem, seed);
  for (i = 0; rc == 0 && i < 100; i++) {
    aw_uuid id = number_id(i);

    rc = aw_map_put(&map, 0, &id, &values[i]);
    assert_int_equal(map.count, rc == 0 ? i + 1 : i);
    for (j = 0; rc != 0 && j < i; j++) {
      id = number_id(j);
      assert_ptr_equal(aw_map_get(&map, 0, &id), &values[j]);
    }
  }
  aw_map_fini(&map);
  return rc;
}

static void map_out_of_memory_leaves_it_as_it_was(void **state) {
  (void)state;
  fail_each_allocation(put_many);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(map_finds_what_was_put),
      cmocka_unit_test(map_refuses_a_key_twice_and_keeps_the_first),
      cmocka_unit_test(map_keeps_kinds_apart),
      cmocka_unit_test(map_walk_visits_every_value_once),
      cmocka_unit_test(map_agrees_with_a_plain_table),
      cmocka_unit_test(map_order_depends_on_the_seed),
      cmocka_unit_test(map_out_of_memory_leaves_it_as_it_was),
  };

  return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
