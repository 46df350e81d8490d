#include "aw_mux_save_scope.h"
#include "aw_mux_scope.h"
#include "aw_mux_wake.h"
#include <limits.h>

void mux_code_kind(aw_mux_codec *c, enum aw_kind *kind, enum aw_kind most) {
  int number = (int)*kind;
  aw_mux_codec_int(c, &number, 0, (int)most);
  *kind = (enum aw_kind)number;
}

bool mux_check_object(aw_mux_codec *c, aw_mux *mux, const char *text,
                      size_t len) {
  size_t end = 0;
  int rc = len > UINT32_MAX / 2 ? AW_E_INVALID
                                : aw_json_scan_part(&mux->tape, 0, text, len, 0,
                                                    AW_JSON_DEPTH_MAX, &end);
  bool is_object =
      rc == AW_OK && end == len && mux->tape.tokens[0].kind == AW_JSON_OBJECT;
  if (rc == AW_E_NOMEM) {
    aw_mux_codec_fail(c, rc, aw_error_text(rc));
  } else if (!is_object) {
    aw_mux_codec_fail(c, AW_E_INVALID, "a message is no JSON object");
  }
  return is_object;
}

/* A message as its inbox has it, and as an inbox takes it. */
typedef struct saved_message {
  aw_envelope envelope;
  aw_envelope_error refused;
  uint32_t cost;
  bool ends;
  const char *payload;
  size_t len;
} saved_message;

static saved_message describe(const aw_message *m) {
  return (saved_message){.envelope = {.message_id = m->message_id,
                                      .in_reply_to = m->in_reply_to,
                                      .has_reply = m->has_reply,
                                      .type = aw_message_type(m),
                                      .type_len = m->type_len,
                                      .sequence = m->sequence,
                                      .timestamp = m->timestamp},
                         .refused = {.code = m->refused},
                         .cost = m->cost,
                         .ends = m->ends,
                         .payload = aw_message_payload(m),
                         .len = m->payload_len};
}

static void load_message(aw_mux_codec *c, aw_mux *mux, aw_mux_inbox *inbox,
                         saved_message *m) {
  aw_envelope *envelope = &m->envelope;
  if (c->rc != AW_OK || !mux_check_object(c, mux, m->payload, m->len)) {
    return;
  }
  bool refused = m->refused.code != AW_OK;
  if (envelope->type_len > AW_TYPE_NAME_MAX ||
      (envelope->type_len == 0 && !refused)) {
    aw_mux_codec_fail(c, AW_E_INVALID, "a type is no type");
    return;
  }
  m->refused.what = aw_error_text(m->refused.code);
  envelope->refused = refused ? &m->refused : NULL;
  c->rc = aw_mux_inbox_put(inbox, envelope, &mux->tape, m->payload, m->cost,
                           m->ends);
}

static void code_message(aw_mux_codec *c, aw_mux *mux, aw_mux_inbox *inbox,
                         const aw_message *from) {
  saved_message m = {.payload = NULL};
  if (from != NULL) {
    m = describe(from);
  }
  aw_envelope *envelope = &m.envelope;
  aw_mux_codec_u32(c, &m.cost, UINT32_MAX);
  aw_mux_codec_bool(c, &m.ends);
  aw_mux_codec_bool(c, &envelope->has_reply);
  aw_mux_codec_int(c, &m.refused.code, MUX_SAVED_ERROR_LEAST, AW_OK);
  aw_mux_codec_u64(c, &envelope->sequence, AW_SEQ_MAX);
  aw_mux_codec_i64(c, &envelope->timestamp);
  aw_mux_codec_uuid(c, &envelope->message_id);
  aw_mux_codec_uuid(c, &envelope->in_reply_to);
  aw_mux_codec_span(c, &envelope->type, &envelope->type_len);
  aw_mux_codec_span(c, &m.payload, &m.len);
  if (aw_mux_codec_loads(c)) {
    load_message(c, mux, inbox, &m);
  }
}

void mux_code_inbox(aw_mux_codec *c, aw_mux *mux, aw_mux_inbox *inbox) {
  const aw_message *message =
      aw_mux_codec_loads(c) ? NULL : aw_mux_inbox_first(inbox);
  size_t count = inbox->count;
  aw_mux_codec_count(c, &count);
  for (size_t i = 0; i < count && c->rc == AW_OK; i++) {
    code_message(c, mux, inbox, message);
    message = message == NULL ? NULL : aw_mux_inbox_after(inbox, message);
  }
}

/* Is what was loaded as the log's newest entry the message that it has to be?
 * Its payload is whatever it was. */
static bool is_own_entry(aw_mux_codec *c, aw_channel *channel, const char *text,
                         size_t len) {
  const aw_mux_log *log = &channel->log;
  char *copy = aw_buf_bytes(&log->bytes) + log->last_at + sizeof(aw_mux_entry);
  aw_envelope envelope;
  aw_envelope_error error;
  int rc = aw_envelope_read(&envelope, &channel->mux->tape, copy, len,
                            AW_JSON_DEPTH_MAX, &error);
  if (rc == AW_E_NOMEM) {
    aw_mux_codec_fail(c, rc, aw_error_text(rc));
  }
  /* Reading resolves escapes in place; a header of ours has none. */
  return (rc == AW_OK || envelope.has_sequence) && envelope.has_scope &&
         envelope.kind == channel->kind &&
         aw_uuid_equal(&envelope.id, &channel->id) &&
         envelope.sequence == log->last && memcmp(copy, text, len) == 0;
}

/* An entry of a log, without its number. */
typedef struct saved_entry {
  bool urgent;
  uint32_t turn;
  const char *text;
  size_t len;
} saved_entry;

static int append(aw_mux_log *log, const saved_entry *entry) {
  uint64_t number = 0;
  if (entry->len > UINT32_MAX / 2) {
    return AW_E_INVALID;
  }
  int rc = aw_mux_log_begin(log, &number);
  if (rc == AW_OK) {
    rc = aw_buf_append(&log->bytes, entry->text, entry->len);
  }
  return rc == AW_OK ? aw_mux_log_finish(log, entry->urgent) : rc;
}

static void load_entry(aw_mux_codec *c, aw_channel *channel,
                       const saved_entry *entry) {
  int rc = append(&channel->log, entry);
  if (rc != AW_OK) {
    aw_mux_codec_fail(c, rc == AW_E_NOMEM ? rc : AW_E_INVALID,
                      "a log cannot be that long");
    return;
  }
  aw_mux_log_stamp(&channel->log, entry->turn);
  if (!is_own_entry(c, channel, entry->text, entry->len)) {
    aw_mux_codec_fail(c, AW_E_INVALID, "a log holds what is not its scope's");
  }
}

static void code_entry(aw_mux_codec *c, aw_channel *channel,
                       const aw_mux_entry *from) {
  saved_entry entry = {.text = NULL};
  if (from != NULL) {
    entry = (saved_entry){from->urgent, from->turn, aw_mux_entry_text(from),
                          from->len};
  }
  aw_mux_codec_bool(c, &entry.urgent);
  aw_mux_codec_u32(c, &entry.turn, AW_MUX_TURN_MASK);
  aw_mux_codec_span(c, &entry.text, &entry.len);
  if (aw_mux_codec_loads(c) && c->rc == AW_OK) {
    load_entry(c, channel, &entry);
  }
}

static void code_log(aw_mux_codec *c, aw_channel *channel) {
  aw_mux_log *log = &channel->log;
  bool loads = aw_mux_codec_loads(c);
  const aw_mux_entry *entry = loads ? NULL : aw_mux_log_first(log);
  uint64_t first = log->first;
  size_t count = aw_mux_log_count(log);
  aw_mux_log_rest rest = {log->next, log->numbered, log->urgent_last,
                          log->folded > 0};
  aw_mux_codec_u64(c, &first, AW_SEQ_MAX + 1);
  aw_mux_codec_u64(c, &rest.next, AW_SEQ_MAX + 1);
  aw_mux_codec_u64(c, &rest.numbered, MUX_SAVED_MOST);
  aw_mux_codec_u64(c, &rest.urgent_last, AW_SEQ_MAX);
  aw_mux_codec_bool(c, &rest.folded);
  aw_mux_codec_count(c, &count);
  if (first == 0) {
    aw_mux_codec_fail(c, AW_E_INVALID, "numbers begin with 1");
  } else if (loads) {
    aw_mux_log_place(log, first);
  }
  for (size_t i = 0; i < count && c->rc == AW_OK; i++) {
    code_entry(c, channel, entry);
    entry = entry == NULL ? NULL : aw_mux_log_after(log, entry);
  }
  if (loads && c->rc == AW_OK && !aw_mux_log_restore(log, &rest)) {
    aw_mux_codec_fail(c, AW_E_INVALID, "a log does not fit its numbers");
  }
}

static void code_state(aw_mux_codec *c, aw_channel *channel) {
  int state = (int)channel->state, hold = (int)channel->hold;
  int there = (int)channel->there;
  bool *const flags[] = {
      &channel->opened_here,  &channel->seen_there, &channel->told_let_go,
      &channel->heard_let_go, &channel->silent,     &channel->in_hello,
      &channel->send_refused, &channel->has_header, &channel->header_has_reply,
  };
  aw_mux_codec_int(c, &state, 0, AW_CHANNEL_LOST);
  aw_mux_codec_int(c, &hold, 0, AW_CHANNEL_RELEASED);
  aw_mux_codec_int(c, &there, 0, AW_THERE_REFUSES);
  channel->state = (enum aw_channel_state)state;
  channel->hold = (enum aw_channel_hold)hold;
  channel->there = (enum aw_channel_there)there;
  aw_mux_codec_int(c, &channel->error, MUX_SAVED_ERROR_LEAST, AW_OK);
  for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
    aw_mux_codec_bool(c, flags[i]);
  }
  aw_mux_codec_u32(c, &channel->events,
                   AW_CHANNEL_READABLE | AW_CHANNEL_WRITABLE |
                       AW_CHANNEL_ENDED | AW_CHANNEL_OPENED);
}

static void code_credit(aw_mux_codec *c, aw_credit *credit) {
  aw_mux_codec_u64(c, &credit->sequence, MUX_SAVED_MOST);
  aw_mux_codec_u64(c, &credit->bytes, MUX_SAVED_MOST);
}

static void code_numbers(aw_mux_codec *c, aw_channel *channel) {
  aw_mux_codec_uuid(c, &channel->opening_id);
  aw_mux_codec_uuid(c, &channel->first_in);
  aw_mux_codec_u64(c, &channel->received, AW_SEQ_MAX);
  aw_mux_codec_u64(c, &channel->consumed, AW_SEQ_MAX);
  aw_mux_codec_u64(c, &channel->consumed_bytes, MUX_SAVED_MOST);
  code_credit(c, &channel->confirmed);
  aw_mux_codec_u64(c, &channel->flow_acked, AW_SEQ_MAX);
  code_credit(c, &channel->granted);
  code_credit(c, &channel->allowed);
  aw_mux_codec_uuid(c, &channel->header_id);
  aw_mux_codec_uuid(c, &channel->header_reply);
  aw_mux_codec_uuid(c, &channel->last_sent_id);
  aw_mux_codec_i64(c, &channel->header_timestamp);
  aw_mux_codec_u64(c, &channel->blamed, AW_SEQ_MAX);
  aw_mux_codec_u32(c, &channel->losses, UINT32_MAX);
  aw_mux_codec_int(c, &channel->verdict, INT_MIN, INT_MAX);
}

/* What is said at the fields of aw_channel and at the queues of aw_mux. */
static bool is_possible(const aw_channel *channel, bool has_flow) {
  bool over = aw_channel_is_over(channel);
  bool mute = channel->silent || channel->state == AW_CHANNEL_LOST;
  if (channel->hold == AW_CHANNEL_RELEASED &&
      (channel->events != 0 || channel->inbox.count > 0)) {
    return false;
  }
  if (!over && (channel->error != AW_OK || channel->silent ||
                channel->consumed > channel->received)) {
    return false;
  }
  return (channel->state < AW_CHANNEL_GIVEN_UP ||
          aw_mux_log_is_empty(&channel->log)) &&
         !(has_flow && mute) &&
         channel->confirmed.sequence <= channel->consumed &&
         channel->confirmed.bytes <= channel->consumed_bytes;
}

static void count(aw_channel *channel) {
  aw_mux *mux = channel->mux;
  const aw_mux_inbox *inbox = &channel->inbox;
  const aw_message *message = aw_mux_inbox_first(inbox);
  channel->in_bytes = channel->consumed_bytes;
  for (; message != NULL; message = aw_mux_inbox_after(inbox, message)) {
    channel->in_bytes += message->cost;
  }
  mux->stats.inbox_bytes +=
      (size_t)(channel->in_bytes - channel->consumed_bytes);
  mux->stats.open_scopes += !aw_channel_is_over(channel);
  mux->stats.ended_scopes += aw_channel_is_over(channel);
  mux_count_in(mux, sizeof *channel + aw_buf_len(&inbox->bytes), 0);
  mux_count_log(mux, channel->log.size, 0);
}

/* Who waits for room is not queued: mux_wake_senders does that. */
static void enter_queues(aw_channel *channel, bool has_flow) {
  if (channel->events != 0) {
    aw_queue_push(&channel->mux->ready, &channel->ready_node);
  }
  if (aw_mux_log_next(&channel->log) != NULL) {
    mux_wake_writer(channel);
  }
  if (has_flow) {
    aw_queue_push(&channel->mux->flows, &channel->flow_node);
  }
  mux_wind_down(channel); /* a tombstone, if it was one */
}

void mux_code_channel(aw_mux_codec *c, aw_channel *channel) {
  bool has_flow = aw_node_queued(&channel->flow_node);
  code_state(c, channel);
  code_numbers(c, channel);
  aw_mux_codec_bool(c, &has_flow);
  mux_code_inbox(c, channel->mux, &channel->inbox);
  code_log(c, channel);
  if (!aw_mux_codec_loads(c) || c->rc != AW_OK) {
    return;
  }
  if (is_possible(channel, has_flow)) {
    count(channel);
    enter_queues(channel, has_flow);
  } else {
    aw_mux_codec_fail(c, AW_E_INVALID, "no scope can be like that");
  }
}
