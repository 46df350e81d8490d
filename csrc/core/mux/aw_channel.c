#include "aw_channel.h"
#include "aw_error.h"
#include <string.h>

#define ALIGN8(n) (((n) + 7u) & ~(size_t)7u)

aw_channel *aw_channel_new(struct aw_mux *mux, enum aw_kind kind,
                           const aw_uuid *id, const aw_mem *mem) {
  aw_channel *channel = aw_mem_zero(mem, 1, sizeof *channel);
  if (channel == NULL) {
    return NULL;
  }
  channel->mux = mux;
  channel->kind = kind;
  channel->id = *id;
  channel->first_logged = channel->next_unsent = 1;
  aw_buf_init(&channel->inbox, mem);
  aw_buf_init(&channel->log, mem);
  return channel;
}

void aw_channel_free(aw_channel *channel, const aw_mem *mem) {
  aw_node_remove(&channel->ready_node);
  aw_node_remove(&channel->writer_node);
  aw_node_remove(&channel->flow_node);
  aw_node_remove(&channel->tomb_node);
  aw_node_remove(&channel->hungry_node);
  aw_buf_fini(&channel->inbox);
  aw_buf_fini(&channel->log);
  aw_mem_free(mem, channel);
}

const aw_message *aw_channel_peek(const aw_channel *channel) {
  if (channel->inbox_count == 0) {
    return NULL;
  }
  return (const aw_message *)(const void *)aw_buf_bytes(&channel->inbox);
}

const char *aw_message_type(const aw_message *message) {
  return (const char *)(message + 1);
}

const char *aw_message_payload(const aw_message *message) {
  return aw_message_type(message) + message->type_len;
}

static size_t tokens_offset(size_t type_len, size_t payload_len) {
  return ALIGN8(sizeof(aw_message) + type_len + payload_len);
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

int aw_channel_store(aw_channel *channel, const aw_envelope *envelope,
                     const aw_json_tape *tape, const char *text, size_t len,
                     bool ends) {
  const aw_json_token *payload = &tape->tokens[envelope->payload];
  uint32_t count = payload->next - envelope->payload;
  size_t at = tokens_offset(envelope->type_len, payload->len);
  size_t size = at + count * sizeof(aw_json_token);
  int rc = aw_buf_reserve(&channel->inbox, size);
  if (rc != AW_OK) {
    return rc;
  }
  char *record = channel->inbox.data + channel->inbox.tail;
  aw_message *message = (aw_message *)(void *)record;
  *message = (aw_message){.size = (uint32_t)size,
                          .cost = (uint32_t)len,
                          .type_len = (uint32_t)envelope->type_len,
                          .payload_len = payload->len,
                          .token_count = count,
                          .has_reply = envelope->has_reply,
                          .ends = ends,
                          .sequence = envelope->sequence,
                          .timestamp = envelope->timestamp,
                          .message_id = envelope->message_id,
                          .in_reply_to = envelope->in_reply_to};
  memcpy(record + sizeof *message, envelope->type, envelope->type_len);
  memcpy(record + sizeof *message + envelope->type_len, text + payload->start,
         payload->len);
  copy_tokens((aw_json_token *)(void *)(record + at), payload, count,
              envelope->payload, payload->start);
  channel->inbox.tail += size;
  channel->inbox_count++;
  channel->in_bytes += len;
  return AW_OK;
}

int aw_channel_store_refused(aw_channel *channel, const aw_envelope *envelope,
                             size_t len, bool ends) {
  static const char payload[] = "{}";
  const aw_json_token token = {.len = 2, .next = 1, .kind = AW_JSON_OBJECT};
  size_t at = tokens_offset(envelope->type_len, 2);
  size_t size = at + sizeof token;
  int rc = aw_buf_reserve(&channel->inbox, size);
  if (rc != AW_OK) {
    return rc;
  }
  char *record = channel->inbox.data + channel->inbox.tail;
  aw_message *message = (aw_message *)(void *)record;
  *message = (aw_message){.size = (uint32_t)size,
                          .cost = (uint32_t)len,
                          .type_len = (uint32_t)envelope->type_len,
                          .payload_len = 2,
                          .token_count = 1,
                          .has_reply = envelope->has_reply,
                          .ends = ends,
                          .refused = envelope->refused->code,
                          .sequence = envelope->sequence,
                          .timestamp = envelope->timestamp,
                          .message_id = envelope->message_id,
                          .in_reply_to = envelope->in_reply_to,
                          .why = envelope->refused->what};
  if (envelope->type_len > 0) {
    memcpy(record + sizeof *message, envelope->type, envelope->type_len);
  }
  memcpy(record + sizeof *message + envelope->type_len, payload, 2);
  memcpy(record + at, &token, sizeof token);
  channel->inbox.tail += size;
  channel->inbox_count++;
  channel->in_bytes += len;
  return AW_OK;
}

void aw_channel_pass_unread(aw_channel *channel) {
  if (channel->inbox_count == 0 && channel->in.last > channel->consumed) {
    channel->consumed = channel->in.last;
  }
}

size_t aw_channel_drop(aw_channel *channel) {
  const aw_message *message = aw_channel_peek(channel);
  size_t cost = message->cost;
  channel->has_header = true;
  channel->header_id = message->message_id;
  channel->header_has_reply = message->has_reply;
  channel->header_reply = message->in_reply_to;
  channel->header_timestamp = message->timestamp;
  if (message->sequence > channel->consumed) {
    channel->consumed = message->sequence; /* a late terminal goes beyond */
  }
  channel->consumed_bytes += cost;
  channel->inbox_count--;
  aw_buf_consume(&channel->inbox, message->size);
  aw_channel_pass_unread(channel);
  if (channel->inbox_count == 0) {
    aw_buf_reset(&channel->inbox, AW_CHANNEL_KEEP);
  }
  return cost;
}

int aw_channel_log_begin(aw_channel *channel, size_t *mark) {
  int rc = aw_buf_reserve(&channel->log, sizeof(aw_entry));
  if (rc == AW_OK) {
    *mark = aw_buf_len(&channel->log);
    channel->log.tail += sizeof(aw_entry);
  }
  return rc;
}

int aw_channel_log_finish(aw_channel *channel, size_t mark, bool urgent) {
  size_t len = aw_buf_len(&channel->log) - mark - sizeof(aw_entry);
  size_t padding = ALIGN8(len) - len;
  int rc = aw_buf_reserve(&channel->log, padding);
  if (rc != AW_OK) {
    return rc;
  }
  channel->log.tail += padding;
  aw_entry *entry = (aw_entry *)(void *)(aw_buf_bytes(&channel->log) + mark);
  *entry = (aw_entry){.len = (uint32_t)len, .urgent = urgent};
  channel->out_bytes += len;
  channel->unsent_bytes += len;
  channel->urgent_bytes += urgent ? len : 0;
  channel->log_count++;
  return AW_OK;
}

void aw_channel_log_cancel(aw_channel *channel, size_t mark) {
  channel->log.tail = channel->log.head + mark;
}

size_t aw_channel_log_fold(aw_channel *channel, size_t mark) {
  aw_buf_consume(&channel->log, mark);
  const aw_entry *entry = (const aw_entry *)(void *)aw_buf_bytes(&channel->log);
  channel->folded = aw_buf_len(&channel->log);
  channel->first_logged = channel->next_unsent = channel->out.last;
  channel->unsent_offset = 0;
  channel->unsent_bytes = entry->len;
  channel->urgent_bytes = 0;
  channel->log_count = 1;
  return mark;
}

static size_t entry_size(const aw_entry *entry) {
  return sizeof *entry + ALIGN8((size_t)entry->len);
}

static const aw_entry *entry_at(const aw_channel *channel, size_t offset) {
  return (const aw_entry *)(const void *)(aw_buf_bytes(&channel->log) + offset);
}

const aw_entry *aw_channel_unsent(const aw_channel *channel) {
  if (channel->next_unsent > channel->out.last) {
    return NULL;
  }
  return entry_at(channel, channel->unsent_offset);
}

const char *aw_entry_text(const aw_entry *entry) {
  return (const char *)(entry + 1);
}

void aw_channel_advance(aw_channel *channel, uint32_t turn) {
  size_t offset = channel->unsent_offset;
  aw_entry *entry = (aw_entry *)(void *)(aw_buf_bytes(&channel->log) + offset);
  entry->turn = turn & 0x7fffffff;
  channel->unsent_offset += entry_size(entry);
  channel->unsent_bytes -= entry->len;
  channel->next_unsent++;
}

size_t aw_channel_log_trim(aw_channel *channel, uint64_t sequence) {
  size_t freed = 0;
  while (channel->first_logged <= sequence &&
         channel->first_logged < channel->next_unsent) {
    const aw_entry *entry = entry_at(channel, freed);
    freed += entry_size(entry);
    channel->urgent_bytes -= entry->urgent ? entry->len : 0;
    channel->first_logged++;
    channel->log_count--;
  }
  if (freed > 0) {
    channel->folded = 0;
  }
  aw_buf_consume(&channel->log, freed);
  channel->unsent_offset -= freed;
  if (channel->log_count == 0) {
    aw_buf_reset(&channel->log, AW_CHANNEL_KEEP);
  }
  return freed;
}

bool aw_channel_rewind(aw_channel *channel, uint64_t received) {
  if (received + 1 < channel->first_logged || received > channel->out.last) {
    return false;
  }
  size_t offset = 0;
  for (uint64_t n = channel->first_logged; n <= received; n++) {
    offset += entry_size(entry_at(channel, offset));
  }
  channel->unsent_offset = offset;
  channel->next_unsent = received + 1;
  channel->unsent_bytes = 0;
  for (uint64_t n = received + 1; n <= channel->out.last; n++) {
    const aw_entry *entry = entry_at(channel, offset);
    channel->unsent_bytes += entry->len;
    offset += entry_size(entry);
  }
  return true;
}
