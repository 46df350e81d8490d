#include "aw_error.h"
#include "aw_ready.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void ready_line_is_parsed_leniently(void **state) {
  static const struct {
    const char *text;
    int rc;
    bool extended;
  } lines[] = {
      {"{\"type\":\"ready\",\"protocol_version\":\"1\"}", AW_OK, false},
      {"{\"protocol_version\":\"1\", \"x\":[{}], \"type\":\"ready\"}", AW_OK,
       false},
      {"{\"type\":\"ready\",\"protocol_version\":1}", AW_OK, false},
      {"{\"type\":\"ready\"}", AW_OK, false},
      {"{\"type\":\"ready\",\"extensions\":[\"x\",\"agentwire.v1\"]}", AW_OK,
       true},
      {"{\"type\":\"ready\",\"extensions\":[[\"agentwire.v1\"]]}", AW_OK,
       false},
      {"{\"type\":\"ready\",\"extensions\":\"agentwire.v1\"}", AW_OK, false},
      {"{\"type\":\"ready\",\"extensions\":[]}", AW_OK, false},
      {"{\"type\":\"ready\",\"protocol_version\":\"2\"}", AW_E_VERSION_MISMATCH,
       false},
      {"{\"type\":\"ready\",\"protocol_version\":2}", AW_E_VERSION_MISMATCH,
       false},
      {"{\"type\":\"ready\",\"protocol_version\":[]}", AW_E_VERSION_MISMATCH,
       false},
      {"{\"type\":\"steady\"}", AW_E_INVALID_REQUEST, false},
      {"{\"type\":1}", AW_E_INVALID_REQUEST, false},
      {"{}", AW_E_INVALID_REQUEST, false},
      {"[\"ready\"]", AW_E_INVALID_REQUEST, false},
      {"\"ready\"", AW_E_INVALID_REQUEST, false},
      {"ready", AW_E_INVALID_REQUEST, false},
      {"{\"type\":\"ready\"", AW_E_INVALID_REQUEST, false},
  };
  size_t i;

  (void)state;
  for (i = 0; i < sizeof lines / sizeof lines[0]; i++) {
    const char *text = lines[i].text;
    bool extended = true;
    int rc = aw_ready_parse(aw_mem_default(), text, strlen(text), &extended);
    assert_int_equal(rc, lines[i].rc);
    assert_int_equal(extended, lines[i].extended);
  }
}

static void own_ready_line_is_the_protocols(void **state) {
  bool extended;

  (void)state;
  assert_string_equal(aw_ready_line(false),
                      "{\"type\":\"ready\",\"protocol_version\":\"1\"}");
  const char *line = aw_ready_line(true);
  assert_string_equal(line, "{\"type\":\"ready\",\"protocol_version\":\"1\","
                            "\"extensions\":[\"agentwire.v1\"]}");
  assert_int_equal(
      aw_ready_parse(aw_mem_default(), line, strlen(line), &extended), AW_OK);
  assert_true(extended);
}

int main(void) {
  static const struct CMUnitTest tests[] = {
      cmocka_unit_test(ready_line_is_parsed_leniently),
      cmocka_unit_test(own_ready_line_is_the_protocols),
  };

  return cmocka_run_group_tests_name("ready", tests, NULL, NULL);
}
