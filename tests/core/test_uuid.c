#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "aw_error.h"
#include "aw_uuid.h"
#include <string.h>

static const char sample[] = "01234567-89ab-cdef-fedc-ba9876543210";

static void uuid_reads_digits_in_order(void **state) {
  static const uint8_t bytes[16] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xAB,
                                    0xCD, 0xEF, 0xFE, 0xDC, 0xBA, 0x98,
                                    0x76, 0x54, 0x32, 0x10};
  aw_uuid id;

  (void)state;
  assert_int_equal(aw_uuid_parse(&id, sample, 36), 0);
  assert_memory_equal(id.bytes, bytes, 16);
}

static void uuid_upper_case_comes_back_lower(void **state) {
  static const char *const pairs[][2] = {
      {"01234567-89AB-CDEF-FEDC-BA9876543210", sample},
      {"ABCDEFab-cdef-ABCD-EFab-cdefABCDEFab",
       "abcdefab-cdef-abcd-efab-cdefabcdefab"},
      {"00000000-0000-0000-0000-000000000000",
       "00000000-0000-0000-0000-000000000000"},
      {"ffffffff-ffff-ffff-ffff-ffffffffffff",
       "ffffffff-ffff-ffff-ffff-ffffffffffff"},
  };
  char text[AW_UUID_TEXT];
  aw_uuid id;
  size_t i;

  (void)state;
  for (i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
    assert_int_equal(aw_uuid_parse(&id, pairs[i][0], 36), 0);
    aw_uuid_format(&id, text);
    assert_memory_equal(text, pairs[i][1], 36);
  }
}

static int may_stand_at(int c, size_t position) {
  if (position == 8 || position == 13 || position == 18 || position == 23) {
    return c == '-';
  }
  return c != 0 && strchr("0123456789abcdefABCDEF", c) != NULL;
}

static void uuid_checks_every_byte_at_every_position(void **state) {
  size_t position;
  int c;

  (void)state;
  for (position = 0; position < 36; position++) {
    for (c = 0; c < 256; c++) {
      char text[AW_UUID_TEXT];
      aw_uuid id;

      memset(&id, 0x5A, sizeof id);
      memcpy(text, sample, 36);
      text[position] = (char)c;
      if (may_stand_at(c, position)) {
        assert_int_equal(aw_uuid_parse(&id, text, 36), 0);
      } else {
        assert_int_equal(aw_uuid_parse(&id, text, 36), AW_E_INVALID);
        assert_int_equal(id.bytes[0] & id.bytes[15], 0x5A);
      }
    }
  }
}

static void uuid_refuses_other_lengths(void **state) {
  aw_uuid id;
  size_t len;

  (void)state;
  for (len = 0; len < 36; len++) {
    assert_int_equal(aw_uuid_parse(&id, sample, len), AW_E_INVALID);
  }
  assert_int_equal(aw_uuid_parse(&id, sample, 37), AW_E_INVALID);
}

static void uuid_every_byte_value_survives_in_every_place(void **state) {
  int value, place;

  (void)state;
  for (place = 0; place < 16; place++) {
    for (value = 0; value < 256; value++) {
      aw_uuid id = {{0}}, back;
      char text[AW_UUID_TEXT];

      id.bytes[place] = (uint8_t)value;
      aw_uuid_format(&id, text);
      assert_int_equal(aw_uuid_parse(&back, text, 36), 0);
      assert_true(aw_uuid_equal(&id, &back));
      assert_int_equal(aw_uuid_is_nil(&id), value == 0);
    }
  }
}

static void uuid_make_sets_version_and_variant(void **state) {
  uint8_t seed[32] = {1};
  aw_random random;
  aw_uuid last = {{0}};
  int i;

  (void)state;
  aw_random_seed(&random, seed);
  for (i = 0; i < 1000; i++) {
    aw_uuid id;

    aw_uuid_make(&id, &random);
    assert_int_equal(id.bytes[6] >> 4, 4);
    assert_int_equal(id.bytes[8] >> 6, 2);
    assert_false(aw_uuid_equal(&id, &last));
    last = id;
  }
}

/* The published first outputs of xoshiro256** from the state 1, 2, 3, 4. */
static void random_follows_the_published_sequence(void **state) {
  static const uint64_t expected[] = {
      11520,
      0,
      1509978240,
      UINT64_C(1215971899390074240),
      UINT64_C(1216172134540287360),
      UINT64_C(607988272756665600),
      UINT64_C(16172922978634559625),
      UINT64_C(8476171486693032832),
      UINT64_C(10595114339597558777),
      UINT64_C(2904607092377533576),
  };
  uint8_t seed[32] = {0};
  aw_random random;
  size_t i;

  (void)state;
  seed[0] = 1;
  seed[8] = 2;
  seed[16] = 3;
  seed[24] = 4;
  aw_random_seed(&random, seed);
  for (i = 0; i < sizeof expected / sizeof expected[0]; i++) {
    assert_true(aw_random_next(&random) == expected[i]);
  }
}

static void random_does_not_stick_at_an_all_zero_seed(void **state) {
  uint8_t seed[32] = {0};
  uint64_t seen = 0;
  aw_random random;
  int i;

  (void)state;
  aw_random_seed(&random, seed);
  for (i = 0; i < 8; i++) {
    seen |= aw_random_next(&random);
  }
  assert_true(seen != 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(uuid_reads_digits_in_order),
      cmocka_unit_test(uuid_upper_case_comes_back_lower),
      cmocka_unit_test(uuid_checks_every_byte_at_every_position),
      cmocka_unit_test(uuid_refuses_other_lengths),
      cmocka_unit_test(uuid_every_byte_value_survives_in_every_place),
      cmocka_unit_test(uuid_make_sets_version_and_variant),
      cmocka_unit_test(random_follows_the_published_sequence),
      cmocka_unit_test(random_does_not_stick_at_an_all_zero_seed),
  };

  return cmocka_run_group_tests_name("uuid", tests, NULL, NULL);
}
