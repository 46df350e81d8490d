/* Which message ends connections, so that none is replayed for ever
 * (docs/wire.md section 7, "What cannot be taken"). A peer receives in order:
 * of what a connection carried in vain, the entry that was written first is the
 * one at which it ended. */
#include "aw_mux_blame.h"

void aw_mux_blame(aw_mux *mux, uint32_t generation, int code) {
  if (generation == mux->generation && mux_is_attached(mux)) {
    mux->loss_code = code;
  }
}

/* A connection on which nothing was written proves nothing, so the one before
 * it stays to be judged. */
void mux_blame_begin(aw_mux *mux) {
  if (mux->turn != mux->turn_begun) {
    mux->carried = true;
    mux->carried_from = mux->turn_begun;
    mux->loss_of = mux->loss_code;
    mux->turn_begun = mux->turn;
  }
  mux->loss_code = 0;
  mux->suspect = (aw_blame){.sequence = 0};
}

void mux_blame_suspect(const aw_channel *channel) {
  aw_mux *mux = channel->mux;
  const aw_mux_entry *entry = aw_mux_log_next(&channel->log);
  if (!mux->carried || entry == NULL) {
    return;
  }
  uint32_t turn = (entry->turn - mux->carried_from) & AW_MUX_TURN_MASK;
  uint32_t last = (mux->turn - mux->carried_from) & AW_MUX_TURN_MASK;
  bool was_carried = turn != 0 && turn <= last;
  if (was_carried && (mux->suspect.sequence == 0 || turn < mux->suspect.turn)) {
    mux->suspect =
        (aw_blame){channel->kind, channel->id, channel->log.next, turn};
  }
}

/* Ends that have nothing to do with what was carried. */
static bool is_neutral(int code) {
  return code == 0 || code == 1000 || code == 1001 || code == 1012 ||
         code == 1013 || code == AW_CLOSE_SUPERSEDED;
}

static bool is_verdict(int code) {
  return code == 1002 || code == 1003 || (code >= 1007 && code <= 1009) ||
         code == 1011 || code == AW_CLOSE_SEQUENCE ||
         code == AW_CLOSE_FORBIDDEN;
}

/* Counts the loss; true when it was one too many. Each scope has its own count,
 * because several culprits take turns; it begins anew when the message arrived.
 */
static bool count_loss(aw_mux *mux, aw_channel *channel) {
  if (channel->blamed != mux->suspect.sequence) {
    channel->blamed = mux->suspect.sequence;
    channel->losses = 0;
    channel->verdict = 0;
  }
  channel->losses++;
  if (!is_verdict(mux->loss_of)) {
    return channel->losses >= AW_MUX_LOSSES;
  }
  bool again = channel->verdict == mux->loss_of;
  channel->verdict = mux->loss_of;
  return again || channel->losses >= AW_MUX_LOSSES;
}

aw_channel *mux_blame_judge(aw_mux *mux) {
  bool carried = mux->carried && !is_neutral(mux->loss_of);
  mux->carried = false;
  if (!carried || mux->suspect.sequence == 0) {
    return NULL;
  }
  aw_channel *channel =
      aw_map_get(&mux->channels, mux->suspect.kind, &mux->suspect.id);
  return channel != NULL && count_loss(mux, channel) ? channel : NULL;
}
