#include "aw_mux_impl.h"
#include "aw_resume.h"

static void default_options(aw_mux_options *options) {
#define AW_DEFAULT(field, value)                                               \
  if (options->field == 0) {                                                   \
    options->field = (value);                                                  \
  }
  AW_DEFAULT(message_max, AW_CHANNEL_MESSAGE_BYTES)
  AW_DEFAULT(depth_max, AW_JSON_DEPTH)
  AW_DEFAULT(values_max, AW_JSON_VALUES)
  AW_DEFAULT(scopes_max, AW_MUX_SCOPES_MAX)
  AW_DEFAULT(tombs_max, AW_MUX_TOMBS_MAX)
  AW_DEFAULT(window_messages, AW_CHANNEL_WINDOW_MESSAGES)
  AW_DEFAULT(window_bytes, AW_CHANNEL_WINDOW_BYTES)
  AW_DEFAULT(inbound_bytes, AW_MUX_INBOUND_BYTES)
  AW_DEFAULT(log_messages, AW_CHANNEL_LOG_MESSAGES)
  AW_DEFAULT(log_bytes, AW_CHANNEL_LOG_BYTES)
  AW_DEFAULT(session_bytes, AW_MUX_SESSION_BYTES)
  AW_DEFAULT(control_bytes, AW_MUX_CONTROL_BYTES)
  AW_DEFAULT(window_ms, AW_MUX_WINDOW_MS)
#undef AW_DEFAULT
#define AW_MOST(field, value)                                                  \
  if (options->field > (value)) {                                              \
    options->field = (value);                                                  \
  }
  AW_MOST(message_max, AW_MUX_MESSAGE_TOP)
  AW_MOST(depth_max, AW_JSON_DEPTH_MAX)
  AW_MOST(values_max, AW_JSON_VALUES_MAX)
#undef AW_MOST
}

static void init_fields(aw_mux *mux) {
  const aw_mem *mem = mux->mem;
  aw_random_seed(&mux->random, mux->options.seed);
  uint64_t seed[2];
  memcpy(seed, mux->options.map_seed, sizeof seed);
  aw_map_init(&mux->channels, mem, seed);
  aw_json_tape_init(&mux->tape, mem);
  mux->tape.max = mux->options.values_max;
  mux->peer = limits_untold;
  aw_queue_init(&mux->ready);
  aw_queue_init(&mux->writers);
  aw_queue_init(&mux->parked);
  aw_queue_init(&mux->flows);
  aw_queue_init(&mux->hungry);
  aw_queue_init(&mux->tombs);
  aw_buf_init(&mux->control_scopes, mem);
  aw_buf_init(&mux->control_out, mem);
  aw_buf_init(&mux->refusals, mem);
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
  mux->control_in = aw_channel_new(mux, AW_KIND_LINK, &mux->connection_id, mem);
  if (mux->control_in == NULL) {
    aw_mux_free(mux);
    return AW_E_NOMEM;
  }
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
  if (mux->control_in != NULL) {
    aw_channel_free(mux->control_in, mux->mem);
  }
  aw_map_fini(&mux->channels);
  aw_json_tape_fini(&mux->tape);
  aw_buf_fini(&mux->control_scopes);
  aw_buf_fini(&mux->control_out);
  aw_buf_fini(&mux->refusals);
  aw_mem_free(mux->mem, mux);
}

void aw_mux_clock(aw_mux *mux, uint64_t now_ms, int64_t wall_ms) {
  mux->now_ms = now_ms;
  mux->wall_ms = wall_ms;
}

void mux_raise(aw_channel *channel, unsigned events) {
  if (channel->released) {
    return;
  }
  channel->events |= events;
  if (!aw_node_queued(&channel->ready_node)) {
    aw_queue_push(&channel->mux->ready, &channel->ready_node);
  }
}

void mux_notice(aw_mux *mux, enum aw_mux_notice notice) {
  if (mux->notice_count < AW_MUX_NOTICES) {
    mux->notices[mux->notice_count++] = notice;
  }
}

void mux_bury(aw_channel *channel) {
  aw_mux *mux = channel->mux;
  if (aw_node_queued(&channel->tomb_node)) {
    mux->tomb_count--;
  }
  if (channel->state == AW_CHANNEL_OVER) {
    mux->stats.ended_scopes--;
  } else {
    mux->stats.open_scopes--;
  }
  mux->stats.inbox_bytes -= channel->in_bytes - channel->consumed_bytes;
  mux_count_in(mux, 0, sizeof *channel + aw_buf_len(&channel->inbox));
  mux_drop_log(channel);
  aw_map_remove(&mux->channels, channel->kind, &channel->id);
  aw_channel_free(channel, mux->mem);
}

void mux_drop_message(aw_channel *channel) {
  aw_mux *mux = channel->mux;
  size_t before = aw_buf_len(&channel->inbox);
  size_t cost = aw_channel_drop(channel);
  mux_count_in(mux, 0, before - aw_buf_len(&channel->inbox));
  mux->stats.inbox_bytes -= cost;
}

/* Drops what nobody will read. The peer's credit goes on, so that its sender
 * is never stuck on a scope that we let go of. */
static void discard_inbox(aw_channel *channel) {
  aw_mux *mux = channel->mux;
  while (channel->inbox_count > 0) {
    mux_drop_message(channel);
    mux->stats.dropped_late++;
  }
  mux_credit_back(mux);
  aw_buf_reset(&channel->inbox, 0);
}

/* The oldest tombstones make room. One whose last acknowledgement is not on
 * its way yet has to wait for that, or the peer's log would keep the scope for
 * as long as the session lives. */
void mux_trim_tombs(aw_mux *mux) {
  while (mux->tomb_count > mux->options.tombs_max) {
    aw_channel *oldest =
        AW_CONTAINER(aw_queue_first(&mux->tombs), aw_channel, tomb_node);
    if (aw_node_queued(&oldest->flow_node)) {
      mux->flow_now = true;
      return;
    }
    mux_bury(oldest);
  }
}

/* A released scope that is over and owes the peer nothing becomes a tombstone:
 * it only remembers that the id was used. */
static void make_tomb(aw_channel *channel) {
  aw_mux *mux = channel->mux;
  if (aw_node_queued(&channel->tomb_node)) {
    return;
  }
  mux_drop_log(channel); /* empty: gives the capacity back */
  aw_queue_push(&mux->tombs, &channel->tomb_node);
  mux->tomb_count++;
  mux_trim_tombs(mux);
}

void mux_settle(aw_channel *channel) {
  if (!channel->released) {
    return;
  }
  discard_inbox(channel);
  bool to_tell = !channel->told && mux_has_let_go(channel) &&
                 (channel->state == AW_CHANNEL_OPEN || channel->peer_gone ||
                  channel->given_up);
  if (mux_resumable(channel->mux) &&
      (to_tell || channel->in.last > channel->flow_acked)) {
    mux_queue_flow(channel, false);
  }
  if (channel->state == AW_CHANNEL_OVER && channel->log_count == 0) {
    make_tomb(channel);
  }
}

void mux_credit_back(aw_mux *mux) {
  if (mux->extended && mux_grantable(mux) - mux->conn_granted >=
                           mux->options.inbound_bytes / 2) {
    mux->flow_now = true;
  }
}

void mux_end_channel(aw_channel *channel, int error) {
  if (channel->state == AW_CHANNEL_OVER) {
    return;
  }
  aw_mux *mux = channel->mux;
  channel->state = AW_CHANNEL_OVER;
  channel->error = error;
  mux->stats.open_scopes--;
  mux->stats.ended_scopes++;
  mux->stats.ended++;
  mux_raise(channel, AW_CHANNEL_ENDED);
}

void mux_drop_log(aw_channel *channel) {
  aw_mux *mux = channel->mux;
  aw_node_remove(&channel->writer_node);
  if (channel->log_count > 0) {
    blame_forget(mux);
  }
  mux_count_log(mux, 0, aw_buf_len(&channel->log));
  aw_buf_reset(&channel->log, 0);
  channel->log_count = 0;
  channel->folded = 0;
  channel->unsent_offset = 0;
  channel->unsent_bytes = 0;
  channel->urgent_bytes = 0;
  channel->first_logged = channel->next_unsent = channel->out.last + 1;
  mux_wake_hungry(mux);
}

/* May the id be opened anew? A scope that ended because both let go has to wait
 * until each was told on one connection: before that the peer may take the old
 * life for open, and say of it what would be taken for the new one's. */
static bool is_done(const aw_channel *channel) {
  bool let_go = channel->mux->extended &&
                (channel->error == AW_E_CLOSED || channel->given_up) &&
                (channel->in.last > 0 || channel->out.last > 0);
  return channel->released && channel->state == AW_CHANNEL_OVER &&
         channel->log_count == 0 &&
         (!let_go || (channel->told && channel->peer_gone));
}

/* The peer begins with the default credit and knows nothing of our options: a
 * larger window is granted by the first flow, a smaller one holds behind it. */
static aw_credit first_grant(const aw_mux_options *options) {
  aw_credit grant = MUX_FIRST_CREDIT;
  if (options->window_messages < grant.sequence) {
    grant.sequence = options->window_messages;
  }
  if (options->window_bytes < grant.bytes) {
    grant.bytes = options->window_bytes;
  }
  return grant;
}

int mux_add_channel(aw_mux *mux, enum aw_kind kind, const aw_uuid *id,
                    aw_channel **out) {
  if (mux->stats.open_scopes >= mux->options.scopes_max) {
    return AW_E_LIMIT;
  }
  aw_channel *old = aw_map_get(&mux->channels, kind, id);
  if (old != NULL) {
    if (!mux->options.types[kind]->restart || !is_done(old)) {
      return AW_E_EXISTS;
    }
  }
  aw_channel *channel = aw_channel_new(mux, kind, id, mux->mem);
  if (channel == NULL) {
    return AW_E_NOMEM;
  }
  if (old != NULL) {
    mux_bury(old);
  }
  int rc = aw_map_put(&mux->channels, kind, id, channel);
  if (rc != AW_OK) {
    aw_channel_free(channel, mux->mem);
    return rc;
  }
  channel->allowed = MUX_FIRST_CREDIT;
  channel->granted = first_grant(&mux->options);
  mux_count_in(mux, sizeof *channel, 0);
  mux->stats.open_scopes++;
  mux->stats.opened++;
  *out = channel;
  return AW_OK;
}

int aw_mux_open(aw_mux *mux, enum aw_kind kind, const aw_uuid *id,
                aw_channel **out) {
  if (mux->abandoned) {
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

void aw_mux_release(aw_channel *channel) {
  aw_mux *mux = channel->mux;
  if (channel->released) {
    return;
  }
  channel->released = true;
  channel->user = NULL;
  channel->events = 0;
  aw_node_remove(&channel->ready_node);
  bool unused = channel->out.last == 0 && channel->in.last == 0;
  if (mux->link == AW_LINK_BASE || unused) {
    mux_end_channel(channel, AW_E_CLOSED);
  }
  mux_settle(channel);
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
  bool waited_for = channel->inbox_count == 0 && mux_is_tight(mux);
  mux_queue_flow(channel, half || waited_for);
}

void aw_mux_consume(aw_channel *channel) {
  if (channel->inbox_count == 0) {
    return;
  }
  aw_mux *mux = channel->mux;
  mux_drop_message(channel);
  mux_credit_back(mux);
  if (!channel->manual) {
    acknowledge(channel);
  }
}

void aw_mux_confirm_manually(aw_channel *channel) {
  channel->confirmed = mux_confirmed(channel);
  channel->manual = true;
}

void aw_mux_confirm(aw_channel *channel) {
  aw_credit all = {channel->consumed, channel->consumed_bytes};
  bool news = channel->confirmed.sequence != all.sequence ||
              channel->confirmed.bytes != all.bytes;
  if (channel->manual && news) {
    channel->confirmed = all;
    acknowledge(channel);
  }
}

aw_channel *aw_mux_poll(aw_mux *mux, unsigned *events) {
  aw_node *node = aw_queue_pop(&mux->ready);
  if (node == NULL) {
    return NULL;
  }
  aw_channel *channel = AW_CONTAINER(node, aw_channel, ready_node);
  *events = channel->events;
  channel->events = 0;
  return channel;
}

bool aw_mux_control(aw_mux *mux, aw_control *out) {
  const aw_message *message = aw_channel_peek(mux->control_in);
  if (message == NULL) {
    return false;
  }
  control_scope scope;
  memcpy(&scope, aw_buf_bytes(&mux->control_scopes), sizeof scope);
  *out = (aw_control){scope.kind, scope.id, message};
  return true;
}

void aw_mux_control_drop(aw_mux *mux) {
  if (aw_channel_peek(mux->control_in) != NULL) {
    aw_channel_drop(mux->control_in);
    aw_buf_consume(&mux->control_scopes, sizeof(control_scope));
  }
}

bool aw_mux_refusal(aw_mux *mux, aw_refusal *out) {
  if (mux->refusal_count == 0) {
    return false;
  }
  memcpy(out, aw_buf_bytes(&mux->refusals), sizeof *out);
  aw_buf_consume(&mux->refusals, sizeof *out);
  mux->refusal_count--;
  if (mux->refusal_count == 0) {
    aw_buf_reset(&mux->refusals, 0);
  }
  return true;
}

enum aw_mux_notice aw_mux_notice(aw_mux *mux) {
  if (mux->notice_count == 0) {
    return AW_MUX_NOTICE_NONE;
  }
  enum aw_mux_notice notice = mux->notices[0];
  mux->notice_count--;
  memmove(mux->notices, mux->notices + 1,
          mux->notice_count * sizeof mux->notices[0]);
  return notice;
}

bool aw_mux_has_news(const aw_mux *mux) {
  return !aw_queue_empty(&mux->ready) || mux->refusal_count > 0 ||
         mux->notice_count > 0 || mux->control_in->inbox_count > 0;
}

static void reset_connection(aw_mux *mux) {
  mux->conn_sent = mux->conn_received = 0;
  mux->conn_granted = mux_grantable(mux); /* less what is queued from before */
  mux->conn_allowed = AW_MUX_INBOUND_BYTES;
  mux->flow_at = UINT64_MAX;
  mux->flow_now = false;
  mux_wake_parked(mux);
  aw_buf_reset(&mux->control_out, AW_CHANNEL_KEEP);
}

void mux_begin_connection(aw_mux *mux, bool extended) {
  mux->generation++;
  mux->extended = extended;
  reset_connection(mux);
  blame_begin(mux);
}

static void end_all(aw_mux *mux, int error) {
  size_t cursor = 0;
  aw_channel *channel = NULL;
  aw_queue released;
  aw_queue_init(&released);
  while ((channel = aw_map_next(&mux->channels, &cursor)) != NULL) {
    mux_end_channel(channel, error);
    mux_drop_log(channel);
    if (channel->released) {
      aw_queue_push(&released, &channel->writer_node);
    }
  }
  /* Settling may remove from the map, so it has to wait for the walk. */
  aw_node *node = NULL;
  while ((node = aw_queue_pop(&released)) != NULL) {
    mux_settle(AW_CONTAINER(node, aw_channel, writer_node));
  }
}

/* Base peers cannot be told that a scope was let go of: what was released
 * while it was open who would come is over now. */
static void end_released(aw_mux *mux) {
  size_t cursor = 0;
  aw_channel *channel = NULL;
  aw_queue written;
  aw_queue_init(&written);
  while ((channel = aw_map_next(&mux->channels, &cursor)) != NULL) {
    if (channel->released && channel->state == AW_CHANNEL_OPEN) {
      mux_end_channel(channel, AW_E_CLOSED);
      if (channel->log_count == 0) {
        aw_queue_push(&written, &channel->writer_node);
      }
    }
  }
  for (aw_node *node = NULL; (node = aw_queue_pop(&written)) != NULL;) {
    mux_settle(AW_CONTAINER(node, aw_channel, writer_node));
  }
}

int aw_mux_attach(aw_mux *mux, bool extended, uint32_t *generation) {
  if (mux->abandoned) {
    return AW_E_CLOSED;
  }
  if (!extended && mux->extended) {
    end_all(mux, AW_E_LOST); /* a base peer knows nothing of our session */
    while (aw_queue_pop(&mux->flows) != NULL) {
    }
  }
  mux_begin_connection(mux, extended);
  *generation = mux->generation;
  if (!extended) {
    mux->link = AW_LINK_BASE;
    limits_of_base(mux);
    end_released(mux);
    return AW_OK;
  }
  return mux_say_hello(mux);
}

void aw_mux_detach(aw_mux *mux, uint32_t generation, int error) {
  if (generation != mux->generation || mux->link == AW_LINK_DETACHED) {
    return;
  }
  mux->link = AW_LINK_DETACHED;
  reset_connection(mux);
  if (!mux->extended) {
    end_all(mux, error);
  }
  mux_wake_starved(mux); /* a log may take more than the credit did */
}

void aw_mux_abandon(aw_mux *mux, int error) {
  mux->link = AW_LINK_DETACHED;
  mux->abandoned = true;
  mux->generation++;
  reset_connection(mux);
  end_all(mux, error);
}

void aw_mux_lose_scopes(aw_mux *mux) {
  if (mux->link != AW_LINK_DETACHED || mux->abandoned) {
    return;
  }
  while (aw_queue_pop(&mux->flows) != NULL) {
    /* what would be acknowledged is forgotten with its scope */
  }
  end_all(mux, AW_E_LOST);
}

unsigned aw_mux_peer_window_ms(const aw_mux *mux) {
  return mux->peer_window_ms;
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
    mux_wake_hungry(mux);
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

const char *aw_refusal_class_name(enum aw_refusal_class which) {
  static const char *const names[] = {"json",     "version", "invalid",
                                      "sequence", "unknown", "exists",
                                      "limit",    "other"};
  return names[which];
}
