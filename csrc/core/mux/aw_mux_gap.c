#include "aw_mux_gap.h"
#include "aw_mux_scope.h"
#include "aw_mux_send.h"

/* Tells the peer of the jump. `bytes` makes both ends count alike behind it:
 * nobody knows any more how long the messages were that the peer never had. */
int mux_announce_gap(aw_channel *channel, uint64_t received) {
  aw_draft draft;
  int rc = mux_begin_link(channel->mux, "gap", &draft);
  if (rc != AW_OK) {
    return rc;
  }
  mux_link_put(draft.out, "{\"kind\":\"", &rc);
  mux_link_put(draft.out, aw_kind_name(channel->kind), &rc);
  mux_link_put(draft.out, "\",\"id\":", &rc);
  mux_link_put_uuid(draft.out, &channel->id, &rc);
  mux_link_put(draft.out, ",\"from\":", &rc);
  mux_link_put_number(draft.out, received + 1, &rc);
  mux_link_put(draft.out, ",\"to\":", &rc);
  mux_link_put_number(draft.out, channel->log.first - 1, &rc);
  mux_link_put(draft.out, ",\"bytes\":", &rc);
  mux_link_put_number(draft.out, channel->log.numbered - channel->log.unwritten,
                      &rc);
  mux_link_put(draft.out, ",\"next\":\"snapshot\"}", &rc);
  return mux_end_link(&draft, rc);
}

/* What is skipped needs no credit, and counts as consumed with what is read
 * behind it. */
static void jump(aw_channel *channel, uint64_t to, uint64_t bytes) {
  if (to > channel->received) {
    channel->granted.sequence += to - channel->received;
    channel->received = to;
    aw_channel_pass_unread(channel);
  }
  if (bytes > channel->in_bytes) {
    uint64_t skipped = bytes - channel->in_bytes;
    channel->in_bytes += skipped;
    channel->consumed_bytes += skipped;
    channel->granted.bytes += skipped;
  }
  mux_queue_flow(channel, true);
}

/* A live scope has to jump: announced, never silent. */
int mux_receive_gap(aw_mux *mux, const mux_link_reader *in) {
  size_t len = 0;
  uint64_t to = 0, bytes = 0;
  enum aw_kind kind;
  aw_uuid id;
  if (!mux->options.is_client || !mux_link_scope(in, &kind, &id) ||
      !mux_link_number(in, "to", &to) ||
      !mux_link_may_number(in, "bytes", &bytes)) {
    return AW_E_REFUSED;
  }
  aw_channel *channel = aw_map_get(&mux->channels, kind, &id);
  if (channel == NULL || aw_channel_is_over(channel)) {
    return AW_OK;
  }
  const char *next = mux_link_string(in, "next", &len);
  if (next == NULL || len != 8 || memcmp(next, "snapshot", 8) != 0) {
    mux_lose(channel);
    return AW_OK;
  }
  jump(channel, to, bytes);
  return AW_OK;
}
