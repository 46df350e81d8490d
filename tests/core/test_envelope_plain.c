/* The short way of reading an envelope against the long one, which a blank in
 * front of the text makes it take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "aw_envelope_plain.h"
#include "aw_error.h"
#include "failing_mem.h"
#include <stdlib.h>
#include <string.h>

#define ID "a0000000-0000-4000-8000-00000000000a"
#define ID2 "b0000000-0000-4000-8000-00000000000b"
#define HEAD(type, key)                                                        \
  "{\"type\":\"" type "\",\"" key "\":\"" ID "\",\"message_id\":\"" ID2 "\","
#define NUMBERS "\"sequence\":7,\"timestamp\":1767225600123,\"version\":1,"
#define REPLY "\"in_reply_to\":\"" ID2 "\","
#define DEEP "\"payload\":{\"a\":[1,{\"a\":\"\\n\"}],\"a\":null}}"

static const char *const plain[] = {
    HEAD("ack", "stream_id") NUMBERS DEEP,
    HEAD("agent_event", "session_id") NUMBERS REPLY DEEP,
    HEAD("x", "server_id") NUMBERS "\"payload\":{}}",
    HEAD("welcome", "connection_id") NUMBERS REPLY "\"payload\":{}}",
};

typedef struct reading {
  int rc;
  aw_json_tape tape;
  aw_envelope envelope;
  aw_envelope_error error;
  char *text;
} reading;

typedef struct bounds {
  unsigned depth;
  uint32_t values;
} bounds;

static const bounds wide = {AW_JSON_DEPTH, 0};

static void read_text(reading *r, const bounds *b, const char *before,
                      const char *text, size_t len) {
  size_t more = strlen(before);

  *r = (reading){.text = malloc(more + len + (more + len == 0))};
  assert_non_null(r->text);
  memcpy(r->text, before, more);
  memcpy(r->text + more, text, len);
  aw_json_tape_init(&r->tape, aw_mem_default());
  r->tape.max = b->values;
  r->rc = aw_envelope_read(&r->envelope, &r->tape, r->text, more + len,
                           b->depth, &r->error);
}

static void done(reading *r) {
  aw_json_tape_fini(&r->tape);
  free(r->text);
}

static void same_payload(const reading *a, const reading *b) {
  const aw_json_token *x = &a->tape.tokens[a->envelope.payload];
  const aw_json_token *y = &b->tape.tokens[b->envelope.payload];
  uint32_t count = x->next - a->envelope.payload;

  assert_int_equal(count, y->next - b->envelope.payload);
  for (uint32_t i = 0; i < count; i++) {
    assert_int_equal(x[i].start + 1, y[i].start);
    assert_int_equal(x[i].len, y[i].len);
    assert_int_equal(x[i].next - a->envelope.payload,
                     y[i].next - b->envelope.payload);
    assert_int_equal(x[i].kind, y[i].kind);
    assert_int_equal(x[i].escaped, y[i].escaped);
    assert_int_equal(x[i].count, y[i].count);
  }
}

static void same_envelope(const aw_envelope *x, const aw_envelope *y) {
  assert_int_equal(x->kind, y->kind);
  assert_int_equal(x->has_scope, y->has_scope);
  assert_int_equal(x->has_message_id, y->has_message_id);
  assert_int_equal(x->has_reply, y->has_reply);
  assert_int_equal(x->has_sequence, y->has_sequence);
  assert_true(aw_uuid_equal(&x->id, &y->id));
  assert_true(aw_uuid_equal(&x->message_id, &y->message_id));
  assert_true(aw_uuid_equal(&x->in_reply_to, &y->in_reply_to));
  assert_true(x->sequence == y->sequence && x->timestamp == y->timestamp);
  assert_int_equal(x->type == NULL, y->type == NULL);
  assert_int_equal(x->type_len, y->type_len);
  if (x->type != NULL) {
    assert_memory_equal(x->type, y->type, x->type_len);
  }
}

/* Both ways, of the text and of the same with a blank before it. */
static void compare(const bounds *b, const char *text, size_t len) {
  reading a, other;

  read_text(&a, b, "", text, len);
  read_text(&other, b, " ", text, len);
  assert_int_equal(a.rc, other.rc);
  assert_int_equal(a.error.code, other.error.code);
  assert_ptr_equal(a.error.field, other.error.field);
  assert_ptr_equal(a.error.what, other.error.what);
  if (a.error.offset != 0) {
    assert_int_equal(a.error.offset + 1, other.error.offset);
  }
  same_envelope(&a.envelope, &other.envelope);
  if (a.rc == AW_OK) {
    same_payload(&a, &other);
  }
  done(&a);
  done(&other);
}

static void plain_takes_what_is_written(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
    aw_json_tape tape;
    aw_envelope envelope;

    aw_json_tape_init(&tape, aw_mem_default());
    assert_int_equal(envelope_read_plain(&envelope, &tape, plain[i],
                                         strlen(plain[i]), AW_JSON_DEPTH),
                     0);
    aw_json_tape_fini(&tape);
    compare(&wide, plain[i], strlen(plain[i]));
  }
}

/* Each byte gone, twice, or another one, and each end. */
static void plain_agrees_on_what_is_broken(void **state) {
  static const char others[] = "\"\\{}:,0x9 \n\x7f\x80\xc3";

  (void)state;
  for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
    size_t len = strlen(plain[i]);
    char text[512];

    assert_true(len < sizeof text);
    for (size_t at = 0; at < len; at++) {
      compare(&wide, plain[i], at);
      memcpy(text, plain[i], at);
      memcpy(text + at, plain[i] + at + 1, len - at - 1);
      compare(&wide, text, len - 1);
      memcpy(text, plain[i], at + 1);
      memcpy(text + at + 1, plain[i] + at, len - at);
      compare(&wide, text, len + 1);
      memcpy(text, plain[i], len);
      for (const char *other = others; *other != '\0'; other++) {
        text[at] = *other;
        compare(&wide, text, len);
      }
    }
  }
}

static void plain_agrees_on_numbers_and_types(void **state) {
#define TAIL ",\"timestamp\":1,\"version\":1,\"payload\":{}}"
#define LONG "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl"
  static const char *const texts[] = {
      HEAD("ack", "stream_id") "\"sequence\":0" TAIL,
      HEAD("ack", "stream_id") "\"sequence\":00" TAIL,
      HEAD("ack", "stream_id") "\"sequence\":01" TAIL,
      HEAD("ack", "stream_id") "\"sequence\":-0" TAIL,
      HEAD("ack", "stream_id") "\"sequence\":-1" TAIL,
      HEAD("ack", "stream_id") "\"sequence\":1.0" TAIL,
      HEAD("ack", "stream_id") "\"sequence\":1e3" TAIL,
      HEAD("ack", "stream_id") "\"sequence\":9007199254740991" TAIL,
      HEAD("ack", "stream_id") "\"sequence\":9007199254740992" TAIL,
      HEAD("ack", "stream_id") "\"sequence\":90071992547409910" TAIL,
      HEAD("ack", "stream_id") "\"sequence\":1" TAIL "}",
      HEAD("ack", "stream_id") "\"sequence\":1" TAIL " ",
      HEAD("ack", "stream_id") "\"sequence\":1,\"timestamp\":1,\"version\":1,"
                               "\"payload\":{},\"type\":\"ack\"}",
      HEAD("ack", "stream_id") "\"sequence\":1,\"timestamp\":-1,\"version\":1,"
                               "\"payload\":{}}",
      HEAD("ack",
           "stream_id") "\"sequence\":1,\"timestamp\":9223372036854775807"
                        ",\"version\":1,\"payload\":{}}",
      HEAD("ack",
           "stream_id") "\"sequence\":1,\"timestamp\":9223372036854775808"
                        ",\"version\":1,\"payload\":{}}",
      HEAD("ack", "stream_id") "\"sequence\":1,\"timestamp\":1,\"version\":2,"
                               "\"payload\":{}}",
      HEAD("ack", "stream_id") "\"sequence\":1,\"timestamp\":1,\"version\":1,"
                               "\"payload\":[]}",
      HEAD("", "stream_id") "\"sequence\":1" TAIL,
      HEAD(LONG, "stream_id") "\"sequence\":1" TAIL,
      HEAD(LONG "m", "stream_id") "\"sequence\":1" TAIL,
      HEAD("a\\u0062", "stream_id") "\"sequence\":1" TAIL,
      HEAD("\xc3\xa4", "stream_id") "\"sequence\":1" TAIL,
      HEAD("ack", "message_id") "\"sequence\":1" TAIL,
  };
#undef LONG
#undef TAIL

  (void)state;
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    compare(&wide, texts[i], strlen(texts[i]));
  }
}

static void plain_agrees_on_every_limit(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
    for (unsigned depth = 0; depth < 6; depth++) {
      compare(&(bounds){depth, 0}, plain[i], strlen(plain[i]));
    }
    compare(&(bounds){AW_JSON_DEPTH_MAX + 1, 0}, plain[i], strlen(plain[i]));
    for (uint32_t values = 1; values < 40; values++) {
      compare(&(bounds){AW_JSON_DEPTH, values}, plain[i], strlen(plain[i]));
    }
  }
}

static int read_plain(const aw_mem *mem) {
  char text[512];
  aw_json_tape tape;
  aw_envelope envelope;
  aw_envelope_error error;
  size_t len = strlen(plain[0]);
  int rc;

  memcpy(text, plain[0], len);
  aw_json_tape_init(&tape, mem);
  rc = aw_envelope_read(&envelope, &tape, text, len, AW_JSON_DEPTH, &error);
  aw_json_tape_fini(&tape);
  return rc;
}

static void plain_out_of_memory_is_told(void **state) {
  (void)state;
  fail_each_allocation(read_plain);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(plain_takes_what_is_written),
      cmocka_unit_test(plain_agrees_on_what_is_broken),
      cmocka_unit_test(plain_agrees_on_numbers_and_types),
      cmocka_unit_test(plain_agrees_on_every_limit),
      cmocka_unit_test(plain_out_of_memory_is_told),
  };

  return cmocka_run_group_tests_name("envelope, plain", tests, NULL, NULL);
}
