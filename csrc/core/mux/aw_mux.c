#include "aw_mux_flow.h"
#include "aw_mux_limits.h"
#include "aw_mux_scope.h"
#include "aw_mux_wake.h"

static void default_options(aw_mux_options *options) {
#define AW_SET(type, name, otherwise, top)                                     \
  options->name = options->name == 0      ? (otherwise)                        \
                  : options->name > (top) ? (type)(top)                        \
                                          : options->name;
  AW_MUX_LIMIT_LIST(AW_SET)
#undef AW_SET
}

static void init_fields(aw_mux *mux) {
  const aw_mem *mem = mux->mem;
  aw_random_seed(&mux->random, mux->options.seed);
  uint64_t seed[2];
  memcpy(seed, mux->options.map_seed, sizeof seed);
  aw_map_init(&mux->channels, mem, seed);
  aw_json_tape_init(&mux->tape, mem);
  mux->tape.max = mux->options.values_max;
  mux->peer = mux_limits_untold;
  aw_queue_init(&mux->ready);
  aw_queue_init(&mux->writers);
  aw_queue_init(&mux->waits_connection);
  aw_queue_init(&mux->flows);
  aw_queue_init(&mux->waits_session);
  aw_queue_init(&mux->tombs);
  aw_mux_inbox_init(&mux->control_in, mem);
  aw_buf_init(&mux->control_scopes, mem);
  aw_buf_init(&mux->control_out, mem);
  aw_buf_init(&mux->refusals, mem);
  aw_buf_init(&mux->refused_openings, mem);
  aw_uuid_make(&mux->connection_id, &mux->random);
  mux->flow_at = UINT64_MAX;
}

int aw_mux_new(aw_mux **out, const aw_mem *mem, const aw_mux_options *options) {
  aw_mux *mux = aw_mem_zero(mem, 1, sizeof *mux);
  if (mux == NULL) {
    return AW_E_NOMEM;
  }
  mux->mem = mem;
  mux->options = *options;
  default_options(&mux->options);
  init_fields(mux);
  mux->peer_window_ms = AW_MUX_WINDOW_MS;
  *out = mux;
  return AW_OK;
}

void aw_mux_free(aw_mux *mux) {
  if (mux == NULL) {
    return;
  }
  aw_mux_join(mux, NULL, NULL);
  size_t cursor = 0;
  aw_channel *channel = NULL;
  while ((channel = aw_map_next(&mux->channels, &cursor)) != NULL) {
    aw_channel_free(channel, mux->mem);
  }
  aw_mux_inbox_fini(&mux->control_in);
  aw_map_fini(&mux->channels);
  aw_json_tape_fini(&mux->tape);
  aw_buf_fini(&mux->control_scopes);
  aw_buf_fini(&mux->control_out);
  aw_buf_fini(&mux->refusals);
  aw_buf_fini(&mux->refused_openings);
  aw_mem_free(mux->mem, mux);
}

void aw_mux_clock(aw_mux *mux, uint64_t now_ms, int64_t wall_ms) {
  mux->now_ms = now_ms;
  mux->wall_ms = wall_ms;
}

void aw_mux_join(aw_mux *mux, aw_pool *pool, void *owner) {
  if (mux->pool != NULL) {
    aw_node_remove(&mux->pool_node);
    mux->pool->log_bytes -= mux->stats.log_bytes;
    mux->pool->in_bytes -= mux->in_bytes;
    mux->pool->members--;
    aw_pool_drop(mux->pool);
  }
  mux->pool = pool;
  mux->owner = owner;
  if (pool != NULL) {
    aw_pool_hold(pool);
    pool->members++;
    pool->log_bytes += mux->stats.log_bytes;
    pool->in_bytes += mux->in_bytes;
  } else {
    mux_wake_waiting(mux);
  }
}

int aw_mux_open(aw_mux *mux, enum aw_kind kind, const aw_uuid *id,
                aw_channel **out) {
  if (mux->link == AW_LINK_ABANDONED) {
    return AW_E_CLOSED;
  }
  aw_uuid fresh;
  if (id == NULL) {
    aw_uuid_make(&fresh, &mux->random);
    id = &fresh;
  }
  int rc = mux_add_channel(mux, kind, id, out);
  if (rc == AW_OK) {
    (*out)->opened_here = true;
  }
  return rc;
}

aw_channel *aw_mux_find(aw_mux *mux, enum aw_kind kind, const aw_uuid *id) {
  return aw_map_get(&mux->channels, kind, id);
}

aw_channel *aw_mux_next(const aw_mux *mux, size_t *cursor) {
  aw_channel *channel = NULL;
  do {
    channel = aw_map_next(&mux->channels, cursor);
  } while (channel != NULL && channel->hold == AW_CHANNEL_RELEASED);
  return channel;
}

void aw_mux_release(aw_channel *channel) {
  aw_mux *mux = channel->mux;
  if (channel->hold == AW_CHANNEL_RELEASED) {
    return;
  }
  channel->hold = AW_CHANNEL_RELEASED;
  channel->user = NULL;
  channel->events = 0;
  aw_node_remove(&channel->ready_node);
  bool unused = channel->log.last == 0 && channel->received == 0;
  if (mux->link == AW_LINK_BASE || unused) {
    mux_end_channel(channel, AW_CHANNEL_CLOSED, AW_E_CLOSED);
  }
  mux_wind_down(channel);
}

static void acknowledge(aw_channel *channel) {
  aw_mux *mux = channel->mux;
  if (!mux_resumable(mux)) {
    return;
  }
  aw_credit done = mux_confirmed(channel);
  /* Sums, not differences: the last message may overdraw the credit. */
  bool half =
      done.sequence + mux->options.window_messages / 2 >=
          channel->granted.sequence ||
      done.bytes + mux->options.window_bytes / 2 >= channel->granted.bytes ||
      done.sequence - channel->flow_acked >= AW_FLOW_MESSAGES;
  bool waited_for = channel->inbox.count == 0 && mux_is_peer_short(mux);
  mux_queue_flow(channel, half || waited_for);
}

void aw_mux_consume(aw_channel *channel) {
  if (channel->inbox.count == 0) {
    return;
  }
  aw_mux *mux = channel->mux;
  mux_drop_message(channel);
  mux_credit_back(mux);
  if (channel->hold != AW_CHANNEL_CONFIRMS) {
    acknowledge(channel);
  }
}

void aw_mux_confirm_manually(aw_channel *channel) {
  channel->confirmed = mux_confirmed(channel);
  channel->hold = AW_CHANNEL_CONFIRMS;
}

void aw_mux_confirm(aw_channel *channel) {
  aw_credit all = {channel->consumed, channel->consumed_bytes};
  bool news = channel->confirmed.sequence != all.sequence ||
              channel->confirmed.bytes != all.bytes;
  if (channel->hold == AW_CHANNEL_CONFIRMS && news) {
    channel->confirmed = all;
    acknowledge(channel);
  }
}

bool aw_mux_is_blank(const aw_mux *mux) {
  return mux->channels.count == 0;
}

size_t aw_mux_in_bytes(const aw_mux *mux) {
  return mux->in_bytes;
}

const aw_mux_stats *aw_mux_stats_get(const aw_mux *mux) {
  return &mux->stats;
}

bool aw_mux_is_extended(const aw_mux *mux) {
  return mux->extended;
}

void aw_mux_set_trace(aw_mux *mux, void (*trace)(void *, const aw_trace *),
                      void *user) {
  mux->trace = trace;
  mux->trace_user = user;
}
