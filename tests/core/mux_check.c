#include "mux_check.h"

#define DEMAND(holds)                                                          \
  do {                                                                         \
    if (!(holds)) {                                                            \
      return #holds;                                                           \
    }                                                                          \
  } while (0)

static const char *find_log_flaw(const aw_mux_log *log) {
  const aw_mux_entry *entry = aw_mux_log_first(log);
  size_t count = 0, size = 0, unwritten = 0, urgent = 0;
  for (; entry != NULL; entry = aw_mux_log_after(log, entry)) {
    unwritten += log->first + count++ >= log->next ? entry->len : 0;
    urgent += entry->urgent ? entry->len : 0;
    size += aw_mux_entry_size(entry);
  }
  DEMAND(count == aw_mux_log_count(log));
  DEMAND(size == log->size && unwritten == log->unwritten);
  DEMAND(urgent == log->urgent && log->urgent_last <= log->last);
  DEMAND(log->first <= log->next && log->next <= log->last + 1);
  DEMAND(log->unwritten <= log->numbered);
  DEMAND(log->folded == 0 ||
         log->folded == aw_mux_entry_size(aw_mux_log_first(log)));
  return NULL;
}

static const char *find_inbox_flaw(const aw_channel *channel) {
  const aw_message *message = aw_mux_inbox_first(&channel->inbox);
  size_t count = 0;
  uint64_t cost = 0;
  for (; message != NULL;
       message = aw_mux_inbox_after(&channel->inbox, message)) {
    count++;
    cost += message->cost;
    DEMAND(aw_message_tokens(message)->next == message->token_count);
  }
  DEMAND(count == channel->inbox.count);
  DEMAND(cost == channel->in_bytes - channel->consumed_bytes);
  return NULL;
}

static const char *find_channel_flaw(const aw_channel *channel) {
  bool over = aw_channel_is_over(channel);
  bool released = channel->hold == AW_CHANNEL_RELEASED;
  DEMAND(over || (channel->error == AW_OK && !channel->silent));
  DEMAND(over || channel->consumed <= channel->received);
  DEMAND(channel->state < AW_CHANNEL_GIVEN_UP ||
         aw_mux_log_is_empty(&channel->log));
  DEMAND(!released || (channel->events == 0 && channel->inbox.count == 0));
  DEMAND((channel->events != 0) == aw_node_queued(&channel->ready_node));
  DEMAND(!aw_node_queued(&channel->flow_node) ||
         !(channel->silent || channel->state == AW_CHANNEL_LOST));
  DEMAND(!aw_node_queued(&channel->session_node) || channel->send_refused);
  DEMAND(!aw_node_queued(&channel->tomb_node) ||
         (released && over && aw_mux_log_is_empty(&channel->log)));
  DEMAND(!channel->waits_connection || aw_node_queued(&channel->writer_node));
  const char *flaw = find_log_flaw(&channel->log);
  return flaw == NULL ? find_inbox_flaw(channel) : flaw;
}

static size_t count_nodes(const aw_queue *queue) {
  size_t count = 0;
  for (const aw_node *node = aw_queue_first(queue); node != NULL;
       node = aw_queue_next(queue, node)) {
    count++;
  }
  return count;
}

/* What all channels come to. */
typedef struct sums {
  size_t inbox, log, in_bytes, open, over, waiting, tombs;
} sums;

static void add(sums *s, const aw_channel *channel) {
  s->inbox += (size_t)(channel->in_bytes - channel->consumed_bytes);
  s->log += channel->log.size;
  s->in_bytes += sizeof *channel + aw_buf_len(&channel->inbox.bytes);
  s->open += !aw_channel_is_over(channel);
  s->over += aw_channel_is_over(channel);
  s->waiting += channel->waits_connection;
  s->tombs += aw_node_queued(&channel->tomb_node);
}

const char *mux_find_flaw(const aw_mux *mux) {
  const aw_mux_stats *stats = &mux->stats;
  size_t cursor = 0;
  const aw_channel *channel = NULL;
  sums s = {0};
  while ((channel = aw_map_next(&mux->channels, &cursor)) != NULL) {
    const char *flaw = find_channel_flaw(channel);
    if (flaw != NULL) {
      return flaw;
    }
    add(&s, channel);
  }
  DEMAND(stats->inbox_bytes == s.inbox && stats->log_bytes == s.log);
  DEMAND(stats->open_scopes == s.open && stats->ended_scopes == s.over);
  DEMAND(mux->in_bytes == s.in_bytes);
  DEMAND(count_nodes(&mux->waits_connection) == s.waiting);
  DEMAND(count_nodes(&mux->tombs) == s.tombs && mux->tomb_count == s.tombs);
  DEMAND(mux->refusal_count <= AW_MUX_REFUSALS_MAX);
  DEMAND(aw_buf_len(&mux->refusals) == mux->refusal_count * sizeof(aw_refusal));
  DEMAND(aw_buf_len(&mux->control_scopes) ==
         mux->control_in.count * sizeof(control_scope));
  DEMAND(mux_grantable(mux) >= mux->conn_granted || !mux->extended);
  return NULL;
}
