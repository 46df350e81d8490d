/* What is read as an envelope is written and read again the same; what is
 * refused has a code, a sentence and no half-read header behind it. */
#include "aw_envelope.h"
#include "aw_error.h"
#include "aw_types.h"
#include <stdlib.h>

static void demand(int holds) {
  if (!holds) {
    abort();
  }
}

static void write_again(const aw_envelope *e, const aw_json_tape *tape,
                        const char *text) {
  const aw_json_token *payload = &tape->tokens[e->payload];
  aw_header header = {e->kind,        &e->id,
                      &e->message_id, e->has_reply ? &e->in_reply_to : NULL,
                      e->type,        e->type_len,
                      e->sequence,    e->timestamp};
  aw_envelope again;
  aw_envelope_error error;
  aw_json_tape other;
  aw_buf out;

  aw_buf_init(&out, aw_mem_default());
  if (aw_envelope_write(&out, &header) == 0) {
    demand(aw_buf_append(&out, text + payload->start, payload->len) == 0);
    demand(aw_buf_append(&out, "}", 1) == 0);
    aw_json_tape_init(&other, aw_mem_default());
    demand(aw_envelope_read(&again, &other, aw_buf_bytes(&out),
                            aw_buf_len(&out), AW_JSON_DEPTH, &error) == 0);
    demand(again.kind == e->kind && aw_uuid_equal(&again.id, &e->id));
    demand(aw_uuid_equal(&again.message_id, &e->message_id));
    demand(again.sequence == e->sequence && again.has_reply == e->has_reply);
    demand(again.timestamp == (e->timestamp < 0 ? 0 : e->timestamp));
    demand(again.type_len == e->type_len &&
           memcmp(again.type, e->type, e->type_len) == 0);
    demand(other.tokens[again.payload].len == payload->len);
    aw_json_tape_fini(&other);
  }
  aw_buf_fini(&out);
}

/* The short way of reading and the long one, which a blank in front makes it
 * take, tell the same. */
static void read_the_long_way(const uint8_t *data, size_t len, int rc,
                              const aw_envelope *e,
                              const aw_envelope_error *error) {
  char *text = malloc(len + 1);
  aw_envelope other;
  aw_envelope_error why;
  aw_json_tape tape;

  demand(text != NULL);
  text[0] = ' ';
  memcpy(text + 1, data, len);
  aw_json_tape_init(&tape, aw_mem_default());
  demand(aw_envelope_read(&other, &tape, text, len + 1, AW_JSON_DEPTH, &why) ==
         rc);
  demand(why.what == error->what && why.field == error->field);
  demand(other.kind == e->kind && aw_uuid_equal(&other.id, &e->id));
  demand(aw_uuid_equal(&other.message_id, &e->message_id));
  demand(aw_uuid_equal(&other.in_reply_to, &e->in_reply_to));
  demand(other.sequence == e->sequence && other.timestamp == e->timestamp);
  demand(other.has_reply == e->has_reply && other.type_len == e->type_len);
  aw_json_tape_fini(&tape);
  free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  char *text = malloc(len > 0 ? len : 1);
  aw_envelope envelope;
  aw_envelope_error error;
  aw_json_tape tape;

  demand(text != NULL);
  memcpy(text, data, len);
  aw_json_tape_init(&tape, aw_mem_default());
  int rc = aw_envelope_read(&envelope, &tape, text, len, AW_JSON_DEPTH, &error);
  read_the_long_way(data, len, rc, &envelope, &error);
  if (rc == 0) {
    demand(envelope.has_scope && envelope.has_message_id);
    demand(envelope.type_len > 0 && envelope.type_len <= AW_TYPE_NAME_MAX);
    demand(envelope.sequence <= AW_SEQ_MAX);
    demand(tape.tokens[envelope.payload].kind == AW_JSON_OBJECT);
    write_again(&envelope, &tape, text);
  } else {
    demand(error.code < 0 && error.what != NULL && error.offset <= len);
    demand(envelope.type == NULL || envelope.type_len > 0);
  }
  aw_json_tape_fini(&tape);
  free(text);
  return 0;
}
