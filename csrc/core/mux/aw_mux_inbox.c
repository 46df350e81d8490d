#include "aw_mux_inbox.h"
#include "aw_error.h"
#include "aw_mux_entry.h"

void aw_mux_inbox_init(aw_mux_inbox *inbox, const aw_mem *mem) {
  aw_buf_init(&inbox->bytes, mem);
  inbox->count = 0;
}

void aw_mux_inbox_fini(aw_mux_inbox *inbox) {
  aw_buf_fini(&inbox->bytes);
}

const char *aw_message_type(const aw_message *message) {
  return (const char *)(message + 1);
}

const char *aw_message_payload(const aw_message *message) {
  return aw_message_type(message) + message->type_len;
}

static size_t tokens_offset(size_t type_len, size_t payload_len) {
  return aw_mux_align(sizeof(aw_message) + type_len + payload_len);
}

const aw_json_token *aw_message_tokens(const aw_message *message) {
  const char *base = (const char *)message;
  return (
      const aw_json_token *)(const void *)(base +
                                           tokens_offset(message->type_len,
                                                         message->payload_len));
}

/* The tape's tokens speak of the whole text; the record keeps the payload. */
static void copy_tokens(aw_json_token *out, const aw_json_token *in,
                        uint32_t count, uint32_t base, uint32_t start) {
  for (uint32_t i = 0; i < count; i++) {
    out[i] = in[i];
    out[i].start -= start;
    out[i].next -= base;
  }
}

/* What a record is made of besides its envelope's header. */
typedef struct body {
  const aw_json_token *tokens;
  uint32_t count, base; /* tokens; the index that tokens[0] had */
  const char *payload;
  size_t len;
} body;

static int put_record(aw_mux_inbox *inbox, const aw_envelope *envelope,
                      const body *b, size_t cost, bool ends) {
  size_t at = tokens_offset(envelope->type_len, b->len);
  size_t size = at + b->count * sizeof(aw_json_token);
  int rc = aw_buf_reserve(&inbox->bytes, size);
  if (rc != AW_OK) {
    return rc;
  }
  char *record = inbox->bytes.data + inbox->bytes.tail;
  aw_message *message = (aw_message *)(void *)record;
  *message = (aw_message){.size = (uint32_t)size,
                          .cost = (uint32_t)cost,
                          .type_len = (uint32_t)envelope->type_len,
                          .payload_len = (uint32_t)b->len,
                          .token_count = b->count,
                          .has_reply = envelope->has_reply,
                          .ends = ends,
                          .sequence = envelope->sequence,
                          .timestamp = envelope->timestamp,
                          .message_id = envelope->message_id,
                          .in_reply_to = envelope->in_reply_to};
  if (envelope->refused != NULL) {
    message->refused = envelope->refused->code;
    message->why = envelope->refused->what;
  }
  memcpy(record + sizeof *message, envelope->type, envelope->type_len);
  memcpy(record + sizeof *message + envelope->type_len, b->payload, b->len);
  copy_tokens((aw_json_token *)(void *)(record + at), b->tokens, b->count,
              b->base, b->tokens[0].start);
  inbox->bytes.tail += size;
  inbox->count++;
  return AW_OK;
}

int aw_mux_inbox_put(aw_mux_inbox *inbox, const aw_envelope *envelope,
                     const aw_json_tape *tape, const char *text, size_t len,
                     bool ends) {
  static const aw_json_token empty = {
      .len = 2, .next = 1, .kind = AW_JSON_OBJECT};
  if (envelope->refused != NULL) {
    const body none = {&empty, 1, 0, "{}", empty.len};
    return put_record(inbox, envelope, &none, len, ends);
  }
  const aw_json_token *payload = &tape->tokens[envelope->payload];
  const body whole = {payload, payload->next - envelope->payload,
                      envelope->payload, text + payload->start, payload->len};
  return put_record(inbox, envelope, &whole, len, ends);
}

const aw_message *aw_mux_inbox_after(const aw_mux_inbox *inbox,
                                     const aw_message *message) {
  const char *next = (const char *)message + message->size;
  bool is_last = next == inbox->bytes.data + inbox->bytes.tail;
  return is_last ? NULL : (const aw_message *)(const void *)next;
}

void aw_mux_inbox_drop(aw_mux_inbox *inbox) {
  aw_buf_consume(&inbox->bytes, aw_mux_inbox_first(inbox)->size);
  inbox->count--;
  if (inbox->count == 0) {
    aw_buf_reset(&inbox->bytes, AW_MUX_KEEP);
  }
}

void aw_mux_inbox_clear(aw_mux_inbox *inbox) {
  aw_buf_reset(&inbox->bytes, 0);
  inbox->count = 0;
}
