#include "aw_mux_flow.h"
#include "aw_mux_gap.h"
#include "aw_mux_impl.h"
#include "aw_mux_news.h"
#include "aw_mux_refuse.h"
#include "aw_mux_resume.h"
#include "aw_mux_scope.h"

/* An error frame is never answered, or two peers would never stop. */
static bool is_error_frame(const aw_envelope *envelope) {
  return !envelope->has_scope && envelope->type_len == 5 &&
         memcmp(envelope->type, "error", 5) == 0;
}

static int accept_message(aw_channel *channel, const aw_envelope *envelope,
                          const char *text, size_t len, unsigned flags) {
  aw_mux *mux = channel->mux;
  bool ends = (flags & AW_TYPE_ENDS) != 0;
  size_t before = aw_buf_len(&channel->inbox.bytes);
  int rc =
      aw_mux_inbox_put(&channel->inbox, envelope, &mux->tape, text, len, ends);
  if (rc != AW_OK) {
    channel->received--;
    return rc;
  }
  if (envelope->refused != NULL) { /* a record in its place, and its answer */
    mux_refuse(mux, envelope, envelope->refused, true);
  }
  channel->in_bytes += len;
  mux_count_in(mux, aw_buf_len(&channel->inbox.bytes) - before, 0);
  mux->stats.inbox_bytes += len;
  if (mux->stats.inbox_bytes > mux->stats.inbox_high) {
    mux->stats.inbox_high = mux->stats.inbox_bytes;
  }
  if (envelope->sequence == 1) {
    channel->first_in = envelope->message_id;
    if (!channel->opened_here) {
      channel->opening_id = envelope->message_id;
    }
  }
  if (channel->inbox.count == 1) {
    mux_raise(channel, AW_CHANNEL_READABLE);
  }
  if (ends) {
    mux_end_channel(channel, AW_CHANNEL_ENDED_THERE, AW_OK);
    mux_drop_log(channel);
  }
  if (channel->hold == AW_CHANNEL_RELEASED) {
    mux_wind_down(channel);
  }
  return AW_OK;
}

/* The peer may go beyond its credit by what a log can hold, because an abort
 * takes along all that was numbered before it, and by the message that uses
 * up the credit; never further. */
static bool beyond_credit(const aw_mux *mux, const aw_channel *channel) {
  uint64_t queued = channel->in_bytes - channel->consumed_bytes;
  return queued > (uint64_t)mux->options.window_bytes + AW_CHANNEL_LOG_BYTES +
                      AW_CHANNEL_URGENT_BYTES + mux->options.message_max ||
         mux->stats.inbox_bytes >
             (uint64_t)mux->options.inbound_bytes + AW_MUX_SESSION_BYTES +
                 mux->options.message_max +
                 mux->stats.open_scopes * AW_MUX_RESERVE_MESSAGES *
                     AW_MUX_RESERVE_BYTES;
}

static int late(aw_mux *mux) {
  mux->stats.uncredited++;
  mux->stats.dropped_late++;
  mux_credit_back(mux);
  return AW_OK;
}

/* Does the message open a life of this scope that we have not seen? A replay
 * brings the old opening message again, with the same id. */
static bool opens_anew(const aw_channel *channel, const aw_envelope *envelope,
                       unsigned flags) {
  bool replayed = channel->mux->extended && channel->received > 0 &&
                  aw_uuid_equal(&channel->first_in, &envelope->message_id);
  return (flags & AW_TYPE_OPENS) != 0 && envelope->sequence == 1 && !replayed;
}

/* Will the peer, which has not heard of our end yet, hear of it? Not when our
 * terminal message was not written yet, was lost after we had dropped it, or is
 * one that the peer takes nothing of. */
static bool is_end_on_its_way(const aw_channel *channel) {
  return aw_mux_log_next(&channel->log) == NULL &&
         !aw_mux_log_is_empty(&channel->log) &&
         channel->there != AW_THERE_REFUSES;
}

/* Both ends have sent their terminal message. The peer drops its log when it
 * has ours; where it will not have it, the peer's has to be acknowledged like
 * one that came first. */
static void meet_terminal(aw_channel *channel, const aw_envelope *envelope) {
  if (channel->state == AW_CHANNEL_ENDED_HERE && !is_end_on_its_way(channel)) {
    channel->state = AW_CHANNEL_ENDED_THERE;
    channel->consumed = envelope->sequence;
  }
  mux_drop_log(channel);
  mux_wind_down(channel);
}

/* What is given up takes nothing any more, but the peer's log would keep what
 * is never acknowledged. */
static void acknowledge_late(aw_channel *channel, const aw_envelope *envelope) {
  if (channel->state == AW_CHANNEL_GIVEN_UP &&
      envelope->sequence > channel->consumed) {
    channel->consumed = envelope->sequence;
  }
  mux_queue_flow(channel, false);
}

/* An ended scope's late messages. Who tries to open it again must hear that it
 * is not let go of yet; who replays what we have must hear that we have it; and
 * who ended it as well needs nothing of ours any more. */
static int deliver_late(aw_channel *channel, const aw_envelope *envelope,
                        unsigned flags) {
  aw_mux *mux = channel->mux;
  if (opens_anew(channel, envelope, flags)) {
    mux_silence(channel);
    mux_refuse_opening(mux, envelope, AW_E_EXISTS, true);
    mux_credit_back(mux);
    return AW_OK;
  }
  if (mux->extended && envelope->sequence == 1) {
    channel->silent = false; /* the peer still has this life */
  }
  if (mux->extended && !channel->silent) { /* else it is of another life */
    if ((flags & AW_TYPE_ENDS) != 0) {
      meet_terminal(channel, envelope); /* or a replay of the one we have */
    }
    acknowledge_late(channel, envelope);
  }
  return late(mux);
}

static int misnumbered(aw_channel *channel, const aw_envelope *envelope,
                       int code, const char *text, size_t len, unsigned flags) {
  aw_mux *mux = channel->mux;
  if (mux->extended && code == AW_E_DUPLICATE_SEQUENCE) {
    mux->stats.duplicates++;
    mux->stats.uncredited++;
    mux_credit_back(mux);
    return AW_OK;
  }
  if (mux->extended && code == AW_E_SEQUENCE_GAP) {
    return AW_E_SEQUENCE_GAP;
  }
  if ((flags & AW_TYPE_ZERO) != 0) {
    return mux_receive_control(mux, envelope, text, len);
  }
  bool again = (flags & AW_TYPE_OPENS) != 0 && envelope->sequence == 1;
  mux_refuse_code(mux, envelope,
                  again && code == AW_E_DUPLICATE_SEQUENCE ? AW_E_EXISTS : code,
                  true);
  return AW_OK;
}

static int deliver(aw_channel *channel, const aw_envelope *envelope,
                   const char *text, size_t len, unsigned flags) {
  aw_mux *mux = channel->mux;
  if (aw_channel_is_over(channel)) {
    return deliver_late(channel, envelope, flags);
  }
  int rc = aw_channel_accept(channel, envelope->sequence);
  if (rc != AW_OK) {
    return misnumbered(channel, envelope, rc, text, len, flags);
  }
  if (mux->extended && beyond_credit(mux, channel)) {
    channel->received--; /* or a resume would claim to have it */
    return AW_E_REFUSED;
  }
  if (!mux_has_in_room(mux)) {
    channel->received--;
    return AW_E_OVERLOAD;
  }
  return accept_message(channel, envelope, text, len, flags);
}

/* A message for a scope that is not there: does it open one? */
static int open_inbound(aw_mux *mux, const aw_envelope *envelope,
                        const char *text, size_t len, unsigned flags) {
  if ((flags & AW_TYPE_OPENS) == 0) {
    if (envelope->refused != NULL) {
      mux_refuse(mux, envelope, envelope->refused, false);
      return AW_OK;
    }
    if (mux->extended) {
      return late(mux); /* a scope that we have forgotten since */
    }
    mux_refuse_code(mux, envelope, AW_E_UNKNOWN_SCOPE, false);
    return AW_OK;
  }
  if (envelope->sequence != 1) {
    mux_refuse_code(mux, envelope,
                    envelope->sequence == 0 ? AW_E_INVALID_SEQUENCE
                                            : AW_E_SEQUENCE_GAP,
                    false);
    return AW_OK;
  }
  aw_channel *channel = NULL;
  int rc = mux_has_in_room(mux)
               ? mux_add_channel(mux, envelope->kind, &envelope->id, &channel)
               : AW_E_LIMIT;
  if (rc == AW_E_LIMIT || rc == AW_E_EXISTS) {
    mux_refuse_opening(mux, envelope, rc, rc == AW_E_EXISTS);
    return AW_OK;
  }
  if (rc != AW_OK) {
    return rc;
  }
  mux_raise(channel, AW_CHANNEL_OPENED);
  rc = deliver(channel, envelope, text, len, flags);
  if (rc != AW_OK) {
    mux_bury(channel);
  }
  return rc;
}

/* Base peers number floating messages as well; then they count like others,
 * and are consumed at once. */
static void count_floating(aw_channel *channel, const aw_envelope *envelope,
                           size_t len) {
  if (channel->state == AW_CHANNEL_GIVEN_UP) {
    acknowledge_late(channel, envelope);
  }
  if (aw_channel_is_over(channel) ||
      aw_channel_accept(channel, envelope->sequence) != AW_OK) {
    return;
  }
  channel->in_bytes += len;
  channel->consumed_bytes += len;
  aw_channel_pass_unread(channel);
  if (mux_resumable(channel->mux)) {
    mux_queue_flow(channel, false);
  }
}

static int receive_scoped(aw_mux *mux, const aw_envelope *envelope,
                          const char *text, size_t len) {
  unsigned flags = aw_types_flags(mux->options.types[envelope->kind],
                                  envelope->type, envelope->type_len);
  aw_channel *channel =
      aw_map_get(&mux->channels, envelope->kind, &envelope->id);
  if (envelope->sequence != 0) {
    mux->conn_received += len; /* what is unsequenced needs no credit */
  }
  bool numbered = mux->extended && (flags & AW_TYPE_STATE) != 0 &&
                  envelope->sequence != 0; /* in the place of a folded log */
  if ((flags & AW_TYPE_FLOATS) != 0 && !numbered) {
    if (channel != NULL) {
      count_floating(channel, envelope, len);
    }
    if (envelope->refused != NULL) {
      mux_refuse(mux, envelope, envelope->refused, channel != NULL);
      return AW_OK;
    }
    return mux_receive_control(mux, envelope, text, len);
  }
  if (envelope->sequence == 0 && (flags & AW_TYPE_ZERO) != 0) {
    return mux_receive_control(mux, envelope, text, len);
  }
  bool restart = channel != NULL && aw_channel_is_over(channel) &&
                 channel->hold == AW_CHANNEL_RELEASED &&
                 mux->options.types[envelope->kind]->restart &&
                 opens_anew(channel, envelope, flags);
  if (restart) {
    mux_drop_log(channel); /* who starts anew has seen the end */
    channel->told_let_go = channel->heard_let_go = true;
  }
  if (channel == NULL || restart) {
    return open_inbound(mux, envelope, text, len, flags);
  }
  return deliver(channel, envelope, text, len, flags);
}

/* What is no JSON names its scope and number at best. A base peer hears no more
 * of it than that; an extended one would send it again for ever, so the number
 * is taken. */
static int receive_unreadable(aw_mux *mux, aw_envelope *envelope,
                              aw_envelope_error *error, const char *text,
                              size_t len) {
  if (error->code == AW_E_NOMEM) {
    return AW_E_NOMEM;
  }
  bool unreadable = mux_is_json_error(error->code) || error->code == AW_E_LIMIT;
  if (!unreadable && envelope->type != NULL && is_error_frame(envelope)) {
    envelope->kind = AW_KIND_LINK;
    envelope->payload = 0; /* the frame itself */
    return mux_receive_control(mux, envelope, text, len);
  }
  bool scoped = envelope->has_scope && envelope->kind < AW_KIND_SCOPES;
  if (mux->extended && scoped && envelope->has_sequence &&
      envelope->sequence != 0) {
    if (mux->link == AW_LINK_AWAIT_WELCOME) {
      return AW_E_REFUSED;
    }
    if (error->code == AW_E_JSON_DEPTH || error->code == AW_E_JSON_VALUES) {
      error->code = AW_E_LIMIT;
    }
    envelope->type = envelope->type == NULL ? "" : envelope->type;
    envelope->refused = error;
    return receive_scoped(mux, envelope, text, len);
  }
  if (error->code == AW_E_LIMIT) {
    return AW_E_LIMIT;
  }
  if (unreadable && !mux->extended) {
    envelope->has_scope = false;
  }
  bool known = envelope->has_scope && scoped &&
               aw_map_get(&mux->channels, envelope->kind, &envelope->id);
  mux_refuse(mux, envelope, error, known);
  return AW_OK;
}

/* Is this what an older connection still brings? */
static bool is_bygone(const aw_mux *mux, uint32_t generation) {
  return generation != mux->generation || !mux_is_attached(mux);
}

static void count_message(aw_mux *mux, const char *text, size_t len,
                          uint64_t whole) {
  mux->stats.messages_in++;
  mux->stats.bytes_in += whole;
  if (mux->trace != NULL) {
    mux->trace(mux->trace_user, &(aw_trace){false, text, len});
  }
}

int aw_mux_receive_skipped(aw_mux *mux, uint32_t generation, char *head,
                           size_t head_len, uint64_t len) {
  if (is_bygone(mux, generation)) {
    return AW_E_CLOSED;
  }
  count_message(mux, head, head_len, len);
  if (len > UINT32_MAX) {
    return AW_E_REFUSED; /* more than any credit */
  }
  aw_envelope envelope;
  aw_envelope_error error;
  int rc = aw_envelope_read(&envelope, &mux->tape, head, head_len,
                            mux->options.depth_max, &error);
  if (rc == AW_E_NOMEM) {
    return rc;
  }
  if (rc == AW_OK) {
    envelope.has_sequence = true;
  }
  error = (aw_envelope_error){.code = AW_E_LIMIT,
                              .field = "message_max",
                              .what = "the message is too long"};
  return receive_unreadable(mux, &envelope, &error, head, (size_t)len);
}

/* A message of millions of values leaves a tape of many times its own size. */
static void shrink_tape(aw_mux *mux) {
  if (mux->tape.size > AW_MUX_FLOOR_VALUES) {
    aw_json_tape_fini(&mux->tape);
  }
}

static bool is_too_long(const aw_mux *mux, const char *text, size_t len) {
  return len > mux->options.message_max &&
         (len > AW_MUX_FLOOR_BYTES || !mux->extended ||
          !aw_envelope_is_link(text, len));
}

static bool is_type(const aw_envelope *envelope, const char *type) {
  return envelope->type_len == strlen(type) &&
         memcmp(envelope->type, type, envelope->type_len) == 0;
}

static int mux_receive_link(aw_mux *mux, const aw_envelope *envelope,
                            const char *text, size_t len) {
  mux_link_reader in = {mux->tape.tokens, envelope->payload, text};
  if (is_type(envelope, "flow")) {
    return mux_receive_flow(mux, &in);
  }
  if (is_type(envelope, "welcome")) {
    return mux_receive_welcome(mux, &in);
  }
  if (is_type(envelope, "gap")) {
    return mux_receive_gap(mux, &in);
  }
  if (is_type(envelope, "goodbye")) {
    return mux_receive_control(mux, envelope, text, len); /* the owner's */
  }
  return AW_E_REFUSED; /* a hello in mid-session, or nothing we know */
}

static int receive_text(aw_mux *mux, char *text, size_t len) {
  aw_envelope envelope;
  aw_envelope_error error;
  int rc = aw_envelope_read(&envelope, &mux->tape, text, len,
                            mux->options.depth_max, &error);
  if (rc != AW_OK) {
    return receive_unreadable(mux, &envelope, &error, text, len);
  }
  if (envelope.kind == AW_KIND_LINK) {
    if (mux->extended) {
      mux->stats.uncredited++;
      return mux_receive_link(mux, &envelope, text, len);
    }
    mux_refuse_code(mux, &envelope, AW_E_UNSUPPORTED, false);
    return AW_OK;
  }
  if (mux->link == AW_LINK_AWAIT_WELCOME) {
    return AW_E_REFUSED; /* a welcome comes first */
  }
  return receive_scoped(mux, &envelope, text, len);
}

int aw_mux_receive(aw_mux *mux, uint32_t generation, char *text, size_t len) {
  if (is_bygone(mux, generation)) {
    return AW_E_CLOSED;
  }
  if (is_too_long(mux, text, len)) {
    size_t head = len < AW_HEADER_MAX ? len : AW_HEADER_MAX;
    return aw_mux_receive_skipped(mux, generation, text, head, len);
  }
  count_message(mux, text, len, len);
  int rc = receive_text(mux, text, len);
  shrink_tape(mux);
  return rc;
}

bool aw_mux_choked(const aw_mux *mux) {
  return !mux->extended && mux->stats.inbox_bytes > mux->options.inbound_bytes;
}
