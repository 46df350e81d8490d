#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "aw_json.h"
#include "aw_utf8.h"

enum verdict { GOOD, BAD, OPEN };

static size_t character_size(unsigned char lead) {
  return lead < 0x80             ? 1
         : (lead & 0xE0) == 0xC0 ? 2
         : (lead & 0xF0) == 0xE0 ? 3
         : (lead & 0xF8) == 0xF0 ? 4
                                 : 0;
}

/* Gathers the code point, then asks whether it needed so many bytes and is a
 * scalar value: the definition, not the tables of the code under test. */
static bool is_character(const unsigned char *p, size_t size) {
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  uint32_t point = size == 1 ? p[0] : p[0] & (0x7Fu >> size);

  for (size_t i = 1; i < size; i++) {
    if ((p[i] & 0xC0) != 0x80) {
      return false;
    }
    point = point << 6 | (p[i] & 0x3F);
  }
  return point >= least[size] && point <= 0x10FFFF &&
         (point < 0xD800 || point > 0xDFFF);
}

static bool is_text(const unsigned char *p, size_t len) {
  while (len > 0) {
    size_t size = character_size(p[0]);

    if (size == 0 || size > len || !is_character(p, size)) {
      return false;
    }
    p += size;
    len -= size;
  }
  return true;
}

/* Is there anything that would make it valid? */
static bool can_be_completed(const unsigned char *p, size_t len) {
  static const unsigned char next[] = {0x80, 0x90, 0xA0};
  unsigned char longer[8];

  memcpy(longer, p, len);
  for (size_t i = 0; i < sizeof next; i++) {
    longer[len] = next[i];
    longer[len + 1] = longer[len + 2] = 0x80;
    if (is_text(longer, len + 1) || is_text(longer, len + 2) ||
        is_text(longer, len + 3)) {
      return true;
    }
  }
  return false;
}

static enum verdict expected(const unsigned char *p, size_t len) {
  if (is_text(p, len)) {
    return GOOD;
  }
  return can_be_completed(p, len) ? OPEN : BAD;
}

static enum verdict check(const unsigned char *p, size_t len, size_t cut) {
  const char *bytes = (const char *)p;
  uint32_t state = aw_utf8_check(AW_UTF8_START, bytes, cut);

  state = aw_utf8_check(state, bytes + cut, len - cut);
  return state == AW_UTF8_START ? GOOD : state == AW_UTF8_BAD ? BAD : OPEN;
}

static void verdicts_agree_with_the_definition_at_any_cut(void **state) {
  static const unsigned char edges[] = {
      0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0,
      0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF,
      0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xF7, 0xF8, 0xFF};
  size_t n = sizeof edges, rounds = n * n * n * n;
  unsigned char p[4];

  (void)state;
  for (size_t round = 0; round < rounds; round++) {
    for (size_t i = 0, rest = round; i < 4; i++, rest /= n) {
      p[i] = edges[rest % n];
    }
    for (size_t len = round < n * n * n ? 1 : 4; len <= 4; len++) {
      enum verdict want = expected(p, len);

      assert_int_equal(aw_utf8_valid((const char *)p, len), want == GOOD);
      for (size_t cut = 0; cut <= len; cut++) {
        assert_int_equal(check(p, len, cut), want);
      }
    }
  }
}

static void one_byte_in_a_long_run_is_found_wherever_it_is(void **state) {
  char text[80];

  (void)state;
  for (size_t len = 0; len <= sizeof text; len++) {
    memset(text, 'a', sizeof text);
    assert_true(aw_utf8_ascii(text, len));
    assert_int_equal(aw_utf8_check(AW_UTF8_START, text, len), AW_UTF8_START);
    for (size_t at = 0; at < len; at++) {
      text[at] = (char)0x80;
      assert_false(aw_utf8_ascii(text, len));
      assert_int_equal(aw_utf8_check(AW_UTF8_START, text, len), AW_UTF8_BAD);
      text[at] = 'a';
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(verdicts_agree_with_the_definition_at_any_cut),
      cmocka_unit_test(one_byte_in_a_long_run_is_found_wherever_it_is),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
