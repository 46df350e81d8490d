#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "aw_error.h"
#include "aw_seq.h"

static void seq_begins_at_one_and_grows_by_one(void **state) {
  aw_seq seq = {0};

  (void)state;
  for (uint64_t n = 1; n <= 100; n++) {
    assert_int_equal(aw_seq_next(&seq), n);
  }
}

static void seq_accepts_only_the_next_and_keeps_its_place(void **state) {
  static const struct {
    uint64_t last, number;
    int rc;
  } cases[] = {
      {0, 1, 0},
      {0, 0, AW_E_INVALID_SEQUENCE},
      {0, 2, AW_E_SEQUENCE_GAP},
      {0, AW_SEQ_MAX, AW_E_SEQUENCE_GAP},
      {7, 8, 0},
      {7, 0, AW_E_INVALID_SEQUENCE},
      {7, 1, AW_E_DUPLICATE_SEQUENCE},
      {7, 7, AW_E_DUPLICATE_SEQUENCE},
      {7, 9, AW_E_SEQUENCE_GAP},
      {7, UINT64_MAX, AW_E_SEQUENCE_GAP},
      {AW_SEQ_MAX - 1, AW_SEQ_MAX, 0},
      {AW_SEQ_MAX, 0, AW_E_INVALID_SEQUENCE},
      {AW_SEQ_MAX, AW_SEQ_MAX, AW_E_DUPLICATE_SEQUENCE},
  };

  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    aw_seq seq = {cases[i].last};

    assert_int_equal(aw_seq_accept(&seq, cases[i].number), cases[i].rc);
    assert_int_equal(seq.last,
                     cases[i].rc == 0 ? cases[i].number : cases[i].last);
  }
}

static void seq_gives_no_number_above_what_readers_can_hold(void **state) {
  aw_seq seq = {AW_SEQ_MAX - 1};

  (void)state;
  assert_int_equal(aw_seq_next(&seq), AW_SEQ_MAX);
  assert_int_equal(aw_seq_next(&seq), 0);
  assert_int_equal(aw_seq_next(&seq), 0);
  assert_int_equal(seq.last, AW_SEQ_MAX);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(seq_begins_at_one_and_grows_by_one),
      cmocka_unit_test(seq_accepts_only_the_next_and_keeps_its_place),
      cmocka_unit_test(seq_gives_no_number_above_what_readers_can_hold),
  };

  return cmocka_run_group_tests_name("seq", tests, NULL, NULL);
}
