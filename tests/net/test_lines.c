#include "aw_error.h"
#include "aw_lines.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define MAX 8

/* One letter for what came: a line in [], ! too long. */
static void feed(aw_lines *lines, const char *text, size_t len, char *log) {
  /* A copy of its very size, so that the sanitizer sees the ends. */
  char *bytes = malloc(len > 0 ? len : 1);
  size_t at = 0, used;
  aw_line line;
  int rc;

  memcpy(bytes, text, len);
  while ((rc = aw_lines_next(lines, bytes + at, len - at, &used, &line)) !=
         AW_E_AGAIN) {
    at += used;
    if (rc == AW_OK) {
      strcat(log, "[");
      strncat(log, line.bytes, line.len);
      strcat(log, "]");
      memset(line.bytes, '#', line.len);
    } else {
      assert_int_equal(rc, AW_E_LIMIT);
      strcat(log, "!");
    }
  }
  assert_int_equal(at + used, len);
  free(bytes);
}

static void feed_last(aw_lines *lines, char *log) {
  aw_line line;
  int rc = aw_lines_last(lines, &line);

  if (rc == AW_OK) {
    strcat(log, "(");
    strncat(log, line.bytes, line.len);
    strcat(log, ")");
  } else if (rc == AW_E_LIMIT) {
    strcat(log, "!");
  }
}

static const struct {
  const char *text, *log;
} cases[] = {
    {"", ""},
    {"a\n", "[a]"},
    {"a\nbc\n", "[a][bc]"},
    {"\n\na\n\n", "[a]"},
    {"a\r\n\r\nb\r\n", "[a][b]"},
    {"a\rb\r\r\n", "[a\rb\r]"},
    {"12345678\n", "[12345678]"},
    {"12345678\r\n", "[12345678]"},
    {"123456789\na\n", "![a]"},
    {"123456789\r\na\n", "![a]"},
    {"12345678\r\r\na\n", "![a]"},
    {"123456789012345678901234567890\na\n", "![a]"},
    {"123456789012\n123456789012\na\n", "!![a]"},
    {"a\nb", "[a](b)"},
    {"a\nb\r", "[a](b)"},
    {"a\n\r", "[a]"},
    {"12345678", "(12345678)"},
    {"1234567890", "!"},
    {"a\n123456789012", "[a]!"},
};

static void check(const char *text, const char *expected, unsigned cut,
                  uint32_t random) {
  aw_lines lines;
  size_t len = strlen(text), at = 0;
  char log[256] = "";

  aw_lines_init(&lines, aw_mem_default(), MAX);
  while (at < len) {
    size_t part = cut == 0 ? len : cut == 1 ? 1 : 1 + random % 4;
    part = part < len - at ? part : len - at;
    random = random * 1664525u + 1013904223u;
    feed(&lines, text + at, part, log);
    assert_true(aw_buf_len(&lines.partial) <= MAX + 1);
    at += part;
  }
  feed_last(&lines, log);
  aw_lines_fini(&lines);
  assert_string_equal(log, expected);
}

static void lines_are_the_same_however_they_are_cut(void **state) {
  size_t i;
  uint32_t random;

  (void)state;
  for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    check(cases[i].text, cases[i].log, 0, 0);
    check(cases[i].text, cases[i].log, 1, 0);
    for (random = 1; random < 100; random++) {
      check(cases[i].text, cases[i].log, 2, random * 2654435761u);
    }
  }
}

static void *fail_realloc(void *user, void *block, size_t size) {
  (void)user;
  if (size == 0) {
    free(block);
  }
  return NULL;
}

static void line_without_memory_is_reported_once_and_dropped(void **state) {
  static const aw_mem no_memory = {fail_realloc, NULL};
  char text[] = "aaab\nc\n";
  aw_lines lines;
  aw_line line;
  size_t used;

  (void)state;
  aw_lines_init(&lines, &no_memory, MAX);
  assert_int_equal(aw_lines_next(&lines, text, 3, &used, &line), AW_E_NOMEM);
  assert_int_equal(used, 3);
  assert_int_equal(aw_lines_next(&lines, text + 3, 4, &used, &line), AW_OK);
  assert_int_equal(line.len, 1);
  assert_int_equal(line.bytes[0], 'c');
  aw_lines_fini(&lines);
}

int main(void) {
  static const struct CMUnitTest tests[] = {
      cmocka_unit_test(lines_are_the_same_however_they_are_cut),
      cmocka_unit_test(line_without_memory_is_reported_once_and_dropped),
  };

  return cmocka_run_group_tests_name("lines", tests, NULL, NULL);
}
