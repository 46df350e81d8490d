/* A message above message_max that is skipped: its start and its length are
 * told, nothing more is stored, and the next message is read as ever. */
#include "aw_error.h"
#include "aw_ws.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX 1000

static aw_ws ws;
static aw_buf wire;

static int set_up(void **state) {
  aw_ws_options options = {
      .role = AW_WS_CLIENT, .message_max = MAX, .skip_large = true};

  (void)state;
  aw_ws_init(&ws, aw_mem_default(), &options);
  aw_buf_init(&wire, aw_mem_default());
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  aw_ws_fini(&ws);
  aw_buf_fini(&wire);
  return 0;
}

static void put_frame(unsigned first, const char *text, size_t len) {
  unsigned char head[4] = {(unsigned char)first, 126, (unsigned char)(len >> 8),
                           (unsigned char)len};

  assert_true(len > 125 && len < 65536);
  assert_int_equal(aw_buf_append(&wire, head, sizeof head), 0);
  assert_int_equal(aw_buf_append(&wire, text, len), 0);
}

/* What came, one letter each: m, or s with the length that was skipped. */
static void feed(size_t piece, char *log, size_t size) {
  char *bytes = aw_buf_bytes(&wire);
  size_t left = aw_buf_len(&wire), at = 0;

  log[0] = '\0';
  while (left > 0) {
    size_t len = piece < left ? piece : left, used = 0;
    aw_ws_event event = {AW_WS_EVENT_NONE};

    assert_int_equal(aw_ws_parse(&ws, bytes, len, &used, &event), 0);
    bytes += used;
    left -= used;
    assert_true(aw_buf_len(&ws.message) <= MAX);
    if (event.kind == AW_WS_EVENT_MESSAGE) {
      at += (size_t)snprintf(log + at, size - at, "m");
    } else if (event.kind == AW_WS_EVENT_SKIPPED) {
      assert_int_equal(event.len, AW_WS_HEAD_MAX);
      assert_memory_equal(event.bytes, "{\"type\"", 7);
      at += (size_t)snprintf(log + at, size - at, "s%llu ",
                             (unsigned long long)event.whole);
    }
  }
}

static char *make_text(size_t len) {
  char *text = malloc(len);

  assert_non_null(text);
  memset(text, 'x', len);
  memcpy(text, "{\"type\"", 7);
  return text;
}

static void what_is_too_large_is_skipped_however_it_is_cut(void **state) {
  static const size_t pieces[] = {1, 3, 100, 513, 100000};
  char *text = make_text(60000);
  char log[64];

  (void)state;
  for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
    tear_down(NULL);
    set_up(NULL);
    put_frame(0x81, text, 200);
    put_frame(0x81, text, 60000);
    put_frame(0x81, text, MAX);
    put_frame(0x81, text, MAX + 1);
    put_frame(0x01, text, 600); /* in frames: too large with the third */
    put_frame(0x00, text, 300);
    put_frame(0x80, text, 300);
    put_frame(0x81, text, 200);
    feed(pieces[i], log, sizeof log);
    assert_string_equal(log, "ms60000 ms1001 s1200 m");
  }
  free(text);
}

static void text_that_is_skipped_is_checked_as_ever(void **state) {
  char *text = make_text(2000);
  size_t used = 0;
  aw_ws_event event;

  (void)state;
  text[1900] = (char)0xff;
  put_frame(0x81, text, 2000);
  assert_int_equal(
      aw_ws_parse(&ws, aw_buf_bytes(&wire), aw_buf_len(&wire), &used, &event),
      AW_E_WS_UTF8);
  free(text);
}

static void what_no_credit_covers_is_not_skipped(void **state) {
  static const char head[] = "\x81\x7f\x00\x00\x00\x01\x00\x00\x00\x00";
  char bytes[sizeof head - 1];
  size_t used = 0;
  aw_ws_event event;

  (void)state;
  memcpy(bytes, head, sizeof bytes);
  assert_int_equal(aw_ws_parse(&ws, bytes, sizeof bytes, &used, &event),
                   AW_E_WS_TOO_BIG);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(what_is_too_large_is_skipped_however_it_is_cut),
      TEST(text_that_is_skipped_is_checked_as_ever),
      TEST(what_no_credit_covers_is_not_skipped),
  };

  return cmocka_run_group_tests_name("ws_skip", tests, NULL, NULL);
}
