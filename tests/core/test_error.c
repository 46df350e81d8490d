#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "aw_error.h"
#include <string.h>

static const int all_codes[] = {
#define ERROR_NUMBER(name, number, reach, code, text) number,
    AW_ERROR_LIST(ERROR_NUMBER)
#undef ERROR_NUMBER
};

#define CODES (sizeof all_codes / sizeof all_codes[0])

static void error_numbers_are_negative_and_unique(void **state) {
  size_t i, j;

  (void)state;
  for (i = 0; i < CODES; i++) {
    assert_true(all_codes[i] < 0);
    for (j = 0; j < i; j++) {
      assert_int_not_equal(all_codes[i], all_codes[j]);
    }
  }
}

static void error_codes_are_unique_lower_case_words(void **state) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
  size_t i, j;

  (void)state;
  for (i = 0; i < CODES; i++) {
    const char *code = aw_error_code(all_codes[i]);

    assert_int_equal(strspn(code, letters), strlen(code));
    assert_true(strlen(code) > 0);
    for (j = 0; j < i; j++) {
      assert_string_not_equal(code, aw_error_code(all_codes[j]));
    }
  }
}

static void error_text_belongs_to_its_number(void **state) {
  (void)state;
  assert_string_equal(aw_error_code(AW_E_SEQUENCE_GAP), "sequence_gap");
  assert_string_equal(aw_error_code(AW_E_NOMEM), "no_memory");
  assert_string_equal(aw_error_text(AW_E_NOMEM), "out of memory");
  assert_string_equal(aw_error_text(AW_E_JSON_DUPLICATE), "duplicate key");
}

static void error_zero_and_strangers_have_names_too(void **state) {
  (void)state;
  assert_string_equal(aw_error_code(0), "ok");
  assert_string_equal(aw_error_code(1), "unknown_error");
  assert_string_equal(aw_error_code(-9999), "unknown_error");
  assert_string_equal(aw_error_text(0), "no error");
  assert_string_equal(aw_error_text(-9999), "unknown error");
}

static void error_reaches_are_known_and_belong_to_their_number(void **state) {
  size_t i;

  (void)state;
  for (i = 0; i < CODES; i++) {
    enum aw_reach reach = aw_error_reach(all_codes[i]);

    assert_in_range(reach, AW_REACH_CALL, AW_REACH_CONNECTION);
    assert_true(strlen(aw_reach_name(reach)) > 0);
  }
  assert_int_equal(aw_error_reach(AW_E_AGAIN), AW_REACH_CALL);
  assert_int_equal(aw_error_reach(AW_E_JSON_DEPTH), AW_REACH_MESSAGE);
  assert_int_equal(aw_error_reach(AW_E_LOST), AW_REACH_SCOPE);
  assert_int_equal(aw_error_reach(AW_E_WS_UTF8), AW_REACH_CONNECTION);
  assert_int_equal(aw_error_reach(0), AW_REACH_CALL);
  assert_int_equal(aw_error_reach(-9999), AW_REACH_CONNECTION);
  assert_string_equal(aw_reach_name(AW_REACH_SCOPE), "scope");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(error_numbers_are_negative_and_unique),
      cmocka_unit_test(error_codes_are_unique_lower_case_words),
      cmocka_unit_test(error_text_belongs_to_its_number),
      cmocka_unit_test(error_zero_and_strangers_have_names_too),
      cmocka_unit_test(error_reaches_are_known_and_belong_to_their_number),
  };

  return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
