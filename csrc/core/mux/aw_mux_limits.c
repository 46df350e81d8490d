#include "aw_mux_limits.h"
#include "aw_mux_scope.h"
#include "aw_mux_wake.h"

/* Tokens of an envelope around its payload: itself, nine names, eight values.
 */
#define ENVELOPE_VALUES 18

const aw_limits mux_limits_untold = {AW_CHANNEL_MESSAGE_BYTES, AW_JSON_DEPTH,
                                     UINT64_MAX};

static const aw_limits floor_limits = {AW_MUX_FLOOR_BYTES, AW_MUX_FLOOR_DEPTH,
                                       AW_MUX_FLOOR_VALUES};

aw_limits aw_mux_limits(const aw_mux *mux) {
  const aw_mux_options *options = &mux->options;
  return (aw_limits){options->message_max, options->depth_max,
                     options->values_max};
}

static void set_peer(aw_mux *mux, const aw_limits *limits) {
  mux->peer = *limits;
  if (mux->peer_limits == AW_PEER_UNTOLD) {
    mux->peer_limits = AW_PEER_TOLD;
  }
}

void aw_mux_set_peer_limits(aw_mux *mux, const aw_limits *limits) {
  set_peer(mux, limits);
  mux->peer_limits = AW_PEER_GIVEN;
}

/* A base peer tells nothing, and only the length of a message is agreed. */
void mux_limits_of_base(aw_mux *mux) {
  static const aw_limits base = {AW_CHANNEL_MESSAGE_BYTES, UINT64_MAX,
                                 UINT64_MAX};
  if (mux->peer_limits != AW_PEER_GIVEN) {
    set_peer(mux, &base);
    mux_wake_senders(mux);
  }
}

static enum aw_limit find_over(const aw_limits *limits, aw_draft *draft,
                               size_t len) {
  const struct {
    enum aw_limit which;
    uint64_t has, most;
  } rows[] = {
      {AW_LIMIT_MESSAGE, len, limits->message_max},
      {AW_LIMIT_DEPTH, draft->depth + 1, limits->depth_max},
      {AW_LIMIT_VALUES, draft->values + ENVELOPE_VALUES, limits->values_max},
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    if (rows[i].has > rows[i].most) {
      draft->over = rows[i].which;
      draft->has = rows[i].has;
      draft->most = rows[i].most;
      return rows[i].which;
    }
  }
  return AW_LIMIT_NONE;
}

/* False: above the peer's limits, with the reason in the draft; or, without a
 * reason, above what can be sent before they are known. */
bool mux_limits_hold(const aw_mux *mux, aw_draft *draft, size_t len) {
  if (len <= AW_MUX_FLOOR_BYTES && draft->depth < AW_MUX_FLOOR_DEPTH &&
      draft->values + ENVELOPE_VALUES <= AW_MUX_FLOOR_VALUES &&
      len <= mux->peer.message_max && draft->depth < mux->peer.depth_max &&
      draft->values + ENVELOPE_VALUES <= mux->peer.values_max) {
    return true;
  }
  if (mux->peer_limits != AW_PEER_UNTOLD) {
    return find_over(&mux->peer, draft, len) == AW_LIMIT_NONE;
  }
  bool fits = find_over(&floor_limits, draft, len) == AW_LIMIT_NONE;
  draft->over = AW_LIMIT_NONE;
  return fits;
}

void mux_limits_put(const aw_mux *mux, aw_buf *out, int *rc) {
  mux_link_put(out, ",\"message_max\":", rc);
  mux_link_put_number(out, mux->options.message_max, rc);
  mux_link_put(out, ",\"depth_max\":", rc);
  mux_link_put_number(out, mux->options.depth_max, rc);
  mux_link_put(out, ",\"values_max\":", rc);
  mux_link_put_number(out, mux->options.values_max, rc);
}

bool mux_limits_read(const mux_link_reader *in, aw_limits *out) {
  *out = mux_limits_untold;
  return mux_link_may_number(in, "message_max", &out->message_max) &&
         mux_link_may_number(in, "depth_max", &out->depth_max) &&
         mux_link_may_number(in, "values_max", &out->values_max);
}

/* Is there an entry that is to be sent again and is too long now? */
static bool has_too_long(const aw_channel *channel, uint64_t most) {
  const aw_mux_entry *entry = aw_mux_log_next(&channel->log);
  for (; entry != NULL; entry = aw_mux_log_after(&channel->log, entry)) {
    if (entry->len > most) {
      return true;
    }
  }
  return false;
}

/* A peer that takes less than it did: what was numbered under its old limits
 * cannot be sent any more. */
void mux_limits_learn(aw_mux *mux, const aw_limits *limits) {
  bool less = mux->peer_limits != AW_PEER_UNTOLD &&
              limits->message_max < mux->peer.message_max;
  set_peer(mux, limits);
  if (!less) {
    return;
  }
  size_t cursor = 0;
  aw_channel *channel = NULL;
  aw_queue over;
  aw_queue_init(&over);
  while ((channel = aw_map_next(&mux->channels, &cursor)) != NULL) {
    if (has_too_long(channel, limits->message_max)) {
      mux_stop_writer(channel);
      aw_queue_push(&over, &channel->writer_node);
    }
  }
  for (aw_node *node = NULL; (node = aw_queue_pop(&over)) != NULL;) {
    mux_give_up_log(AW_CONTAINER(node, aw_channel, writer_node), AW_E_LIMIT);
  }
}
