/* Server-sent events by WHATWG HTML section 9.2.6: each row is read whole, byte
 * by byte and in random cuts. In what is expected each event stands as
 * type|data|id in brackets, line feeds as '/'. */
#include "aw_error.h"
#include "aw_sse.h"
#include "failing_mem.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct row {
  const char *name, *text;
  size_t len; /* 0: as a string */
  const char *events;
} row;

#define BYTES(text) text, sizeof text - 1

static const row rows[] = {
    {"an event", "data: x\n\n", 0, "[|x|]"},
    {"the standard's first example", "data: YHOO\ndata: +2\ndata: 10\n\n", 0,
     "[|YHOO/+2/10|]"},
    {"the standard's second example",
     ": test stream\n\ndata: first event\nid: 1\n\n"
     "data:second event\nid\n\ndata:  third event\n",
     0, "[|first event|1][|second event|]"},
    {"the standard's third example", "data\n\ndata\ndata\n\ndata:\n", 0,
     "[||][|/|]"},
    {"the standard's fourth example", "data:test\n\ndata: test\n\n", 0,
     "[|test|][|test|]"},
    {"CR LF", "event: a\r\ndata: x\r\n\r\ndata: y\r\n\r\n", 0, "[a|x|][|y|]"},
    {"CR", "event: a\rdata: x\r\rdata: y\r\r", 0, "[a|x|][|y|]"},
    {"mixed line ends", "data: x\r\ndata: y\rdata: z\n\r\n", 0, "[|x/y/z|]"},
    {"CR LF LF is two line ends", "data: x\r\n\ndata: y\n\n", 0, "[|x|][|y|]"},
    {"a byte order mark",
     "\xEF\xBB\xBF"
     "data: x\n\n",
     0, "[|x|]"},
    {"half a byte order mark",
     "\xEF\xBB"
     "data: x\n\ndata: y\n\n",
     0, "[|y|]"},
    {"a second byte order mark is data",
     "\xEF\xBB\xBF\xEF\xBB\xBF"
     "data: x\n\ndata: y\n\n",
     0, "[|y|]"},
    {"one space after the colon goes", "data:  x\n\n", 0, "[| x|]"},
    {"no space", "data:x\n\n", 0, "[|x|]"},
    {"a tab stays", "data:\tx\n\n", 0, "[|\tx|]"},
    {"comments", ":\n: ping\n:OPENROUTER PROCESSING\ndata: x\n:\n\n", 0,
     "[|x|]"},
    {"a comment is no event", ": x\n\n: y\n\n", 0, ""},
    {"a colon in a value", "data: a:b: c\n\n", 0, "[|a:b: c|]"},
    {"an unknown field", "datum: x\nDATA: y\n data: z\ndata: w\n\n", 0,
     "[|w|]"},
    {"a type without data is dropped", "event: a\n\ndata: x\n\n", 0, "[|x|]"},
    {"the last type counts", "event: a\nevent: b\ndata: x\n\n", 0, "[b|x|]"},
    {"an id stays", "id: 1\ndata: x\n\ndata: y\n\nid\ndata: z\n\n", 0,
     "[|x|1][|y|1][|z|]"},
    {"an id without data counts", "id: 7\n\ndata: x\n\n", 0, "[|x|7]"},
    {"an id with NUL is ignored", BYTES("id: 1\nid: 2\0\ndata: x\n\n"),
     "[|x|1]"},
    {"NUL in data stays", BYTES("data: a\0b\n\n"), "[|a@b|]"},
    {"U+2028, U+2029 and U+0085 end no line",
     "data: \xE2\x80\xA8\xE2\x80\xA9\xC2\x85\n\n", 0,
     "[|\xE2\x80\xA8\xE2\x80\xA9\xC2\x85|]"},
    {"the end drops an unfinished event", "data: x\n\ndata: y\n", 0, "[|x|]"},
    {"the end drops an unfinished line", "data: x\n\ndata: y", 0, "[|x|]"},
    {"nothing", "", 0, ""},
    {"empty lines", "\n\r\r\n\n", 0, ""},
};

typedef struct reading {
  char log[4096];
  size_t at;
  int error;
} reading;

static void put(reading *out, const char *bytes, size_t len) {
  for (size_t i = 0; i < len && out->at + 1 < sizeof out->log; i++) {
    char byte = bytes[i];
    out->log[out->at++] = byte == '\n' ? '/' : byte == '\0' ? '@' : byte;
  }
  out->log[out->at] = '\0';
}

static void put_event(reading *out, const aw_sse_event *event) {
  put(out, "[", 1);
  put(out, event->type, event->type_len);
  put(out, "|", 1);
  put(out, event->data, event->data_len);
  put(out, "|", 1);
  put(out, event->id, event->id_len);
  put(out, "]", 1);
}

/* Of memory of its own, so that a sanitizer sees what reads beyond it. */
static void feed(aw_sse *sse, const char *bytes, size_t len, reading *out) {
  char *piece = malloc(len > 0 ? len : 1);
  size_t at = 0, used = 0;
  aw_sse_event event;
  assert_non_null(piece);
  memcpy(piece, bytes, len);
  do {
    out->error = aw_sse_next(sse, piece + at, len - at, &used, &event);
    at += used;
    if (out->error == AW_OK) {
      put_event(out, &event);
    }
  } while (out->error == AW_OK);
  assert_true(out->error != AW_E_AGAIN || at == len);
  free(piece);
}

/* piece 0: random. */
static void read_all(const char *text, size_t len, size_t piece,
                     const aw_sse_options *options, reading *out) {
  aw_sse sse;
  *out = (reading){.error = AW_E_AGAIN};
  aw_sse_init(&sse, aw_mem_default(), options);
  for (size_t at = 0, n; at < len && out->error == AW_E_AGAIN; at += n) {
    n = piece > 0 ? piece : 1 + (size_t)rand() % 7;
    n = n < len - at ? n : len - at;
    feed(&sse, text + at, n, out);
  }
  aw_sse_fini(&sse);
}

static const aw_sse_options defaults;

static void streams_read_as_the_standard_says(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    size_t len = rows[i].len > 0 ? rows[i].len : strlen(rows[i].text);
    for (size_t turn = 0; turn < 40; turn++) {
      reading got;
      read_all(rows[i].text, len, turn < 3 ? (size_t[]){4096, 1, 2}[turn] : 0,
               &defaults, &got);
      if (strcmp(got.log, rows[i].events) != 0 || got.error != AW_E_AGAIN) {
        fail_msg("%s: %s (%d) in place of %s", rows[i].name, got.log, got.error,
                 rows[i].events);
      }
    }
  }
}

static int64_t retry_after(const char *text) {
  aw_sse sse;
  aw_sse_event event = {0};
  size_t used = 0;
  aw_sse_init(&sse, aw_mem_default(), &defaults);
  assert_int_equal(aw_sse_next(&sse, text, strlen(text), &used, &event), 0);
  aw_sse_fini(&sse);
  return event.retry_ms;
}

static void retry_is_digits_alone(void **state) {
  (void)state;
  assert_int_equal(retry_after("data: x\n\n"), -1);
  assert_int_equal(retry_after("retry: 1500\ndata: x\n\n"), 1500);
  assert_int_equal(retry_after("retry: 0\ndata: x\n\n"), 0);
  assert_int_equal(retry_after("retry: 15\nretry: 1s\ndata: x\n\n"), 15);
  assert_int_equal(retry_after("retry: -1\ndata: x\n\n"), -1);
  assert_int_equal(retry_after("retry:\ndata: x\n\n"), -1);
  assert_int_equal(
      retry_after("retry: 99999999999999999999999999\ndata: x\n\n"),
      AW_SSE_RETRY_MAX);
}

static char *repeat(const char *head, char byte, size_t count,
                    const char *tail) {
  size_t head_len = strlen(head), tail_len = strlen(tail);
  char *text = malloc(head_len + count + tail_len + 1);
  assert_non_null(text);
  memcpy(text, head, head_len);
  memset(text + head_len, byte, count);
  memcpy(text + head_len + count, tail, tail_len + 1);
  return text;
}

static int read_long(const char *head, size_t count, size_t piece,
                     const aw_sse_options *options) {
  char *text = repeat(head, 'x', count, "\n\n");
  reading got;
  read_all(text, strlen(text), piece, options, &got);
  free(text);
  return got.error;
}

static void a_line_is_bounded(void **state) {
  aw_sse_options options = {.line_max = 100, .event_max = 5000};
  (void)state;
  for (size_t piece = 1; piece <= 4096; piece *= 4) {
    assert_int_equal(read_long("data:", 95, piece, &options), AW_E_AGAIN);
    assert_int_equal(read_long("data:", 96, piece, &options), AW_E_LIMIT);
    assert_int_equal(read_long("data:", 955, piece, &options), AW_E_LIMIT);
    assert_int_equal(read_long("other:", 955, piece, &options), AW_E_LIMIT);
    assert_int_equal(read_long(":", 955, piece, &options), AW_E_AGAIN);
  }
}

static int read_many(const char *line, size_t times, const char *tail,
                     const aw_sse_options *options) {
  size_t len = strlen(line);
  char *text = malloc(len * times + strlen(tail) + 1);
  reading got;
  assert_non_null(text);
  for (size_t i = 0; i < times; i++) {
    memcpy(text + i * len, line, len);
  }
  strcpy(text + len * times, tail);
  read_all(text, strlen(text), 0, options, &got);
  free(text);
  return got.error;
}

static void an_event_is_bounded(void **state) {
  aw_sse_options options = {.line_max = 1000, .event_max = 100};
  (void)state;
  assert_int_equal(read_many("data:123456789\n", 10, "\n", &options),
                   AW_E_AGAIN);
  assert_int_equal(read_many("data:123456789\n", 11, "\n", &options),
                   AW_E_LIMIT);
  assert_int_equal(read_many("data:123456789\n", 100, "\n", &options),
                   AW_E_LIMIT);
  assert_int_equal(read_many("data\n", 100, "\n", &options), AW_E_AGAIN);
  assert_int_equal(read_many("data\n", 101, "\n", &options), AW_E_LIMIT);
  assert_int_equal(read_many("data\n", 10, "id: 1\n\n", &options), AW_E_AGAIN);
  assert_int_equal(read_many("data\n", 100, "id: 1\n\n", &options), AW_E_LIMIT);
  assert_int_equal(read_many("data\n", 100, "event: 1\n\n", &options),
                   AW_E_LIMIT);
  /* Each event anew; what only replaces does not add up. */
  assert_int_equal(read_many("data:123456789\n\n", 1000, "", &options),
                   AW_E_AGAIN);
  assert_int_equal(read_many("id:123456789\n", 1000, "data: x\n\n", &options),
                   AW_E_AGAIN);
}

static void the_defaults_are_what_the_header_says(void **state) {
  (void)state;
  assert_int_equal(read_long("data:", AW_SSE_LINE_MAX - 5, 65536, &defaults),
                   AW_E_AGAIN);
  assert_int_equal(read_long("data:", AW_SSE_LINE_MAX - 4, 65536, &defaults),
                   AW_E_LIMIT);
}

static void after_a_failure_nothing_is_read(void **state) {
  aw_sse_options options = {.line_max = 8};
  aw_sse sse;
  aw_sse_event event;
  size_t used = 0;
  (void)state;
  aw_sse_init(&sse, aw_mem_default(), &options);
  assert_int_equal(aw_sse_next(&sse, "data: 12345", 11, &used, &event),
                   AW_E_LIMIT);
  assert_int_equal(aw_sse_next(&sse, "\n\ndata: x\n\n", 11, &used, &event),
                   AW_E_LIMIT);
  assert_int_equal(used, 0);
  aw_sse_fini(&sse);
}

static int read_with(const aw_mem *mem) {
  static const char text[] = "id: 1\nevent: type\ndata: some\ndata: text\n\n";
  aw_sse sse;
  reading got = {.error = AW_E_AGAIN};
  aw_sse_init(&sse, mem, &defaults);
  for (size_t i = 0; i < sizeof text - 1 && got.error == AW_E_AGAIN; i++) {
    feed(&sse, text + i, 1, &got);
  }
  aw_sse_fini(&sse);
  assert_string_equal(got.log,
                      got.error == AW_E_AGAIN ? "[type|some/text|1]" : "");
  return got.error == AW_E_AGAIN ? AW_OK : got.error;
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  fail_each_allocation(read_with);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(streams_read_as_the_standard_says),
      cmocka_unit_test(retry_is_digits_alone),
      cmocka_unit_test(a_line_is_bounded),
      cmocka_unit_test(an_event_is_bounded),
      cmocka_unit_test(the_defaults_are_what_the_header_says),
      cmocka_unit_test(after_a_failure_nothing_is_read),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
