/* What can be told from the rest is not saved, but made anew. */
#include "aw_mux_limits.h"
#include "aw_mux_save_scope.h"
#include "aw_mux_wake.h"
#include "aw_utf8.h"
#include <limits.h>

static const char magic[] = "agentwire mux";
#define FORMAT 1

/* What is no mux, or another end's, is told first. */
static void code_head(aw_mux_codec *c, aw_mux *mux) {
  char head[sizeof magic];
  uint32_t format = FORMAT;
  bool is_client = mux->options.is_client;
  memcpy(head, magic, sizeof head);
  aw_mux_codec_raw(c, head, sizeof head);
  if (memcmp(head, magic, sizeof head) != 0) {
    aw_mux_codec_fail(c, AW_E_INVALID, "this is no saved mux");
  }
  aw_mux_codec_u32(c, &format, UINT32_MAX);
  if (format != FORMAT) {
    aw_mux_codec_fail(c, AW_E_UNSUPPORTED, "saved by another version");
  }
  aw_mux_codec_bool(c, &is_client);
  if (is_client != mux->options.is_client) {
    aw_mux_codec_fail(c, AW_E_INVALID, "saved at the other end");
  }
}

/* It stands between quotes in link messages, as it came. */
static bool is_epoch(const char *text, size_t len) {
  if (len > AW_EPOCH_TEXT ||
      aw_utf8_check(AW_UTF8_START, text, len) != AW_UTF8_START) {
    return false;
  }
  for (size_t i = 0; i < len; i++) {
    if ((unsigned char)text[i] < 0x20 || text[i] == '"' || text[i] == '\\') {
      return false;
    }
  }
  return true;
}

static void code_epoch(aw_mux_codec *c, aw_mux *mux) {
  const char *epoch = mux->epoch;
  size_t len = strlen(mux->epoch);
  aw_mux_codec_span(c, &epoch, &len);
  if (!aw_mux_codec_loads(c) || c->rc != AW_OK) {
    return;
  }
  if (!is_epoch(epoch, len)) {
    aw_mux_codec_fail(c, AW_E_INVALID, "the epoch is no epoch");
    return;
  }
  memcpy(mux->epoch, epoch, len);
  mux->epoch[len] = '\0';
}

static bool is_link_possible(const aw_mux *mux) {
  bool base = mux->link == AW_LINK_BASE;
  bool waits = mux->link == AW_LINK_AWAIT_WELCOME;
  return !mux_is_attached(mux) ||
         (mux->generation > 0 && mux->extended != base &&
          (mux->options.is_client || !waits));
}

static void code_session(aw_mux_codec *c, aw_mux *mux) {
  int link = (int)mux->link, peer_limits = (int)mux->peer_limits;
  aw_mux_codec_bool(c, &mux->extended);
  aw_mux_codec_int(c, &link, 0, AW_LINK_EXTENDED);
  mux->link = (enum aw_link_state)link;
  aw_mux_codec_uuid(c, &mux->connection_id);
  code_epoch(c, mux);
  aw_mux_codec_u32(c, &mux->generation, UINT32_MAX);
  aw_mux_codec_u64(c, &mux->attempt, AW_SEQ_MAX);
  aw_mux_codec_u32(c, &mux->peer_window_ms, INT32_MAX);
  aw_mux_codec_int(c, &peer_limits, 0, AW_PEER_GIVEN);
  mux->peer_limits = (enum aw_peer_limits)peer_limits;
  aw_mux_codec_u64(c, &mux->peer.message_max, UINT64_MAX);
  aw_mux_codec_u64(c, &mux->peer.depth_max, UINT64_MAX);
  aw_mux_codec_u64(c, &mux->peer.values_max, UINT64_MAX);
  if (!is_link_possible(mux)) {
    aw_mux_codec_fail(c, AW_E_INVALID, "no connection can be like that");
  }
}

static void code_connection(aw_mux_codec *c, aw_mux *mux) {
  bool due = mux->flow_now || mux->flow_at != UINT64_MAX;
  aw_mux_codec_u64(c, &mux->conn_sent, MUX_SAVED_MOST);
  aw_mux_codec_u64(c, &mux->conn_allowed, MUX_SAVED_MOST);
  aw_mux_codec_u64(c, &mux->conn_received, MUX_SAVED_MOST);
  aw_mux_codec_u64(c, &mux->conn_granted, MUX_SAVED_MOST);
  aw_mux_codec_bool(c, &due);
  if (aw_mux_codec_loads(c)) {
    mux->flow_now = due;
  }
}

static void code_blame(aw_mux_codec *c, aw_mux *mux) {
  aw_mux_codec_u32(c, &mux->turn, UINT32_MAX);
  aw_mux_codec_u32(c, &mux->turn_begun, UINT32_MAX);
  aw_mux_codec_u32(c, &mux->carried_from, UINT32_MAX);
  aw_mux_codec_int(c, &mux->loss_code, INT_MIN, INT_MAX);
  aw_mux_codec_int(c, &mux->loss_of, INT_MIN, INT_MAX);
  aw_mux_codec_bool(c, &mux->carried);
  mux_code_kind(c, &mux->suspect.kind, AW_KIND_TOOL);
  aw_mux_codec_uuid(c, &mux->suspect.id);
  aw_mux_codec_u64(c, &mux->suspect.sequence, AW_SEQ_MAX);
  aw_mux_codec_u32(c, &mux->suspect.turn, UINT32_MAX);
}

static void code_size(aw_mux_codec *c, size_t *size) {
  uint64_t number = *size;
  aw_mux_codec_u64(c, &number, SIZE_MAX / 4);
  *size = (size_t)number;
}

/* Those of what is there are counted when it is loaded. */
static void code_stats(aw_mux_codec *c, aw_mux_stats *s) {
  uint64_t *const counters[] = {
      &s->messages_in,   &s->messages_out, &s->bytes_in,     &s->bytes_out,
      &s->uncredited,    &s->duplicates,   &s->dropped_late, &s->unanswered,
      &s->replayed,      &s->folded,       &s->opened,       &s->ended,
      &s->undeliverable,
  };
  for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++) {
    aw_mux_codec_u64(c, counters[i], UINT64_MAX);
  }
  for (size_t i = 0; i < sizeof s->refused / sizeof s->refused[0]; i++) {
    aw_mux_codec_u64(c, &s->refused[i], UINT64_MAX);
  }
  code_size(c, &s->inbox_high);
  code_size(c, &s->log_high);
}

static void code_notices(aw_mux_codec *c, aw_mux *mux) {
  aw_mux_codec_u32(c, &mux->notice_count, AW_MUX_NOTICES);
  for (unsigned i = 0; i < mux->notice_count; i++) {
    int notice = (int)mux->notices[i];
    aw_mux_codec_int(c, &notice, AW_MUX_RESUMED, AW_MUX_RENEWED);
    mux->notices[i] = (enum aw_mux_notice)notice;
  }
}

/* A list of records in a buffer, each coded by `code`. */
typedef struct record_list {
  aw_buf *buf;
  void *record; /* room for one */
  size_t size;
  uint32_t most;
  void (*code)(aw_mux_codec *c, void *record);
} record_list;

static uint32_t code_records(aw_mux_codec *c, const record_list *list) {
  uint32_t count = (uint32_t)(aw_buf_len(list->buf) / list->size);
  aw_mux_codec_u32(c, &count, list->most);
  for (uint32_t i = 0; i < count && c->rc == AW_OK; i++) {
    if (aw_mux_codec_loads(c)) {
      memset(list->record, 0, list->size);
    } else {
      memcpy(list->record, aw_buf_bytes(list->buf) + i * list->size,
             list->size);
    }
    list->code(c, list->record);
    if (aw_mux_codec_loads(c) && c->rc == AW_OK) {
      c->rc = aw_buf_append(list->buf, list->record, list->size);
    }
  }
  return count;
}

static bool is_name(const char *name, const char *text, size_t len) {
  return strlen(name) == len && memcmp(name, text, len) == 0;
}

/* A refusal's field is static text. */
static const char *find_field(const char *text, size_t len) {
  static const char *const names[] = {"type",      "message_id", "sequence",
                                      "timestamp", "version",    "in_reply_to",
                                      "payload",   "message_max"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (is_name(names[i], text, len)) {
      return names[i];
    }
  }
  for (int kind = 0; kind < AW_KIND_COUNT; kind++) {
    if (is_name(aw_kind_key((enum aw_kind)kind), text, len)) {
      return aw_kind_key((enum aw_kind)kind);
    }
  }
  return NULL;
}

static void code_refusal(aw_mux_codec *c, void *record) {
  aw_refusal *r = record;
  const char *field = r->field == NULL ? "" : r->field;
  size_t field_len = strlen(field);
  bool *const flags[] = {&r->has_scope, &r->has_message_id, &r->known,
                         &r->opens, &r->consumed};
  aw_mux_codec_int(c, &r->code, MUX_SAVED_ERROR_LEAST, -1);
  mux_code_kind(c, &r->kind, AW_KIND_LINK);
  aw_mux_codec_uuid(c, &r->id);
  aw_mux_codec_uuid(c, &r->message_id);
  for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
    aw_mux_codec_bool(c, flags[i]);
  }
  aw_mux_codec_u64(c, &r->sequence, AW_SEQ_MAX);
  code_size(c, &r->offset);
  aw_mux_codec_u32(c, &r->type_len, AW_TYPE_NAME_MAX);
  aw_mux_codec_raw(c, r->type, r->type_len);
  aw_mux_codec_span(c, &field, &field_len);
  if (aw_mux_codec_loads(c) && c->rc == AW_OK) {
    r->field = find_field(field, field_len);
    r->what = aw_error_text(r->code);
  }
}

static void code_refusals(aw_mux_codec *c, aw_mux *mux) {
  aw_refusal refusal;
  mux->refusal_count =
      code_records(c, &(record_list){&mux->refusals, &refusal, sizeof refusal,
                                     AW_MUX_REFUSALS_MAX, code_refusal});
}

static void code_opening(aw_mux_codec *c, void *record) {
  refused_opening *opening = record;
  mux_code_kind(c, &opening->kind, AW_KIND_TOOL);
  aw_mux_codec_uuid(c, &opening->id);
  aw_mux_codec_uuid(c, &opening->opening_id);
}

static void code_openings(aw_mux_codec *c, aw_mux *mux) {
  refused_opening opening;
  (void)code_records(c, &(record_list){&mux->refused_openings, &opening,
                                       sizeof opening, AW_MUX_REFUSALS_MAX,
                                       code_opening});
}

static void code_control_scope(aw_mux_codec *c, void *record) {
  control_scope *scope = record;
  mux_code_kind(c, &scope->kind, AW_KIND_LINK);
  aw_mux_codec_uuid(c, &scope->id);
}

static void code_control_in(aw_mux_codec *c, aw_mux *mux) {
  control_scope scope;
  mux_code_inbox(c, mux, &mux->control_in);
  uint32_t count =
      code_records(c, &(record_list){&mux->control_scopes, &scope, sizeof scope,
                                     UINT32_MAX, code_control_scope});
  if (count != mux->control_in.count) {
    aw_mux_codec_fail(c, AW_E_INVALID, "each message has a scope");
  }
}

static size_t count_entries(const aw_buf *buf) {
  size_t count = 0;
  for (size_t at = 0; at < aw_buf_len(buf); count++) {
    at += aw_mux_entry_size(aw_mux_entry_at(buf, at));
  }
  return count;
}

static int append_entry(aw_buf *out, const char *text, size_t len) {
  size_t at = aw_buf_len(out);
  int rc = aw_mux_entry_begin(out);
  if (rc == AW_OK) {
    rc = aw_buf_append(out, text, len);
  }
  return rc == AW_OK ? aw_mux_entry_finish(out, at, false) : rc;
}

static void code_control_out(aw_mux_codec *c, aw_mux *mux) {
  aw_buf *out = &mux->control_out;
  size_t count = count_entries(out), at = 0;
  aw_mux_codec_count(c, &count);
  for (size_t i = 0; i < count && c->rc == AW_OK; i++) {
    const char *text = NULL;
    size_t len = 0;
    if (!aw_mux_codec_loads(c)) {
      const aw_mux_entry *entry = aw_mux_entry_at(out, at);
      text = aw_mux_entry_text(entry);
      len = entry->len;
      at += aw_mux_entry_size(entry);
    }
    aw_mux_codec_span(c, &text, &len);
    if (aw_mux_codec_loads(c) && c->rc == AW_OK &&
        mux_check_object(c, mux, text, len)) {
      c->rc = append_entry(out, text, len);
    }
  }
}

static void code_mux(aw_mux_codec *c, aw_mux *mux) {
  code_head(c, mux);
  code_session(c, mux);
  code_connection(c, mux);
  code_blame(c, mux);
  code_stats(c, &mux->stats);
  code_notices(c, mux);
  code_refusals(c, mux);
  code_openings(c, mux);
  code_control_in(c, mux);
  code_control_out(c, mux);
}

static void save_channel(aw_mux_codec *c, aw_channel *channel) {
  mux_code_kind(c, &channel->kind, AW_KIND_TOOL);
  aw_mux_codec_uuid(c, &channel->id);
  mux_code_channel(c, channel);
}

/* Tombs last, in their order: the oldest make room. */
static void save_channels(aw_mux_codec *c, aw_mux *mux) {
  size_t count = mux->channels.count, cursor = 0;
  aw_channel *channel = NULL;
  aw_mux_codec_count(c, &count);
  while ((channel = aw_map_next(&mux->channels, &cursor)) != NULL) {
    if (!aw_node_queued(&channel->tomb_node)) {
      save_channel(c, channel);
    }
  }
  for (aw_node *node = aw_queue_first(&mux->tombs); node != NULL;
       node = aw_queue_next(&mux->tombs, node)) {
    save_channel(c, AW_CONTAINER(node, aw_channel, tomb_node));
  }
}

int aw_mux_save(aw_mux *mux, aw_buf *out) {
  aw_mux_codec c = {.out = out};
  size_t start = aw_buf_len(out);
  code_mux(&c, mux);
  save_channels(&c, mux);
  aw_mux_codec_seal(&c, start);
  if (c.rc != AW_OK) {
    out->tail = out->head + start;
  }
  return c.rc;
}

static void load_channel(aw_mux_codec *c, aw_mux *mux) {
  enum aw_kind kind = AW_KIND_PROVIDER;
  aw_uuid id = {{0}};
  mux_code_kind(c, &kind, AW_KIND_TOOL);
  aw_mux_codec_uuid(c, &id);
  if (c->rc != AW_OK) {
    return;
  }
  aw_channel *channel = aw_channel_new(mux, kind, &id, mux->mem);
  if (channel == NULL) {
    c->rc = AW_E_NOMEM;
    return;
  }
  int rc = aw_map_put(&mux->channels, kind, &id, channel);
  if (rc == AW_OK) {
    mux_code_channel(c, channel);
  } else {
    aw_channel_free(channel, mux->mem);
    aw_mux_codec_fail(c, rc == AW_E_NOMEM ? rc : AW_E_INVALID,
                      "a scope is there twice");
  }
}

static void load_channels(aw_mux_codec *c, aw_mux *mux) {
  size_t count = 0;
  aw_mux_codec_count(c, &count);
  for (size_t i = 0; i < count && c->rc == AW_OK; i++) {
    load_channel(c, mux);
  }
  if (mux->stats.open_scopes > mux->options.scopes_max) {
    aw_mux_codec_fail(c, AW_E_LIMIT, "more scopes than this end may have");
  }
}

/* What was accepted under larger limits is read under those of the core. */
static int load_mux(aw_mux_codec *c, aw_mux *mux) {
  aw_mux_codec_seal(c, 0);
  mux->tape.max = AW_JSON_VALUES_MAX;
  code_mux(c, mux);
  load_channels(c, mux);
  if (c->at != c->end) {
    aw_mux_codec_fail(c, AW_E_INVALID, "there is more behind the last scope");
  }
  aw_json_tape_fini(&mux->tape);
  mux->tape.max = mux->options.values_max;
  return c->rc;
}

int aw_mux_load(aw_mux **out, const aw_mem *mem, const aw_mux_options *options,
                const void *bytes, size_t len, uint32_t *generation,
                const char **why) {
  aw_mux *mux = NULL;
  aw_mux_codec c = {.at = bytes, .end = (const char *)bytes + len};
  int rc = aw_mux_new(&mux, mem, options);
  if (rc == AW_OK) {
    rc = load_mux(&c, mux);
  }
  if (rc != AW_OK) {
    *why = c.why != NULL ? c.why : aw_error_text(rc);
    aw_mux_free(mux);
    return rc;
  }
  /* More was granted under larger options: that much was granted. */
  if (mux->conn_granted > mux_grantable(mux)) {
    mux->conn_granted = mux_grantable(mux);
  }
  mux_wake_senders(mux);
  *generation = mux->generation;
  *out = mux;
  return AW_OK;
}
