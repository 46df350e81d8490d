#!/bin/sh
# Shows that the random walks see what they are for: each mutant breaks one
# rule of resuming in a copy of the core, and the walks have to fail. Exits 0
# when the core as it is passes and every mutant is caught. Needs a C compiler
# (CC) and cmocka. AW_WALKS: how many walks a mutant has to survive (3000).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
core=$here/../../csrc/core
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cc=${CC:-cc}
flags="-std=c11 -O1 -g -I$work/core -I$here"
libs=$(pkg-config --libs cmocka 2>/dev/null || echo -lcmocka)
AW_WALKS=${AW_WALKS:-3000}
export AW_WALKS

mkdir "$work/whole" "$work/core" "$work/o"
cp "$core"/*/*.[ch] "$work/whole"
cp "$work"/whole/* "$work/core"

compile() { # source...
  for source in "$@"; do
    $cc $flags -c "$source" -o "$work/o/$(basename "$source" .c).o"
  done
}

walk() {
  $cc "$work"/o/*.o $libs -lm -o "$work/walks"
  "$work/walks" >"$work/log" 2>&1
}

compile "$work"/core/*.c "$here"/walk_*.c "$here/mux_kit.c" "$here/mux_check.c" \
  "$here/test_resume_walks.c"
if ! walk; then
  cat "$work/log"
  echo "mutants: the core itself fails its walks" >&2
  exit 1
fi

missed=0
mutant() { # name, file, sed expression that has to change exactly one line
  sed "$3" "$work/whole/$2" >"$work/core/$2"
  changed=$(diff "$work/whole/$2" "$work/core/$2" | grep -c '^>' || true)
  if [ "$changed" != 1 ]; then
    echo "mutants: $1: the edit of $2 changes $changed lines" >&2
    exit 2
  fi
  compile "$work/core/$2"
  if walk; then
    echo "mutants: $1 was NOT caught" >&2
    missed=1
  else
    echo "$1: caught ($(sed -n 's/^AW_SEED=//p' "$work/log" | head -n 1))"
  fi
  cp "$work/whole/$2" "$work/core/$2"
  compile "$work/core/$2"
}

# What a server has under the id that a client names is taken for the same
# scope, whatever epoch and opening message it comes from.
mutant no_epoch_check aw_mux_resume.c \
  's/bool same = channel != NULL && trusted && .*;/bool same = channel != NULL;/'

# What an older connection still brings is heard.
mutant no_generation_fencing aw_mux_receive.c \
  's/return generation != mux->generation || !mux_is_attached(mux);/return !mux_is_attached(mux);/'

# A flow's limits are added to what is allowed.
mutant incremental_credit aw_mux_flow.c \
  's/mux_allow(channel, row->sequence, row->bytes);/mux_allow(channel, channel->allowed.sequence + row->sequence - row->acked, row->bytes);/'

# After a reconnect the log goes on where it was, not where the peer is.
mutant silent_gap aw_mux_resume.c \
  's/if (!aw_mux_log_rewind(&channel->log, from))/if (peer_received > channel->log.last)/'

# A folded log's gap is not told, or its bytes are not.
mutant gap_untold aw_mux_resume.c \
  's/rc = mux_announce_gap(channel, scope->received);/rc = AW_OK;/'
mutant gap_without_bytes aw_mux_gap.c \
  's/channel->log.numbered - channel->log.unwritten,$/0,/'

# A log is taken for folded after its state was acknowledged.
mutant fold_outlives_its_state aw_mux_log.c \
  's/^  log->folded = 0;/  ;/'

# A mux that is loaded has not all that was saved.
mutant credit_not_saved aw_mux_save_scope.c \
  's/^  code_credit(c, &channel->allowed);/  ;/'
mutant opening_not_saved aw_mux_save_scope.c \
  's/^  aw_mux_codec_uuid(c, &channel->first_in);/  ;/'
mutant acknowledgement_not_saved aw_mux_save_scope.c \
  's/^  if (has_flow) {/  if (false) {/'

# Further rules, each of which was broken once.
mutant stale_hello_accepted aw_mux_resume.c \
  's/return hello->attempt != 0 \&\& hello->attempt <= mux->attempt;/return false;/'
mutant replay_opens_anew aw_mux_receive.c \
  's/envelope->sequence == 1 && !replayed;/envelope->sequence == 1;/'
mutant floats_unacknowledged aw_channel.c \
  's/    channel->consumed = channel->received;/    ;/'
mutant crossing_ends_unacknowledged aw_mux_receive.c \
  's/^    channel->state = AW_CHANNEL_ENDED_THERE;/    ;/'

# An opening message that was refused stays in its sender's log.
mutant refused_opening_kept aw_mux_refuse.c \
  's/  if (out->opens) {/  if (false) {/'

# Messages that cannot be taken: they are not consumed, so that they come again;
# those that end connections are never given up; the last one carried is blamed
# in place of the first; nobody is told of what was given up.
mutant replayed_for_ever aw_mux_receive.c \
  's/  if (mux->extended && scoped && envelope->has_sequence &&/  if (mux->extended \&\& false \&\& envelope->has_sequence \&\&/'
mutant breaker_never_trips aw_mux_blame.c \
  's/return channel != NULL && count_loss(mux, channel) ? channel : NULL;/return NULL;/'
mutant wrong_one_blamed aw_mux_blame.c \
  's/turn < mux->suspect.turn/turn > mux->suspect.turn/'
mutant given_up_untold aw_mux_scope.c \
  's/^  channel->state = AW_CHANNEL_GIVEN_UP;/  channel->state = AW_CHANNEL_CLOSED;/'

exit $missed
