#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "aw_error.h"
#include "aw_types.h"
#include "failing_mem.h"
#include <stdio.h>
#include <string.h>

static unsigned flags_of(const aw_types *types, const char *name) {
  return aw_types_flags(types, name, strlen(name));
}

static int add(aw_types *types, const char *name, unsigned flags) {
  return aw_types_add(types, name, strlen(name), flags);
}

static void types_that_were_never_added_have_no_flags(void **state) {
  aw_types types;

  (void)state;
  aw_types_init(&types, aw_mem_default());
  assert_int_equal(flags_of(&types, "open"), 0);
  assert_int_equal(add(&types, "open", AW_TYPE_OPENS), 0);
  assert_int_equal(flags_of(&types, "open"), AW_TYPE_OPENS);
  assert_int_equal(flags_of(&types, "ope"), 0);
  assert_int_equal(flags_of(&types, "opens"), 0);
  assert_int_equal(flags_of(&types, ""), 0);
  aw_types_fini(&types);
  assert_int_equal(flags_of(&types, "open"), 0);
}

static void types_added_again_gather_flags(void **state) {
  aw_types types;

  (void)state;
  aw_types_init(&types, aw_mem_default());
  assert_int_equal(add(&types, "both", AW_TYPE_OPENS), 0);
  assert_int_equal(add(&types, "both", AW_TYPE_ENDS), 0);
  assert_int_equal(flags_of(&types, "both"), AW_TYPE_OPENS | AW_TYPE_ENDS);
  assert_int_equal(types.count, 1);
  aw_types_fini(&types);
}

static void types_refuse_names_that_no_envelope_can_have(void **state) {
  char name[AW_TYPE_NAME_MAX + 1];
  aw_types types;

  (void)state;
  memset(name, 'x', sizeof name);
  aw_types_init(&types, aw_mem_default());
  assert_int_equal(aw_types_add(&types, name, 0, 1), AW_E_INVALID);
  assert_int_equal(aw_types_add(&types, name, sizeof name, 1), AW_E_INVALID);
  assert_int_equal(aw_types_add(&types, name, AW_TYPE_NAME_MAX, 1), 0);
  assert_int_equal(aw_types_flags(&types, name, AW_TYPE_NAME_MAX), 1);
  assert_int_equal(aw_types_flags(&types, name, sizeof name), 0);
  aw_types_fini(&types);
}

static void types_hold_all_of_a_full_table(void **state) {
  char name[16];
  aw_types types;
  unsigned i;

  (void)state;
  aw_types_init(&types, aw_mem_default());
  for (i = 0; i < AW_TYPES_MAX; i++) {
    snprintf(name, sizeof name, "type_%u", i);
    assert_int_equal(add(&types, name, i + 1), 0);
  }
  assert_int_equal(add(&types, "one_more", 1), AW_E_LIMIT);
  assert_int_equal(flags_of(&types, "one_more"), 0);
  assert_int_equal(add(&types, "type_0", 1), 0);
  for (i = 0; i < AW_TYPES_MAX; i++) {
    snprintf(name, sizeof name, "type_%u", i);
    assert_int_equal(flags_of(&types, name), i + 1);
  }
  aw_types_fini(&types);
}

static int add_one(const aw_mem *mem) {
  aw_types types;
  int rc;

  aw_types_init(&types, mem);
  rc = add(&types, "open", AW_TYPE_OPENS);
  assert_int_equal(flags_of(&types, "open"), rc == 0 ? AW_TYPE_OPENS : 0);
  aw_types_fini(&types);
  return rc;
}

static void types_out_of_memory_adds_nothing(void **state) {
  (void)state;
  fail_each_allocation(add_one);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(types_that_were_never_added_have_no_flags),
      cmocka_unit_test(types_added_again_gather_flags),
      cmocka_unit_test(types_refuse_names_that_no_envelope_can_have),
      cmocka_unit_test(types_hold_all_of_a_full_table),
      cmocka_unit_test(types_out_of_memory_adds_nothing),
  };

  return cmocka_run_group_tests_name("types", tests, NULL, NULL);
}
