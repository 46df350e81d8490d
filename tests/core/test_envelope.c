#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "aw_envelope.h"
#include "aw_error.h"
#include "failing_mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID "A0000000-0000-4000-8000-00000000000a"
#define ID2 "b0000000-0000-4000-8000-00000000000b"
#define TYPE "\"type\":\"ack\""
#define SCOPE "\"stream_id\":\"" ID "\""
#define MESSAGE "\"message_id\":\"" ID2 "\""
#define SEQUENCE "\"sequence\":7"
#define PAYLOAD "\"payload\":{}"
#define WHOLE TYPE "," SCOPE "," MESSAGE "," SEQUENCE "," PAYLOAD

typedef struct reading {
  aw_json_tape tape;
  aw_envelope envelope;
  aw_envelope_error error;
  char *text; /* an exact block, so that ASan sees reads past its end */
} reading;

static int read_with(reading *r, const aw_mem *mem, const char *text,
                     size_t len) {
  aw_json_tape_init(&r->tape, mem);
  r->text = malloc(len > 0 ? len : 1);
  assert_non_null(r->text);
  memcpy(r->text, text, len);
  return aw_envelope_read(&r->envelope, &r->tape, r->text, len, AW_JSON_DEPTH,
                          &r->error);
}

static int read_text(reading *r, const char *text) {
  return read_with(r, aw_mem_default(), text, strlen(text));
}

static void done(reading *r) {
  aw_json_tape_fini(&r->tape);
  free(r->text);
}

static void envelope_reads_every_field(void **state) {
  reading r;
  char id[AW_UUID_TEXT];

  (void)state;
  assert_int_equal(read_text(&r, "{" TYPE "," SCOPE "," MESSAGE "," SEQUENCE
                                 ",\"timestamp\":1767225600123,\"version\":1,"
                                 "\"in_reply_to\":\"" ID
                                 "\",\"payload\":{\"a\":[1,2]}}"),
                   0);
  assert_int_equal(r.envelope.kind, AW_KIND_PROVIDER);
  assert_true(r.envelope.has_scope && r.envelope.has_message_id &&
              r.envelope.has_reply);
  aw_uuid_format(&r.envelope.id, id);
  assert_memory_equal(id, "a0000000-0000-4000-8000-00000000000a", sizeof id);
  aw_uuid_format(&r.envelope.message_id, id);
  assert_memory_equal(id, ID2, sizeof id);
  assert_true(aw_uuid_equal(&r.envelope.in_reply_to, &r.envelope.id));
  assert_int_equal(r.envelope.sequence, 7);
  assert_int_equal(r.envelope.timestamp, 1767225600123);
  assert_int_equal(r.envelope.type_len, 3);
  assert_memory_equal(r.envelope.type, "ack", 3);
  const aw_json_token *payload = &r.tape.tokens[r.envelope.payload];
  assert_int_equal(payload->kind, AW_JSON_OBJECT);
  assert_int_equal(payload->len, 11);
  assert_memory_equal(r.text + payload->start, "{\"a\":[1,2]}", 11);
  done(&r);
}

static void envelope_knows_each_scope_key(void **state) {
  char text[512];

  (void)state;
  for (int kind = 0; kind < AW_KIND_COUNT; kind++) {
    const char *name = aw_kind_name((enum aw_kind)kind);
    reading r;

    assert_int_equal(aw_kind_find(name, strlen(name)), kind);
    snprintf(text, sizeof text,
             "{" TYPE ",\"%s\":\"" ID "\"," MESSAGE "," SEQUENCE "," PAYLOAD
             "}",
             aw_kind_key((enum aw_kind)kind));
    assert_int_equal(read_text(&r, text), 0);
    assert_int_equal(r.envelope.kind, kind);
    done(&r);
  }
  assert_int_equal(aw_kind_find("provide", 7), -1);
  assert_int_equal(aw_kind_find("", 0), -1);
}

static void envelope_takes_what_is_legal(void **state) {
  static const char *const cases[] = {
      "{" WHOLE "}",
      " {" WHOLE "} ",
      "{" WHOLE ",\"unknown\":{\"type\":[null]},\"x\":1.5e3}",
      "{" PAYLOAD "," SEQUENCE "," MESSAGE "," SCOPE "," TYPE "}",
      "{" WHOLE ",\"timestamp\":null,\"version\":null,\"in_reply_to\":null}",
      "{" WHOLE ",\"session_id\":null,\"server_id\":null}",
      "{" WHOLE ",\"timestamp\":-1}",
      "{" TYPE "," SCOPE "," MESSAGE ",\"sequence\":7,\"payload\":{\"a\":"
      "{\"a\":1,\"a\":2}}}",
      /* Escapes in keys and values of the header. */
      "{\"t\\u0079pe\":\"\\u0061c\\u006b\"," SCOPE "," MESSAGE "," SEQUENCE
      "," PAYLOAD "}",
      "{" TYPE ",\"stre\\u0061m_id\":\"\\u0061"
      "0000000-0000-4000-8000-"
      "00000000000A\"," MESSAGE "," SEQUENCE ",\"pay\\u006coad\":{}}",
  };

  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    reading r;

    int rc = read_text(&r, cases[i]);
    if (rc != 0) {
      print_error("%s: %s\n", cases[i], r.error.what);
    }
    assert_int_equal(rc, 0);
    assert_true(r.envelope.has_scope);
    assert_int_equal(r.envelope.id.bytes[0], 0xA0);
    assert_int_equal(r.envelope.id.bytes[15], 0x0A);
    assert_int_equal(r.envelope.sequence, 7);
    assert_int_equal(r.envelope.type_len, 3);
    assert_memory_equal(r.envelope.type, "ack", 3);
    assert_false(r.envelope.has_reply);
    done(&r);
  }
}

static void envelope_reads_numbers_to_their_limits(void **state) {
  reading r;

  (void)state;
  assert_int_equal(read_text(&r,
                             "{" TYPE "," SCOPE "," MESSAGE
                             ",\"sequence\":9007199254740991,"
                             "\"timestamp\":9223372036854775807," PAYLOAD "}"),
                   0);
  assert_true(r.envelope.sequence == AW_SEQ_MAX);
  assert_true(r.envelope.timestamp == INT64_MAX);
  done(&r);
}

/* What can be read of a bad envelope has to be there for the answer. */
static void envelope_names_the_offending_field(void **state) {
  static const struct {
    const char *text, *field;
    int code;
    bool has_scope, has_message_id, has_type;
  } cases[] = {
#define BAD(text, field, scope, message, type)                                 \
  {text, field, AW_E_INVALID_REQUEST, scope, message, type}
      BAD("{" SCOPE "," MESSAGE "," SEQUENCE "," PAYLOAD "}", "type", true,
          true, false),
      BAD("{\"type\":3," SCOPE "," MESSAGE "," SEQUENCE "," PAYLOAD "}", "type",
          true, true, false),
      BAD("{\"type\":null," SCOPE "," MESSAGE "," SEQUENCE "," PAYLOAD "}",
          "type", true, true, false),
      BAD("{\"type\":\"\"," SCOPE "," MESSAGE "," SEQUENCE "," PAYLOAD "}",
          "type", true, true, false),
      BAD("{\"type\":\"0123456789012345678901234567890123456789"
          "0123456789012345678901234\"," SCOPE "," MESSAGE "," SEQUENCE
          "," PAYLOAD "}",
          "type", true, true, false),
      BAD("{" TYPE "," MESSAGE "," SEQUENCE "," PAYLOAD "}", NULL, false, true,
          true),
      BAD("{" TYPE ",\"stream_id\":null," MESSAGE "," SEQUENCE "," PAYLOAD "}",
          NULL, false, true, true),
      BAD("{" TYPE ",\"stream_id\":7," MESSAGE "," SEQUENCE "," PAYLOAD "}",
          "stream_id", false, true, true),
      BAD("{" TYPE ",\"session_id\":\"x\"," MESSAGE "," SEQUENCE "," PAYLOAD
          "}",
          "session_id", false, true, true),
      BAD("{" TYPE ",\"server_id\":\"" ID "0\"," MESSAGE "," SEQUENCE
          "," PAYLOAD "}",
          "server_id", false, true, true),
      BAD("{" TYPE ",\"connection_id\":\"a0000000_0000-4000-8000-"
          "00000000000a\"," MESSAGE "," SEQUENCE "," PAYLOAD "}",
          "connection_id", false, true, true),
      BAD("{" TYPE "," SCOPE ",\"session_id\":\"" ID "\"," MESSAGE "," SEQUENCE
          "," PAYLOAD "}",
          "session_id", false, true, true),
      BAD("{" TYPE "," SCOPE ",\"connection_id\":0," MESSAGE "," SEQUENCE
          "," PAYLOAD "}",
          "connection_id", false, true, true),
      BAD("{" TYPE "," SCOPE "," SEQUENCE "," PAYLOAD "}", "message_id", true,
          false, true),
      BAD("{" TYPE "," SCOPE ",\"message_id\":{}," SEQUENCE "," PAYLOAD "}",
          "message_id", true, false, true),
      BAD("{" TYPE "," SCOPE ",\"message_id\":\"\"," SEQUENCE "," PAYLOAD "}",
          "message_id", true, false, true),
      BAD("{" TYPE "," SCOPE "," MESSAGE "," PAYLOAD "}", "sequence", true,
          true, true),
      BAD("{" TYPE "," SCOPE "," MESSAGE ",\"sequence\":\"7\"," PAYLOAD "}",
          "sequence", true, true, true),
      BAD("{" TYPE "," SCOPE "," MESSAGE ",\"sequence\":7.0," PAYLOAD "}",
          "sequence", true, true, true),
      BAD("{" TYPE "," SCOPE "," MESSAGE ",\"sequence\":1e1," PAYLOAD "}",
          "sequence", true, true, true),
      BAD("{" TYPE "," SCOPE "," MESSAGE ",\"sequence\":-1," PAYLOAD "}",
          "sequence", true, true, true),
      BAD("{" TYPE "," SCOPE "," MESSAGE
          ",\"sequence\":9007199254740992," PAYLOAD "}",
          "sequence", true, true, true),
      BAD("{" TYPE "," SCOPE "," MESSAGE
          ",\"sequence\":99999999999999999999," PAYLOAD "}",
          "sequence", true, true, true),
      BAD("{" WHOLE ",\"timestamp\":\"now\"}", "timestamp", true, true, true),
      BAD("{" WHOLE ",\"timestamp\":1.5}", "timestamp", true, true, true),
      BAD("{" WHOLE ",\"timestamp\":9223372036854775808}", "timestamp", true,
          true, true),
      BAD("{" WHOLE ",\"in_reply_to\":1}", "in_reply_to", true, true, true),
      BAD("{" WHOLE ",\"in_reply_to\":\"x\"}", "in_reply_to", true, true, true),
      BAD("{" TYPE "," SCOPE "," MESSAGE "," SEQUENCE "}", "payload", true,
          true, true),
      BAD("{" TYPE "," SCOPE "," MESSAGE "," SEQUENCE ",\"payload\":null}",
          "payload", true, true, true),
      BAD("{" TYPE "," SCOPE "," MESSAGE "," SEQUENCE ",\"payload\":[]}",
          "payload", true, true, true),
      BAD("{" TYPE "," SCOPE "," MESSAGE "," SEQUENCE ",\"payload\":\"{}\"}",
          "payload", true, true, true),
      BAD("{}", NULL, false, false, false),
      BAD("[]", NULL, false, false, false),
      BAD("\"ack\"", NULL, false, false, false),
      BAD("7", NULL, false, false, false),
#undef BAD
      {"{" WHOLE ",\"version\":2}", "version", AW_E_VERSION_MISMATCH, true,
       true, true},
      {"{" WHOLE ",\"version\":\"1\"}", "version", AW_E_VERSION_MISMATCH, true,
       true, true},
      {"{" WHOLE ",\"version\":1.0}", "version", AW_E_VERSION_MISMATCH, true,
       true, true},
      /* The version is looked at before anything else. */
      {"{\"version\":2," SCOPE "}", "version", AW_E_VERSION_MISMATCH, true,
       false, false},
      {"{\"version\":0}", "version", AW_E_VERSION_MISMATCH, false, false,
       false},
      {"{" TYPE "," SCOPE ",\"session_id\":\"" ID "\",\"version\":9}",
       "version", AW_E_VERSION_MISMATCH, false, false, true},
      {"{" TYPE ",\"stream_id\":1,\"version\":9,\"sequence\":-1}", "version",
       AW_E_VERSION_MISMATCH, false, false, true},
      /* Of what is no JSON, the members before the place. */
      {"{" WHOLE, NULL, AW_E_JSON_TRUNCATED, true, true, true},
      {"{" TYPE "," SCOPE ",", NULL, AW_E_JSON_TRUNCATED, true, false, true},
      {"{" TYPE "," SCOPE ",\"message_id\"", NULL, AW_E_JSON_TRUNCATED, true,
       false, true},
      {"{\"a\":[{\"b\":1," TYPE "," SCOPE, NULL, AW_E_JSON_TRUNCATED, false,
       false, false},
      {"[{" WHOLE, NULL, AW_E_JSON_TRUNCATED, false, false, false},
      {"", NULL, AW_E_JSON_TRUNCATED, false, false, false},
      {"{" WHOLE "}x", NULL, AW_E_JSON_TRAILING, true, true, true},
      {"{" WHOLE "," TYPE "}", NULL, AW_E_JSON_DUPLICATE, true, true, false},
      {"{" WHOLE ",\"t\\u0079pe\":1}", NULL, AW_E_JSON_DUPLICATE, true, true,
       false},
      {"{" WHOLE "," SCOPE "}", NULL, AW_E_JSON_DUPLICATE, false, true, true},
      {"{" WHOLE ",}", NULL, AW_E_JSON_SYNTAX, true, true, true},
      {"{" WHOLE ",\"a\":\"\xff\"}", NULL, AW_E_JSON_UTF8, true, true, true},
  };

  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    reading r;
    int rc = read_text(&r, cases[i].text);

    if (rc != cases[i].code || r.error.code != rc) {
      print_error("%s\n", cases[i].text);
    }
    assert_int_equal(rc, cases[i].code);
    assert_int_equal(r.error.code, cases[i].code);
    assert_non_null(r.error.what);
    if (cases[i].field == NULL) {
      assert_null(r.error.field);
    } else {
      assert_non_null(r.error.field);
      assert_string_equal(r.error.field, cases[i].field);
    }
    assert_int_equal(r.envelope.has_scope, cases[i].has_scope);
    assert_int_equal(r.envelope.has_message_id, cases[i].has_message_id);
    assert_int_equal(r.envelope.type != NULL, cases[i].has_type);
    done(&r);
  }
}

/* The number of what is refused: read, unless the text may have cut it. */
static void envelope_tells_the_number_of_what_it_refuses(void **state) {
  static const struct {
    const char *text;
    bool has;
    uint64_t sequence;
  } cases[] = {
      {"{" TYPE "," SCOPE "," MESSAGE ",\"sequence\":12,\"payload\":{\"a\":[",
       true, 12},
      {"{" TYPE "," SCOPE "," MESSAGE ",\"payload\":{},\"sequence\":12}x", true,
       12},
      {"{" TYPE "," SCOPE "," MESSAGE ",\"sequence\":12", false, 0},
      {"{" TYPE "," SCOPE "," MESSAGE ",\"sequence\":-2,\"payload\":x", false,
       0},
      {"{" TYPE "," SCOPE "," MESSAGE ",\"payload\":[{\"sequence\":12,x", false,
       0},
      {"{" TYPE "," SCOPE "," MESSAGE ",\"sequence\":3,\"sequence\":4,x", false,
       0},
      {"{" TYPE "," SCOPE ",\"sequence\":5,\"version\":2}", true, 5},
  };

  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    reading r;
    assert_int_not_equal(read_text(&r, cases[i].text), 0);
    assert_int_equal(r.envelope.has_sequence, cases[i].has);
    if (cases[i].has) {
      assert_true(r.envelope.sequence == cases[i].sequence);
    }
    done(&r);
  }
}

static void envelope_tells_where_the_json_went_wrong(void **state) {
  reading r;

  (void)state;
  assert_int_equal(read_text(&r, "{\"type\":x}"), AW_E_JSON_SYNTAX);
  assert_int_equal(r.error.offset, 8);
  done(&r);
}

static void envelope_limits_the_depth_that_it_is_given(void **state) {
  static const char text[] =
      "{" TYPE "," SCOPE "," MESSAGE "," SEQUENCE ",\"payload\":{\"a\":[[]]}}";
  static const struct {
    unsigned depth;
    int rc;
  } cases[] = {{4, 0}, {3, AW_E_JSON_DEPTH}, {1, AW_E_JSON_DEPTH}};

  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char copy[sizeof text];
    aw_json_tape tape;
    aw_envelope envelope;
    aw_envelope_error error;

    memcpy(copy, text, sizeof text);
    aw_json_tape_init(&tape, aw_mem_default());
    assert_int_equal(aw_envelope_read(&envelope, &tape, copy, sizeof copy - 1,
                                      cases[i].depth, &error),
                     cases[i].rc);
    aw_json_tape_fini(&tape);
  }
}

static const aw_uuid zero_id;

static aw_header full_header(const aw_uuid *reply) {
  return (aw_header){AW_KIND_AGENT, &zero_id, &zero_id, reply,
                     "agent_event", 11,       3,        1000};
}

static void envelope_is_written_compact_and_in_order(void **state) {
#define NIL "00000000-0000-0000-0000-000000000000"
  static const char want[] =
      "{\"type\":\"agent_event\",\"session_id\":\"" NIL
      "\",\"message_id\":\"" NIL
      "\",\"sequence\":3,\"timestamp\":1000,\"version\":1,\"in_reply_to\":"
      "\"" NIL "\",\"payload\":";
  aw_header header = full_header(&zero_id);
  aw_buf out;

  (void)state;
  aw_buf_init(&out, aw_mem_default());
  assert_int_equal(aw_envelope_write(&out, &header), 0);
  assert_int_equal(aw_buf_len(&out), sizeof want - 1);
  assert_memory_equal(aw_buf_bytes(&out), want, sizeof want - 1);
  aw_buf_fini(&out);
#undef NIL
}

static void envelope_writes_what_it_reads(void **state) {
  char type[AW_UUID_TEXT * 2];
  const uint64_t sequences[] = {0, 1, 9, 10, 12345678, AW_SEQ_MAX};

  (void)state;
  memset(type, 't', sizeof type);
  for (size_t i = 0; i < 4 * 6 * 2; i++) {
    enum aw_kind kind = (enum aw_kind)(i % 4);
    bool reply = i >= 24;
    aw_uuid id = {{(uint8_t)i, 0xFF}}, message = {{0, (uint8_t)i}};
    aw_header header = {kind, &id, &message, reply ? &id : NULL,
                        type, 64,  0,        INT64_MAX};
    aw_buf out;
    reading r;

    header.sequence = sequences[i / 4 % 6];
    aw_buf_init(&out, aw_mem_default());
    assert_int_equal(aw_envelope_write(&out, &header), 0);
    assert_int_equal(aw_buf_append(&out, "{}}", 3), 0);
    assert_int_equal(
        read_with(&r, aw_mem_default(), aw_buf_bytes(&out), aw_buf_len(&out)),
        0);
    assert_int_equal(r.envelope.kind, kind);
    assert_true(aw_uuid_equal(&r.envelope.id, &id));
    assert_true(aw_uuid_equal(&r.envelope.message_id, &message));
    assert_int_equal(r.envelope.has_reply, reply);
    assert_true(!reply || aw_uuid_equal(&r.envelope.in_reply_to, &id));
    assert_int_equal(r.envelope.type_len, 64);
    assert_true(r.envelope.sequence == header.sequence);
    assert_true(r.envelope.timestamp == INT64_MAX);
    done(&r);
    aw_buf_fini(&out);
  }
}

static void envelope_never_writes_a_negative_time(void **state) {
  aw_header header = full_header(NULL);
  aw_buf out;

  (void)state;
  header.timestamp = -5;
  aw_buf_init(&out, aw_mem_default());
  assert_int_equal(aw_envelope_write(&out, &header), 0);
  assert_int_equal(aw_buf_append(&out, "", 1), 0);
  assert_non_null(strstr(aw_buf_bytes(&out), "\"timestamp\":0,\"version\""));
  assert_null(strstr(aw_buf_bytes(&out), "in_reply_to"));
  aw_buf_fini(&out);
}

static void envelope_refuses_types_that_would_need_escapes(void **state) {
  static const struct {
    const char *type;
    size_t len;
  } cases[] = {{"", 0},      {"a\"b", 3},     {"a\\b", 3}, {"a\nb", 3},
               {"a\x7f", 2}, {"\xc3\xa4", 2}, {"a\0b", 3}};
  char longest[AW_UUID_TEXT * 2];
  aw_header header = full_header(NULL);
  aw_buf out;

  (void)state;
  aw_buf_init(&out, aw_mem_default());
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    header.type = cases[i].type;
    header.type_len = cases[i].len;
    assert_int_equal(aw_envelope_write(&out, &header), AW_E_INVALID);
  }
  memset(longest, 'x', sizeof longest);
  header.type = longest;
  header.type_len = 65;
  assert_int_equal(aw_envelope_write(&out, &header), AW_E_INVALID);
  assert_int_equal(aw_buf_len(&out), 0);
  aw_buf_fini(&out);
}

static void error_frame_is_written_and_refused_as_an_envelope(void **state) {
  static const char want[] = "{\"type\":\"error\",\"version\":\"1\","
                             "\"code\":\"bad\",\"message\":\"a \\\"b\\\"\"}";
  aw_buf out;
  reading r;

  (void)state;
  aw_buf_init(&out, aw_mem_default());
  assert_int_equal(aw_envelope_write_error(&out, "bad", "a \"b\"", 5), 0);
  assert_int_equal(aw_buf_len(&out), sizeof want - 1);
  assert_memory_equal(aw_buf_bytes(&out), want, sizeof want - 1);
  assert_int_equal(
      read_with(&r, aw_mem_default(), aw_buf_bytes(&out), aw_buf_len(&out)),
      AW_E_VERSION_MISMATCH);
  assert_memory_equal(r.envelope.type, "error", 5);
  done(&r);
  aw_buf_fini(&out);
}

static FILE *open_vectors(void) {
  static const char name[] = "../vectors/wire-vectors.jsonl";
  char path[4096];
  const char *slash = strrchr(__FILE__, '/');
  size_t folder = slash == NULL ? 0 : (size_t)(slash + 1 - __FILE__);

  assert_true(folder + sizeof name <= sizeof path);
  memcpy(path, __FILE__, folder);
  memcpy(path + folder, name, sizeof name);
  FILE *file = fopen(path, "r");
  assert_non_null(file);
  return file;
}

/* The vectors are in the order and the form in which we write, so decoding
 * and encoding has to give the same bytes. */
static void check_vector(const char *line, size_t len) {
  reading r;
  aw_buf out;

  assert_int_equal(read_with(&r, aw_mem_default(), line, len), 0);
  const aw_envelope *e = &r.envelope;
  aw_header header = {e->kind,        &e->id,
                      &e->message_id, e->has_reply ? &e->in_reply_to : NULL,
                      e->type,        e->type_len,
                      e->sequence,    e->timestamp};
  const aw_json_token *payload = &r.tape.tokens[e->payload];
  aw_buf_init(&out, aw_mem_default());
  assert_int_equal(aw_envelope_write(&out, &header), 0);
  assert_int_equal(aw_buf_append(&out, r.text + payload->start, payload->len),
                   0);
  assert_int_equal(aw_buf_append(&out, "}", 1), 0);
  assert_int_equal(aw_buf_len(&out), len);
  assert_memory_equal(aw_buf_bytes(&out), line, len);
  aw_buf_fini(&out);
  done(&r);
}

static void golden_vectors_survive_decoding_and_encoding(void **state) {
  FILE *file = open_vectors();
  char *line = NULL;
  size_t size = 0;
  unsigned count = 0;
  ssize_t len;

  (void)state;
  while ((len = getline(&line, &size, file)) > 0) {
    check_vector(line, (size_t)len - (line[len - 1] == '\n'));
    count++;
  }
  assert_int_equal(count, 57);
  free(line);
  fclose(file);
}

static int write_and_read(const aw_mem *mem) {
  aw_header header = full_header(&zero_id);
  aw_buf out;
  reading r = {.text = NULL};
  int rc;

  aw_buf_init(&out, mem);
  rc = aw_envelope_write(&out, &header);
  assert_true(rc == 0 || aw_buf_len(&out) == 0);
  if (rc == 0) {
    rc = aw_envelope_write_error(&out, "code", "message", 7);
  }
  if (rc == 0) {
    rc = read_with(&r, mem, "{" WHOLE "}", strlen("{" WHOLE "}"));
    done(&r);
  }
  aw_buf_fini(&out);
  return rc;
}

static void envelope_out_of_memory_is_told(void **state) {
  (void)state;
  fail_each_allocation(write_and_read);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(envelope_reads_every_field),
      cmocka_unit_test(envelope_knows_each_scope_key),
      cmocka_unit_test(envelope_takes_what_is_legal),
      cmocka_unit_test(envelope_reads_numbers_to_their_limits),
      cmocka_unit_test(envelope_names_the_offending_field),
      cmocka_unit_test(envelope_tells_the_number_of_what_it_refuses),
      cmocka_unit_test(envelope_tells_where_the_json_went_wrong),
      cmocka_unit_test(envelope_limits_the_depth_that_it_is_given),
      cmocka_unit_test(envelope_is_written_compact_and_in_order),
      cmocka_unit_test(envelope_writes_what_it_reads),
      cmocka_unit_test(envelope_never_writes_a_negative_time),
      cmocka_unit_test(envelope_refuses_types_that_would_need_escapes),
      cmocka_unit_test(error_frame_is_written_and_refused_as_an_envelope),
      cmocka_unit_test(golden_vectors_survive_decoding_and_encoding),
      cmocka_unit_test(envelope_out_of_memory_is_told),
  };

  return cmocka_run_group_tests_name("envelope", tests, NULL, NULL);
}
