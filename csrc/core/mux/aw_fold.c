/* A log that is full while its reader is away becomes a state, and the gap that
 * this leaves is announced (docs/wire.md section 7). */
#include "aw_mux_impl.h"
#include "aw_resume_impl.h"

/* Worth it when the scope's own log is full, or when what it would free is more
 * than what a state costs. The peer has to know the scope: a state opens none.
 */
bool aw_mux_may_fold(const aw_channel *channel) {
  const aw_mux *mux = channel->mux;
  bool away = mux->extended && !mux->options.is_client &&
              mux->link == AW_LINK_DETACHED && !mux->abandoned;
  bool known = !channel->opened_here || channel->acked || channel->in.last > 0;
  size_t messages = channel->log_count - (channel->folded > 0);
  return away && known && channel->state == AW_CHANNEL_OPEN && messages > 0 &&
         (mux_is_log_full(channel) || (messages >= AW_CHANNEL_FOLD_MESSAGES &&
                                       !mux_has_window(mux, channel)));
}

/* The logs' bounds hold for a state as well, unless it makes them smaller. */
bool mux_has_fold_room(const aw_draft *draft) {
  const aw_mux *mux = draft->mux;
  size_t freed = draft->mark;
  size_t added = aw_buf_len(&draft->channel->log) - draft->mark;
  return added <= freed ||
         (mux->stats.log_bytes - freed + added <= mux->options.session_bytes &&
          (mux->pool == NULL ||
           mux->pool->log_bytes - freed + added <= mux->pool->log_max));
}

/* The state is urgent: it follows the gap at once, while the credit that its
 * reader gave ends before it. */
void mux_fold(aw_draft *draft) {
  aw_channel *channel = draft->channel;
  aw_mux *mux = draft->mux;
  blame_forget(mux);
  mux->stats.folded += channel->log_count - 1;
  mux_count_log(mux, 0, aw_channel_log_fold(channel, draft->mark));
  channel->urgent_last = channel->out.last;
  mux_wake_hungry(mux);
}

void aw_mux_give_up(aw_channel *channel) {
  if (channel->state == AW_CHANNEL_OPEN) {
    mux_lose(channel);
  }
}

uint64_t mux_skip_folded(const aw_channel *channel, uint64_t received) {
  uint64_t folded = channel->folded > 0 ? channel->first_logged - 1 : 0;
  return folded > received ? folded : received;
}

/* Tells the peer of the jump. `bytes` makes both ends count alike behind it:
 * nobody knows any more how long the messages were that the peer never had. */
int mux_announce_gap(aw_channel *channel, uint64_t received) {
  aw_draft draft;
  int rc = mux_begin_link(channel->mux, "gap", &draft);
  if (rc != AW_OK) {
    return rc;
  }
  link_put(draft.out, "{\"kind\":\"", &rc);
  link_put(draft.out, aw_kind_name(channel->kind), &rc);
  link_put(draft.out, "\",\"id\":", &rc);
  link_put_uuid(draft.out, &channel->id, &rc);
  link_put(draft.out, ",\"from\":", &rc);
  link_put_number(draft.out, received + 1, &rc);
  link_put(draft.out, ",\"to\":", &rc);
  link_put_number(draft.out, channel->first_logged - 1, &rc);
  link_put(draft.out, ",\"bytes\":", &rc);
  link_put_number(draft.out, channel->out_bytes - channel->unsent_bytes, &rc);
  link_put(draft.out, ",\"next\":\"snapshot\"}", &rc);
  return mux_end_link(&draft, rc);
}

/* What is skipped needs no credit, and counts as consumed with what is read
 * behind it. */
static void jump(aw_channel *channel, uint64_t to, uint64_t bytes) {
  if (to > channel->in.last) {
    channel->granted.sequence += to - channel->in.last;
    channel->in.last = to;
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
int mux_receive_gap(aw_mux *mux, const link_reader *in) {
  size_t len = 0;
  uint64_t to = 0, bytes = 0;
  enum aw_kind kind;
  aw_uuid id;
  if (!mux->options.is_client || !link_scope(in, &kind, &id) ||
      !link_number(in, "to", &to) || !link_may_number(in, "bytes", &bytes)) {
    return AW_E_REFUSED;
  }
  aw_channel *channel = aw_map_get(&mux->channels, kind, &id);
  if (channel == NULL || channel->state == AW_CHANNEL_OVER) {
    return AW_OK;
  }
  const char *next = link_string(in, "next", &len);
  if (next == NULL || len != 8 || memcmp(next, "snapshot", 8) != 0) {
    mux_lose(channel);
    return AW_OK;
  }
  jump(channel, to, bytes);
  return AW_OK;
}
