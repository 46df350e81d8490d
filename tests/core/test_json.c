#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "aw_json.h"
#include "failing_mem.h"
#include "json_cases.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

static aw_json_tape tape;
static aw_json_error error;

static int open_tape(void **state) {
  (void)state;
  aw_json_tape_init(&tape, aw_mem_default());
  return 0;
}

static int close_tape(void **state) {
  (void)state;
  aw_json_tape_fini(&tape);
  return 0;
}

static int scan_depth(const char *text, size_t len, unsigned depth) {
  return aw_json_scan(&tape, text, len, depth, &error);
}

/* From a block of exactly the text's size, so that ASan sees each read
 * outside it. */
static int scan(const char *text, size_t len) {
  char *copy = malloc(len + (len == 0));
  int rc;

  assert_non_null(copy);
  memcpy(copy, text, len);
  rc = scan_depth(copy, len, AW_JSON_DEPTH);
  free(copy);
  return rc;
}

static void assert_scans(const char *text) {
  if (scan(text, strlen(text)) != 0) {
    fail_msg("%s: %s at %zu", text, error.what, error.offset);
  }
}

static void json_accepts_what_the_grammar_allows(void **state) {
  size_t i;

  (void)state;
  for (i = 0; i < LENGTH(accepted); i++) {
    if (scan(accepted[i].text, accepted[i].len) != 0) {
      fail_msg("%s: %s at %zu", accepted[i].text, error.what, error.offset);
    }
    if (tape.count != accepted[i].tokens) {
      fail_msg("%s: %u tokens", accepted[i].text, tape.count);
    }
  }
}

static void json_refuses_the_rest_and_says_where(void **state) {
  size_t i;

  (void)state;
  for (i = 0; i < LENGTH(refused); i++) {
    int rc = scan(refused[i].text, refused[i].len);

    if (rc != refused[i].code || error.code != rc ||
        error.offset != refused[i].offset) {
      fail_msg("%s: %s at %zu (%s)", refused[i].text, aw_error_code(rc),
               error.offset, error.what);
    }
    assert_true(strlen(error.what) > 0);
  }
}

/* The same cases at every place relative to the blocks that are read at once,
 * alone and before more text. */
static void json_verdicts_do_not_depend_on_the_place(void **state) {
  char text[512];
  size_t i, shift;

  (void)state;
  for (shift = 1; shift < 34; shift++) {
    memset(text, ' ', sizeof text);
    for (i = 0; i < LENGTH(accepted); i++) {
      memcpy(text + shift, accepted[i].text, accepted[i].len);
      assert_int_equal(scan(text, shift + accepted[i].len), 0);
      memset(text + shift + accepted[i].len, ' ', 40);
      assert_int_equal(scan(text, shift + accepted[i].len + 40), 0);
    }
    for (i = 0; i < LENGTH(refused); i++) {
      memcpy(text + shift, refused[i].text, refused[i].len);
      assert_int_equal(scan(text, shift + refused[i].len), refused[i].code);
      assert_int_equal(error.offset, shift + refused[i].offset);
    }
  }
}

static const char envelope[] =
    "{\"type\":\"text_delta\",\"stream_id\":\"01234567-89ab-cdef-fedc-"
    "ba9876543210\",\"sequence\":42,\"ok\":[true,false,null,-1.5e+3],"
    "\"payload\":{\"delta\":\"caf\xC3\xA9 \\n \\u00e9 \\ud83d\\ude00 "
    "\xF0\x9F\x98\x80 end\"}}";

static void json_truncated_anywhere_is_truncated(void **state) {
  size_t len;

  (void)state;
  assert_scans(envelope);
  for (len = 0; len < sizeof envelope - 1; len++) {
    assert_int_equal(scan(envelope, len), AW_E_JSON_TRUNCATED);
    assert_int_equal(error.offset, len);
  }
}

static void json_survives_any_changed_byte(void **state) {
  char text[sizeof envelope];
  size_t at;
  int c;

  (void)state;
  for (at = 0; at < sizeof envelope - 1; at++) {
    memcpy(text, envelope, sizeof text);
    for (c = 0; c < 256; c++) {
      text[at] = (char)c;
      if (scan(text, sizeof text - 1) != 0) {
        assert_true(error.code < 0);
        assert_true(error.offset <= sizeof text - 1);
      }
    }
  }
}

/* Strings of every short length with one byte of every value at every place:
 * block, overlapping tail and single bytes must agree. `"#` is where a borrow
 * from a byte in front could show. */
static void json_finds_every_byte_in_strings(void **state) {
  char text[64];
  size_t len, at;
  int c;

  (void)state;
  for (len = 1; len < 40; len++) {
    for (at = 0; at < len; at++) {
      for (c = 0; c < 256; c++) {
        int rc, good = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';

        memset(text, '#', sizeof text);
        text[0] = text[len + 1] = '"';
        text[at + 1] = (char)c;
        rc = scan(text, len + 2);
        assert_int_equal(rc == 0, good);
        if (good) {
          assert_int_equal(tape.tokens[0].len, len);
        } else if (c < 0x20) {
          assert_int_equal(error.offset, at + 1);
        }
      }
    }
  }
}

static void json_tokens_name_their_spans(void **state) {
  const char *text = " {\"a\": [1, 2.5], \"b\\n\":{\"c\":\"x\"} , \"d\":[]} ";
  static const struct {
    enum aw_json_kind kind;
    const char *span;
    uint32_t next, count;
    bool escaped;
  } expected[] = {
      {AW_JSON_OBJECT, "{\"a\": [1, 2.5], \"b\\n\":{\"c\":\"x\"} , \"d\":[]}",
       11, 3, false},
      {AW_JSON_STRING, "a", 2, 0, false},
      {AW_JSON_ARRAY, "[1, 2.5]", 5, 2, false},
      {AW_JSON_INTEGER, "1", 4, 0, false},
      {AW_JSON_REAL, "2.5", 5, 0, false},
      {AW_JSON_STRING, "b\\n", 6, 0, true},
      {AW_JSON_OBJECT, "{\"c\":\"x\"}", 9, 1, false},
      {AW_JSON_STRING, "c", 8, 0, false},
      {AW_JSON_STRING, "x", 9, 0, false},
      {AW_JSON_STRING, "d", 10, 0, false},
      {AW_JSON_ARRAY, "[]", 11, 0, false},
  };
  size_t i;

  (void)state;
  assert_scans(text);
  assert_int_equal(tape.count, LENGTH(expected));
  for (i = 0; i < LENGTH(expected); i++) {
    const aw_json_token *token = &tape.tokens[i];

    assert_int_equal(token->kind, expected[i].kind);
    assert_int_equal(token->len, strlen(expected[i].span));
    assert_memory_equal(text + token->start, expected[i].span, token->len);
    assert_int_equal(token->next, expected[i].next);
    assert_int_equal(token->count, expected[i].count);
    assert_int_equal(token->escaped, expected[i].escaped);
  }
}

static void json_depth_is_counted_in_containers(void **state) {
  char text[2 * AW_JSON_DEPTH_MAX + 2];
  unsigned depth;

  (void)state;
  assert_int_equal(scan_depth("1", 1, 0), 0);
  assert_int_equal(scan_depth("[]", 2, 0), AW_E_JSON_DEPTH);
  assert_int_equal(scan_depth("[]", 2, 1), 0);
  assert_int_equal(scan_depth("[[],[],{}]", 10, 2), 0);
  assert_int_equal(scan_depth("[[],[{}]]", 9, 2), AW_E_JSON_DEPTH);
  assert_int_equal(error.offset, 5);
  for (depth = 1; depth <= AW_JSON_DEPTH_MAX; depth *= 2) {
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    assert_int_equal(scan_depth(text, 2 * depth, depth), 0);
    assert_int_equal(scan_depth(text, 2 * depth, depth - 1), AW_E_JSON_DEPTH);
    assert_int_equal(error.offset, depth - 1);
  }
  assert_int_equal(scan_depth("1", 1, AW_JSON_DEPTH_MAX + 1), AW_E_INVALID);
}

static void json_no_text_at_all_is_truncated(void **state) {
  (void)state;
  assert_int_equal(scan_depth(NULL, 0, 1), AW_E_JSON_TRUNCATED);
}

#if SIZE_MAX > UINT32_MAX
static void json_refuses_a_text_that_offsets_cannot_reach(void **state) {
  (void)state;
  assert_int_equal(scan_depth("1", (size_t)UINT32_MAX + 1, 1), AW_E_INVALID);
}
#endif

/* `count` keys that start with `prefix`; the key number `repeated` stands a
 * second time at the end when it is not negative. */
static size_t many_keys(char *text, const char *prefix, int count,
                        int repeated) {
  size_t len = 0;
  int i;

  for (i = 0; i < count; i++) {
    len += (size_t)sprintf(text + len, "%c\"%s%d\":0", i == 0 ? '{' : ',',
                           prefix, (int)((i * 7919LL) % count));
  }
  if (repeated >= 0) {
    len += (size_t)sprintf(text + len, ",\"%s%d\":0", prefix, repeated);
  }
  len += (size_t)sprintf(text + len, "}");
  return len;
}

static void json_finds_a_duplicate_among_any_number_of_keys(void **state) {
  static const int counts[] = {1, 2, 31, 32, 33, 34, 100, 5000};
  char *text = malloc(5010 * 40);
  size_t i, j, len;

  (void)state;
  assert_non_null(text);
  for (i = 0; i < LENGTH(counts); i++) {
    int n = counts[i];
    int repeated[] = {0, n / 2, n - 1};

    len = many_keys(text, "same prefix for all of them ", n, -1);
    assert_int_equal(scan(text, len), 0);
    assert_int_equal(tape.tokens[0].count, n);
    for (j = 0; j < LENGTH(repeated); j++) {
      size_t last;

      len = many_keys(text, "k", n, repeated[j]);
      assert_int_equal(scan(text, len), AW_E_JSON_DUPLICATE);
      for (last = len; text[last] != ','; last--) {
      }
      assert_int_equal(error.offset, last + 1);
    }
  }
  free(text);
}

/* Comparing all pairs would be 5e11 comparisons: this test would not end. */
static void json_checks_a_million_keys_in_little_time(void **state) {
  char *text = malloc(1000000 * 16);
  size_t len;

  (void)state;
  assert_non_null(text);
  len = many_keys(text, "", 1000000, -1);
  assert_int_equal(scan(text, len), 0);
  len = many_keys(text, "", 1000000, 999999);
  assert_int_equal(scan(text, len), AW_E_JSON_DUPLICATE);
  free(text);
}

static void json_member_finds_values_by_unescaped_key(void **state) {
  const char *text = "{\"a\":1,\"b\":{\"a\":2,\"a\":3},\"\\u0063\\n\":[4],"
                     "\"\":5}";
  uint32_t b;

  (void)state;
  assert_scans(text);
  assert_int_equal(aw_json_member(tape.tokens, 0, text, "a", 1), 2);
  b = aw_json_member(tape.tokens, 0, text, "b", 1);
  assert_int_equal(b, 4);
  assert_int_equal(aw_json_member(tape.tokens, b, text, "a", 1), 8);
  assert_int_equal(aw_json_member(tape.tokens, b, text, "b", 1), 0);
  assert_int_equal(aw_json_member(tape.tokens, 0, text, "c\n", 2), 10);
  assert_int_equal(aw_json_member(tape.tokens, 0, text, "c", 1), 0);
  assert_int_equal(aw_json_member(tape.tokens, 0, text, "c\nd", 3), 0);
  assert_int_equal(aw_json_member(tape.tokens, 0, text, "", 0), 13);
  assert_int_equal(aw_json_member(tape.tokens, 2, text, "a", 1), 0);
  assert_int_equal(aw_json_member(tape.tokens, 10, text, "a", 1), 0);
}

static const struct {
  const char *text;
  const char *value;
  size_t len;
} strings[] = {
    {"\"\"", TEXT("")},
    {"\"plain\"", TEXT("plain")},
    {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", TEXT("\"\\/\b\f\n\r\t")},
    {"\"a\\u0000b\"", TEXT("a\0b")},
    {"\"\\u007f\\u0080\"", TEXT("\x7F\xC2\x80")},
    {"\"\\u07FF\\u0800\"", TEXT("\xDF\xBF\xE0\xA0\x80")},
    {"\"\\uFFFF\"", TEXT("\xEF\xBF\xBF")},
    {"\"\\uD800\\uDC00\"", TEXT("\xF0\x90\x80\x80")},
    {"\"\\uDBFF\\uDFFF\"", TEXT("\xF4\x8F\xBF\xBF")},
    {"\"x\\ud83d\\ude00y\"", TEXT("x\xF0\x9F\x98\x80y")},
    {"\"caf\xC3\xA9\\n\"", TEXT("caf\xC3\xA9\n")},
    {"\"\\\\u0041\"", TEXT("\\u0041")},
};

static void json_unescapes_strings(void **state) {
  char out[64];
  size_t i;

  (void)state;
  for (i = 0; i < LENGTH(strings); i++) {
    const char *text = strings[i].text, *value = strings[i].value;
    size_t len = strings[i].len;

    assert_scans(text);
    assert_int_equal(aw_json_unescape(tape.tokens, text, out), len);
    assert_memory_equal(out, value, len);
    assert_true(aw_json_equal(tape.tokens, text, value, len));
    memcpy(out, value, len);
    out[len] = 'x';
    assert_false(aw_json_equal(tape.tokens, text, out, len + 1));
    if (len > 0) {
      assert_false(aw_json_equal(tape.tokens, text, value, len - 1));
      out[len - 1] ^= 1;
      assert_false(aw_json_equal(tape.tokens, text, out, len));
    }
  }
}

static void json_int64_is_exact_or_refused(void **state) {
  static const struct {
    const char *text;
    int rc;
    int64_t value;
  } cases[] = {
      {"0", 0, 0},
      {"-0", 0, 0},
      {"-1", 0, -1},
      {"9007199254740993", 0, INT64_C(9007199254740993)},
      {"9223372036854775807", 0, INT64_MAX},
      {"-9223372036854775808", 0, INT64_MIN},
      {"9223372036854775808", AW_E_LIMIT, 0},
      {"-9223372036854775809", AW_E_LIMIT, 0},
      {"9223372036854775810", AW_E_LIMIT, 0},
      {"18446744073709551616", AW_E_LIMIT, 0},
      {"100000000000000000000000000", AW_E_LIMIT, 0},
  };
  size_t i;

  (void)state;
  for (i = 0; i < LENGTH(cases); i++) {
    int64_t value = 77;

    assert_scans(cases[i].text);
    assert_int_equal(tape.tokens[0].kind, AW_JSON_INTEGER);
    assert_int_equal(aw_json_int64(tape.tokens, cases[i].text, &value),
                     cases[i].rc);
    assert_true(value == (cases[i].rc == 0 ? cases[i].value : 77));
  }
}

static double read_double(const char *text) {
  assert_scans(text);
  return aw_json_double(tape.tokens, text);
}

/* Where rounding goes wrong first; the expectations are the compiler's. */
static void json_double_rounds_correctly(void **state) {
  static const struct {
    const char *text;
    double value;
  } cases[] = {
      {"0", 0.0},
      {"1", 1.0},
      {"-1.5", -1.5},
      {"0.1", 0.1},
      {"123.456", 123.456},
      {"1e22", 1e22},
      {"1e23", 1e23},
      {"1E+2", 100.0},
      {"12345678901234567890", 12345678901234567890.0},
      {"9007199254740993", 9007199254740992.0},
      {"9007199254740993.00000000000000000000000001", 9007199254740994.0},
      {"2.2250738585072011e-308", 2.2250738585072011e-308},
      {"2.2250738585072014e-308", DBL_MIN},
      {"5e-324", 4.9406564584124654e-324},
      {"2.4703282292062328e-324", 4.9406564584124654e-324},
      {"2.4703282292062327e-324", 0.0},
      {"1.7976931348623157e308", DBL_MAX},
      {"1.7976931348623158e308", DBL_MAX},
      {"1e-99999999999999999999", 0.0},
      {"0e99999999999999999999", 0.0},
      {"0.00000000000000000000000000001e30", 10.0},
      {"1000000000000000000000000000000e-30", 1.0},
      {"8.41e21", 8.41e21},
      {"9.5367431640625e-7", 9.5367431640625e-7},
  };
  size_t i;

  (void)state;
  for (i = 0; i < LENGTH(cases); i++) {
    if (read_double(cases[i].text) != cases[i].value) {
      fail_msg("%s: %.17g", cases[i].text, read_double(cases[i].text));
    }
  }
  assert_true(signbit(read_double("-0.0")));
  assert_true(signbit(read_double("-0")));
  assert_false(signbit(read_double("0.0")));
}

/* The exact midpoint of two doubles has up to 767 digits: a last digit that
 * lies even further out decides. */
static void json_double_heeds_digits_far_out(void **state) {
  char text[2100];
  double low = 1.0 + DBL_EPSILON, high = 1.0 + 2 * DBL_EPSILON;
  int len;

  (void)state;
  /* 1 + 3/2 epsilon, written exactly, is a tie that goes to the even. */
  len = sprintf(text, "1."
                      "000000000000000333066907387546962127089500427246093"
                      "75");
  assert_true(read_double(text) == high);
  memset(text + len, '0', 2000);
  text[len + 2000] = '\0';
  assert_true(read_double(text) == high);
  /* 1 + 1/2 epsilon is a tie that goes down; one more digit lifts it. */
  len = sprintf(text, "1."
                      "000000000000000111022302462515654042363166809082031"
                      "25");
  assert_true(read_double(text) == 1.0);
  memset(text + len, '0', 2000);
  text[len + 1999] = '1';
  text[len + 2000] = '\0';
  assert_true(read_double(text) == low);
}

static uint64_t next_random(void) {
  static uint64_t state = 88172645463325252u;

  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

static void json_double_agrees_with_the_c_library(void **state) {
  char text[64];
  int i;

  (void)state;
  for (i = 0; i < 20000; i++) {
    uint64_t a = next_random(), b = next_random();

    sprintf(text, "%s%llu.%0*llue%d", b & 1 ? "-" : "",
            (unsigned long long)(a >> (b >> 8 & 63)), (int)(1 + (b >> 16) % 20),
            (unsigned long long)(next_random() >> (b >> 24 & 63)),
            (int)((b >> 32) % 700) - 350);
    if (isinf(strtod(text, NULL))) {
      assert_int_equal(scan(text, strlen(text)), AW_E_JSON_NUMBER);
    } else if (read_double(text) != strtod(text, NULL)) {
      fail_msg("%s: %.17g", text, read_double(text));
    }
  }
}

/* Independent of the table above: decodes by the bit patterns, then asks
 * whether the code point may be written in so many bytes. */
static bool may_be_character(const unsigned char *p, size_t len) {
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  uint32_t code = p[0] & (0xFFu >> (len + 1));
  size_t i;

  for (i = 1; i < len; i++) {
    if (p[i] >> 6 != 2) {
      return false;
    }
    code = code << 6 | (p[i] & 0x3F);
  }
  return code >= least[len] && code <= 0x10FFFF && code >> 11 != 0x1B;
}

static void utf8_agrees_with_its_definition(void **state) {
  unsigned char p[4];
  unsigned a, b, c;

  (void)state;
  for (a = 0xC0; a < 0xF8; a++) {
    size_t len = a < 0xE0 ? 2 : a < 0xF0 ? 3 : 4;

    p[0] = (unsigned char)a;
    for (b = 0; b < 256; b++) {
      p[1] = (unsigned char)b;
      for (c = 0; c < 256; c++) {
        p[2] = (unsigned char)c;
        p[3] = (unsigned char)(c ^ 0x15);
        if (len == 2) {
          p[2] = 'x';
        }
        assert_int_equal(aw_utf8_valid((char *)p, len),
                         may_be_character(p, len));
      }
    }
  }
  for (a = 0; a < 256; a++) {
    p[0] = (unsigned char)a;
    assert_int_equal(aw_utf8_valid((char *)p, 1), a < 0x80);
  }
}

static void utf8_is_checked_at_every_place(void **state) {
  char text[80];
  size_t len, at;

  (void)state;
  assert_true(aw_utf8_valid(NULL, 0));
  for (len = 4; len <= sizeof text; len++) {
    for (at = 0; at + 4 <= len; at++) {
      char *copy = malloc(len);

      assert_non_null(copy);
      memset(copy, 'a', len);
      assert_true(aw_utf8_valid(copy, len));
      memcpy(copy + at, "\xF0\x9F\x98\x80", 4);
      assert_true(aw_utf8_valid(copy, len));
      assert_false(aw_utf8_valid(copy, at + 3));
      copy[at + 3] = 'a';
      assert_false(aw_utf8_valid(copy, len));
      free(copy);
    }
  }
}

static int scan_growing(const aw_mem *mem) {
  char text[4000];
  aw_json_tape own;
  size_t len = many_keys(text, "k", 300, -1);
  int rc;

  aw_json_tape_init(&own, mem);
  rc = aw_json_scan(&own, text, len, 8, &error);
  assert_int_equal(error.code, rc);
  aw_json_tape_fini(&own);
  return rc;
}

static void json_out_of_memory_is_an_error_without_leak(void **state) {
  (void)state;
  fail_each_allocation(scan_growing);
}

static void json_tape_growth_is_amortized_and_reused(void **state) {
  failing_mem failing;
  aw_json_tape own;
  size_t i, len = 200001;
  char *text = malloc(len);

  (void)state;
  assert_non_null(text);
  for (i = 0; i < len; i++) {
    text[i] = i % 2 == 0 ? ',' : '0';
  }
  text[0] = '[';
  text[len - 1] = ']';
  failing_mem_init(&failing, 0);
  aw_json_tape_init(&own, &failing.mem);
  assert_int_equal(aw_json_scan(&own, text, len, 8, &error), 0);
  assert_int_equal(own.tokens[0].count, 100000);
  assert_true(failing.calls < 16);
  failing.calls = 0;
  assert_int_equal(aw_json_scan(&own, text, len, 8, &error), 0);
  assert_int_equal(failing.calls, 0);
  aw_json_tape_fini(&own);
  free(text);
}

#define TAPE_TEST(test)                                                        \
  cmocka_unit_test_setup_teardown(test, open_tape, close_tape)

int main(void) {
  const struct CMUnitTest tests[] = {
    TAPE_TEST(json_accepts_what_the_grammar_allows),
    TAPE_TEST(json_refuses_the_rest_and_says_where),
    TAPE_TEST(json_verdicts_do_not_depend_on_the_place),
    TAPE_TEST(json_truncated_anywhere_is_truncated),
    TAPE_TEST(json_survives_any_changed_byte),
    TAPE_TEST(json_finds_every_byte_in_strings),
    TAPE_TEST(json_tokens_name_their_spans),
    TAPE_TEST(json_depth_is_counted_in_containers),
    TAPE_TEST(json_no_text_at_all_is_truncated),
#if SIZE_MAX > UINT32_MAX
    TAPE_TEST(json_refuses_a_text_that_offsets_cannot_reach),
#endif
    TAPE_TEST(json_finds_a_duplicate_among_any_number_of_keys),
    TAPE_TEST(json_checks_a_million_keys_in_little_time),
    TAPE_TEST(json_member_finds_values_by_unescaped_key),
    TAPE_TEST(json_unescapes_strings),
    TAPE_TEST(json_int64_is_exact_or_refused),
    TAPE_TEST(json_double_rounds_correctly),
    TAPE_TEST(json_double_heeds_digits_far_out),
    TAPE_TEST(json_double_agrees_with_the_c_library),
    TAPE_TEST(utf8_agrees_with_its_definition),
    TAPE_TEST(utf8_is_checked_at_every_place),
    TAPE_TEST(json_out_of_memory_is_an_error_without_leak),
    TAPE_TEST(json_tape_growth_is_amortized_and_reused),
  };

  return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
