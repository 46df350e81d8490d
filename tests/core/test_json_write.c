#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "aw_error.h"
#include "aw_json.h"
#include "failing_mem.h"
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

static aw_buf sink;

static int open_buf(void **state) {
  (void)state;
  aw_buf_init(&sink, aw_mem_default());
  return 0;
}

static int close_buf(void **state) {
  (void)state;
  aw_buf_fini(&sink);
  return 0;
}

static void assert_written(const char *text) {
  if (aw_buf_len(&sink) != strlen(text) ||
      memcmp(aw_buf_bytes(&sink), text, strlen(text)) != 0) {
    fail_msg("%.*s instead of %s", (int)aw_buf_len(&sink), aw_buf_bytes(&sink),
             text);
  }
  aw_buf_reset(&sink, 0);
}

static void writer_escapes_what_it_must_and_nothing_else(void **state) {
  static const struct {
    const char *bytes;
    size_t len;
    const char *text;
  } cases[] = {
      {"", 0, "\"\""},
      {NULL, 0, "\"\""},
      {"plain /text", 11, "\"plain /text\""},
      {"\"\\", 2, "\"\\\"\\\\\""},
      {"\b\f\n\r\t", 5, "\"\\b\\f\\n\\r\\t\""},
      {"\0\1\x0B\x0E\x1F", 5, "\"\\u0000\\u0001\\u000b\\u000e\\u001f\""},
      {"\x7F", 1, "\"\x7F\""},
      {"caf\xC3\xA9", 5, "\"caf\xC3\xA9\""},
      {"\xE2\x80\xA8", 3, "\"\xE2\x80\xA8\""},
      {"\xF0\x9F\x98\x80\n\xF0\x9F\x98\x80", 9,
       "\"\xF0\x9F\x98\x80\\n\xF0\x9F\x98\x80\""},
      {"0123456789abcdef\"0123456789abcdef", 33,
       "\"0123456789abcdef\\\"0123456789abcdef\""},
  };
  size_t i;

  (void)state;
  for (i = 0; i < LENGTH(cases); i++) {
    assert_int_equal(aw_json_put_string(&sink, cases[i].bytes, cases[i].len),
                     0);
    assert_written(cases[i].text);
  }
}

static void writer_writes_names_between_their_neighbours(void **state) {
  (void)state;
  assert_int_equal(aw_json_put_name(&sink, '{', "", 0), 0);
  assert_int_equal(aw_json_put_name(&sink, ',', "a\n\"b\xC3\xA9", 6), 0);
  assert_int_equal(aw_json_put_name(&sink, ',', "0123456789abcdef", 16), 0);
  assert_written("{\"\":,\"a\\n\\\"b\xC3\xA9\":,\"0123456789abcdef\":");
}

static void writer_refuses_invalid_utf8_and_appends_nothing(void **state) {
  static const char *const cases[] = {
      "\x80",
      "\xC3",
      "abc\xE2\x82",
      "\xED\xA0\x80",
      "\xC0\xAF",
      "\xF4\x90\x80\x80",
      "0123456789abcdef0123456789abcdef\xFF",
      "\n\n\n\xFF tail",
  };
  size_t i;

  (void)state;
  for (i = 0; i < LENGTH(cases); i++) {
    assert_int_equal(aw_buf_append(&sink, "[", 1), 0);
    assert_int_equal(aw_json_put_string(&sink, cases[i], strlen(cases[i])),
                     AW_E_JSON_UTF8);
    assert_int_equal(aw_json_put_name(&sink, '{', cases[i], strlen(cases[i])),
                     AW_E_JSON_UTF8);
    assert_written("[");
  }
}

/* Every byte value at every place of short strings goes through the scanner
 * and comes back. */
static void writer_and_scanner_agree_on_strings(void **state) {
  aw_json_tape tape;
  aw_json_error error;
  char bytes[40], back[40];
  size_t len, at;
  int c;

  (void)state;
  aw_json_tape_init(&tape, aw_mem_default());
  for (len = 1; len <= sizeof bytes; len++) {
    for (at = 0; at < len; at++) {
      for (c = 0; c < 128; c++) {
        const char *text;

        memset(bytes, '#', sizeof bytes);
        bytes[at] = (char)c;
        assert_int_equal(aw_json_put_string(&sink, bytes, len), 0);
        text = aw_buf_bytes(&sink);
        assert_int_equal(
            aw_json_scan(&tape, text, aw_buf_len(&sink), 0, &error), 0);
        assert_true(aw_json_equal(tape.tokens, text, bytes, len));
        assert_true(tape.tokens[0].len >= len);
        if (tape.tokens[0].len <= sizeof back) {
          assert_int_equal(aw_json_unescape(tape.tokens, text, back), len);
        }
        aw_buf_reset(&sink, 4096);
      }
    }
  }
  aw_json_tape_fini(&tape);
}

/* Escapes use up the room of the plain bytes behind them. */
static void writer_makes_room_behind_escapes(void **state) {
  char bytes[600];
  size_t escapes;

  (void)state;
  for (escapes = 0; escapes < 400; escapes++) {
    memset(bytes, 1, escapes);
    memset(bytes + escapes, 'x', 200);
    assert_int_equal(aw_json_put_string(&sink, bytes, escapes + 200), 0);
    assert_int_equal(aw_buf_len(&sink), 6 * escapes + 202);
    aw_buf_reset(&sink, 0);
    assert_int_equal(aw_json_put_name(&sink, ',', bytes, escapes), 0);
    assert_int_equal(aw_buf_len(&sink), 6 * escapes + 4);
    aw_buf_reset(&sink, 0);
  }
}

static void writer_prints_integers_exactly(void **state) {
  static const int64_t values[] = {0,
                                   1,
                                   -1,
                                   9,
                                   10,
                                   99,
                                   100,
                                   101,
                                   999,
                                   1000,
                                   -12345,
                                   INT64_C(9007199254740993),
                                   INT64_C(1712345678901),
                                   INT64_MAX,
                                   INT64_MIN};
  size_t i;

  (void)state;
  for (i = 0; i < LENGTH(values); i++) {
    char text[32];

    sprintf(text, "%lld", (long long)values[i]);
    assert_int_equal(aw_json_put_int64(&sink, values[i]), 0);
    assert_written(text);
  }
}

static const struct {
  double value;
  const char *text;
} doubles[] = {
    {0.0, "0.0"},
    {-0.0, "-0.0"},
    {1.0, "1.0"},
    {-42.0, "-42.0"},
    {0.1, "0.1"},
    {0.7, "0.7"},
    {1.5, "1.5"},
    {-2.5e-3, "-0.0025"},
    {1e14, "100000000000000.0"},
    {999999999999999.0, "999999999999999.0"},
    {1e15, "1e+15"},
    {9007199254740992.0, "9007199254740992.0"},
    {1e22, "1e+22"},
    {1e-5, "1e-05"},
    {1.0 / 3, "0.3333333333333333"},
    {0.1 + 0.2, "0.30000000000000004"},
    {5e-324, "4.94065645841247e-324"},
    {DBL_MAX, "1.7976931348623157e+308"},
};

static void writer_prints_doubles_shortest(void **state) {
  size_t i;

  (void)state;
  for (i = 0; i < LENGTH(doubles); i++) {
    assert_int_equal(aw_json_put_double(&sink, doubles[i].value), 0);
    assert_written(doubles[i].text);
  }
}

static void writer_refuses_what_is_no_number(void **state) {
  (void)state;
  assert_int_equal(aw_json_put_double(&sink, HUGE_VAL), AW_E_JSON_NUMBER);
  assert_int_equal(aw_json_put_double(&sink, -HUGE_VAL), AW_E_JSON_NUMBER);
  assert_int_equal(aw_json_put_double(&sink, NAN), AW_E_JSON_NUMBER);
  assert_int_equal(aw_buf_len(&sink), 0);
}

static void writer_doubles_read_back_the_same(void **state) {
  aw_json_tape tape;
  aw_json_error error;
  uint64_t random = 88172645463325252u;
  int i;

  (void)state;
  aw_json_tape_init(&tape, aw_mem_default());
  for (i = 0; i < 20000; i++) {
    double value;

    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    memcpy(&value, &random, sizeof value);
    if (!isfinite(value)) {
      continue;
    }
    assert_int_equal(aw_json_put_double(&sink, value), 0);
    assert_int_equal(
        aw_json_scan(&tape, aw_buf_bytes(&sink), aw_buf_len(&sink), 0, &error),
        0);
    assert_int_equal(tape.tokens[0].kind, AW_JSON_REAL);
    assert_true(aw_json_double(tape.tokens, aw_buf_bytes(&sink)) == value);
    aw_buf_reset(&sink, 4096);
  }
  aw_json_tape_fini(&tape);
}

/* A second copy of the writer, whose C library prints a decimal point of two
 * bytes: no such locale needs to be installed. */
static int print_foreign(char *text, size_t size, const char *format,
                         int digits, double value) {
  char plain[64];
  const char *from;
  size_t len = 0;

  assert_string_equal(format, "%.*g");
  sprintf(plain, "%.*g", digits, value);
  for (from = plain; *from != '\0'; from++) {
    len += (size_t)sprintf(text + len, *from == '.' ? "\xD9\xAB" : "%c", *from);
  }
  assert_true(len < size);
  return (int)len;
}

#define snprintf print_foreign
#define aw_json_put_name foreign_put_name
#define aw_json_digits foreign_digits
#define aw_json_put_string foreign_put_string
#define aw_json_put_int64 foreign_put_int64
#define aw_json_put_double foreign_put_double
#include "aw_json_write.c"
#undef snprintf
#undef aw_json_put_name
#undef aw_json_digits
#undef aw_json_put_string
#undef aw_json_put_int64
#undef aw_json_put_double

static void writer_prints_a_point_in_any_locale(void **state) {
  size_t i;

  (void)state;
  for (i = 0; i < LENGTH(doubles); i++) {
    assert_int_equal(foreign_put_double(&sink, doubles[i].value), 0);
    assert_written(doubles[i].text);
  }
}

static int write_all(const aw_mem *mem) {
  char bytes[600];
  aw_buf buf;
  int rc;

  memset(bytes, '\n', sizeof bytes);
  aw_buf_init(&buf, mem);
  rc = aw_json_put_string(&buf, bytes, sizeof bytes);
  if (rc == 0) {
    rc = aw_json_put_int64(&buf, INT64_MIN);
  }
  if (rc == 0) {
    rc = aw_json_put_double(&buf, 0.5);
  }
  aw_buf_fini(&buf);
  return rc;
}

static int write_name(const aw_mem *mem) {
  char bytes[600];
  aw_buf buf;
  int rc;

  memset(bytes, '\n', sizeof bytes);
  aw_buf_init(&buf, mem);
  rc = aw_json_put_name(&buf, ',', bytes, sizeof bytes);
  aw_buf_fini(&buf);
  return rc;
}

static int write_int64(const aw_mem *mem) {
  aw_buf buf;
  int rc;

  aw_buf_init(&buf, mem);
  rc = aw_json_put_int64(&buf, 7);
  aw_buf_fini(&buf);
  return rc;
}

static int write_double(const aw_mem *mem) {
  aw_buf buf;
  int rc;

  aw_buf_init(&buf, mem);
  rc = aw_json_put_double(&buf, 0.5);
  aw_buf_fini(&buf);
  return rc;
}

static void writer_out_of_memory_is_an_error_without_leak(void **state) {
  (void)state;
  fail_each_allocation(write_all);
  fail_each_allocation(write_name);
  fail_each_allocation(write_int64);
  fail_each_allocation(write_double);
}

#define BUF_TEST(test)                                                         \
  cmocka_unit_test_setup_teardown(test, open_buf, close_buf)

int main(void) {
  const struct CMUnitTest tests[] = {
      BUF_TEST(writer_escapes_what_it_must_and_nothing_else),
      BUF_TEST(writer_writes_names_between_their_neighbours),
      BUF_TEST(writer_refuses_invalid_utf8_and_appends_nothing),
      BUF_TEST(writer_and_scanner_agree_on_strings),
      BUF_TEST(writer_makes_room_behind_escapes),
      BUF_TEST(writer_prints_integers_exactly),
      BUF_TEST(writer_prints_doubles_shortest),
      BUF_TEST(writer_refuses_what_is_no_number),
      BUF_TEST(writer_doubles_read_back_the_same),
      BUF_TEST(writer_prints_a_point_in_any_locale),
      BUF_TEST(writer_out_of_memory_is_an_error_without_leak),
  };

  return cmocka_run_group_tests_name("json_write", tests, NULL, NULL);
}
