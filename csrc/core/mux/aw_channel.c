#include "aw_channel.h"
#include "aw_error.h"

aw_channel *aw_channel_new(struct aw_mux *mux, enum aw_kind kind,
                           const aw_uuid *id, const aw_mem *mem) {
  aw_channel *channel = aw_mem_zero(mem, 1, sizeof *channel);
  if (channel == NULL) {
    return NULL;
  }
  channel->mux = mux;
  channel->kind = kind;
  channel->id = *id;
  aw_mux_inbox_init(&channel->inbox, mem);
  aw_mux_log_init(&channel->log, mem);
  return channel;
}

void aw_channel_free(aw_channel *channel, const aw_mem *mem) {
  aw_node_remove(&channel->ready_node);
  aw_node_remove(&channel->writer_node);
  aw_node_remove(&channel->flow_node);
  aw_node_remove(&channel->tomb_node);
  aw_node_remove(&channel->session_node);
  aw_mux_inbox_fini(&channel->inbox);
  aw_mux_log_fini(&channel->log);
  aw_mem_free(mem, channel);
}

const aw_message *aw_channel_peek(const aw_channel *channel) {
  return aw_mux_inbox_first(&channel->inbox);
}

int aw_channel_accept(aw_channel *channel, uint64_t number) {
  if (number == channel->received + 1) {
    channel->received = number;
    return AW_OK;
  }
  if (number == 0) {
    return AW_E_INVALID_SEQUENCE;
  }
  return number <= channel->received ? AW_E_DUPLICATE_SEQUENCE
                                     : AW_E_SEQUENCE_GAP;
}

void aw_channel_pass_unread(aw_channel *channel) {
  if (channel->inbox.count == 0 && channel->received > channel->consumed) {
    channel->consumed = channel->received;
  }
}

size_t aw_channel_drop(aw_channel *channel) {
  const aw_message *message = aw_mux_inbox_first(&channel->inbox);
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
  aw_mux_inbox_drop(&channel->inbox);
  aw_channel_pass_unread(channel);
  return cost;
}
