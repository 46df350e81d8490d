/* The struct behind aw_mux.h, for aw_mux.c and the parts of it that aw_mux_*.c
 * are. Nobody else includes this. Each part calls only those above which it
 * stands:
 *
 *   write  receive  attach  save        what the owner calls
 *   resume                              hello and welcome
 *   flow  gap                           link messages
 *   send  limits                        drafts
 *   scope                               from the first message to the tombstone
 *   wake  fold  news  refuse  blame     who waits, and what has happened */
#ifndef AW_MUX_IMPL_H
#define AW_MUX_IMPL_H

#include "aw_error.h"
#include "aw_map.h"
#include "aw_mux.h"
#include <string.h>

/* What every scope may send to begin with, whatever anybody's options are. */
#define MUX_FIRST_CREDIT                                                       \
  ((aw_credit){AW_CHANNEL_WINDOW_MESSAGES, AW_CHANNEL_WINDOW_BYTES})

/* How far the current connection has come. From AW_LINK_BASE on there is one.
 */
enum aw_link_state {
  AW_LINK_DETACHED,
  AW_LINK_ABANDONED,     /* for good: no next attach */
  AW_LINK_BASE,          /* base protocol: all is allowed at once */
  AW_LINK_AWAIT_WELCOME, /* extended client, resuming: scopes have to wait */
  AW_LINK_EXTENDED
};

/* Where the peer's limits come from. */
enum aw_peer_limits {
  AW_PEER_UNTOLD, /* a client before its first welcome */
  AW_PEER_TOLD,   /* by the peer, or by the base protocol */
  AW_PEER_GIVEN   /* by the owner, who knows a base peer's */
};

#define AW_MUX_NOTICES 4

/* A message of ours that was carried in vain. */
typedef struct aw_blame {
  enum aw_kind kind;
  aw_uuid id;
  uint64_t sequence; /* 0: none */
  uint32_t turn;
} aw_blame;

struct aw_mux {
  const aw_mem *mem;
  aw_mux_options options;
  aw_map channels;
  aw_json_tape tape; /* of the message that is being received */
  aw_random random;
  uint64_t now_ms;
  int64_t wall_ms;
  enum aw_link_state link;
  bool extended; /* what the last connection spoke; false before the first */

  /* Queues of channels; in each a channel is once at most.
   *
   * ready: all with events, in the order in which they got the first one.
   * writers: all that have something to write and may, urgent ones in front;
   *   one that has nothing to write is passed over.
   * waits_connection: those that have something to write, and their own credit
   *   for it, but not the connection's. In place of `writers`, by the same
   * node. Who lacks credit of its own is in neither: the flow that brings some
   *   queues it.
   * waits_session: those whose send was refused while the session's logs, or
   *   all of the server's, were full; whoever has waited longest in front. All
   *   in it have `send_refused`; who lacks room of its own has that alone.
   * flows: those with something to acknowledge, to grant or to let go of. None
   *   that is silent or LOST.
   * tombs: those that are RELEASED and over and have an empty log, oldest in
   *   front; at most options.tombs_max but for what still has to go into a
   * flow.
   */
  aw_queue ready, writers, waits_connection, waits_session, flows, tombs;
  size_t tomb_count;

  /* Unsequenced messages. Each of those in has its scope in control_scopes, in
   * the same order; those out are aw_mux_entry records, and link messages stand
   * among them. */
  aw_mux_inbox control_in;
  aw_buf control_scopes;
  aw_buf control_out;

  aw_buf refusals; /* aw_refusal records; no memory while there are none */
  unsigned refusal_count;
  /* refused_opening records of this connection that are to be let go of by the
   * next flow; AW_MUX_REFUSALS_MAX at most. */
  aw_buf refused_openings;
  enum aw_mux_notice notices[AW_MUX_NOTICES];
  unsigned notice_count;

  /* Credit of the connection in bytes, counted from its attach. conn_granted is
   * what the peer was told, mux_grantable what it could be told now; the
   * difference is never negative. */
  uint64_t conn_sent, conn_allowed;     /* ours to send */
  uint64_t conn_received, conn_granted; /* theirs */
  /* A flow is to be written with the next write (flow_now), or when the clock
   * has come to flow_at (UINT64_MAX: no). */
  bool flow_now;
  uint64_t flow_at;

  /* The resumable session (aw_mux_resume.c). */
  aw_uuid connection_id;
  char epoch[AW_EPOCH_TEXT + 1]; /* the server's, as known; "" when none */
  uint32_t generation;           /* counts connections; 0 before the first */
  uint64_t attempt;        /* server: of the hello that was accepted last */
  unsigned peer_window_ms; /* client: as the last welcome said */

  enum aw_peer_limits peer_limits;
  aw_limits peer; /* what the peer takes, as far as that is known */

  /* Which message ends connections (aw_mux_blame.c). Turns count what was
   * written; entries carry the one in which they were written last. What a
   * connection wrote are the turns behind that in which it began. */
  uint32_t turn;          /* of the entry written last */
  uint32_t turn_begun;    /* when this connection began */
  uint32_t carried_from;  /* when the one began that is being judged */
  int loss_code, loss_of; /* how this one ended, how that one did */
  bool carried;           /* is there one to be judged? */
  aw_blame suspect;       /* found so far: what that one wrote first of all that
                             did not arrive */

  aw_pool *pool; /* of all sessions of a server, or NULL */
  void *owner;
  aw_node pool_node; /* in pool->waiting while senders wait for its room */
  size_t in_bytes;   /* inboxes and scopes, in memory */

  aw_mux_stats stats;
  void (*trace)(void *user, const aw_trace *trace);
  void *trace_user;
};

typedef struct refused_opening {
  enum aw_kind kind;
  aw_uuid id, opening_id;
} refused_opening;

typedef struct control_scope {
  enum aw_kind kind;
  aw_uuid id;
} control_scope;

static inline bool mux_is_attached(const aw_mux *mux) {
  return mux->link >= AW_LINK_BASE;
}

static inline bool mux_resumable(const aw_mux *mux) {
  return mux->link == AW_LINK_EXTENDED;
}

/* What the logs hold; `added` and `freed` are bytes. */
static inline void mux_count_log(aw_mux *mux, size_t added, size_t freed) {
  mux->stats.log_bytes += added - freed;
  if (mux->stats.log_bytes > mux->stats.log_high) {
    mux->stats.log_high = mux->stats.log_bytes;
  }
  if (mux->pool != NULL) {
    mux->pool->log_bytes += added - freed;
  }
}

/* The same for what came in. */
static inline void mux_count_in(aw_mux *mux, size_t added, size_t freed) {
  mux->in_bytes += added - freed;
  if (mux->pool != NULL) {
    mux->pool->in_bytes += added - freed;
  }
}

/* May this mux's logs grow, as far as all sessions of the server go? */
static inline bool mux_has_pool_room(const aw_mux *mux) {
  const aw_pool *pool = mux->pool;
  return pool == NULL || aw_pool_has_room(pool->log_bytes, pool->log_max,
                                          pool->members, mux->stats.log_bytes);
}

/* May it take in more? */
static inline bool mux_has_in_room(const aw_mux *mux) {
  const aw_pool *pool = mux->pool;
  return pool == NULL || aw_pool_has_room(pool->in_bytes, pool->in_max,
                                          pool->members, mux->in_bytes);
}

/* What the peer may send on this connection in all, as things stand: what came
 * and what there is room for. It never shrinks while a connection lasts. */
static inline uint64_t mux_grantable(const aw_mux *mux) {
  size_t queued = mux->stats.inbox_bytes, max = mux->options.inbound_bytes;
  return mux->conn_received + (max > queued ? max - queued : 0);
}

/* Has the peer (nearly) used up the connection's credit? Then what its scopes
 * may still send depends on prompt acknowledgements. */
static inline bool mux_is_peer_short(const aw_mux *mux) {
  return mux->extended &&
         mux->conn_received + AW_CHANNEL_URGENT_BYTES >= mux->conn_granted;
}

/* Has the application let go of the scope, or was it given up, and has the peer
 * all that it will ever have? */
static inline bool mux_has_let_go(const aw_channel *channel) {
  return (channel->hold == AW_CHANNEL_RELEASED ||
          channel->state == AW_CHANNEL_GIVEN_UP) &&
         aw_mux_log_is_empty(&channel->log);
}

/* How far the application is through with what came: what we acknowledge. Who
 * has let go has confirmed everything. */
static inline aw_credit mux_confirmed(const aw_channel *channel) {
  aw_credit consumed = {channel->consumed, channel->consumed_bytes};
  return channel->hold == AW_CHANNEL_CONFIRMS ? channel->confirmed : consumed;
}

/* A flow is due, but not at once. */
static inline void mux_flow_soon(aw_mux *mux) {
  if (mux->flow_at == UINT64_MAX) {
    mux->flow_at = mux->now_ms + AW_FLOW_DELAY_MS;
  }
}

/* Something was consumed or dropped: the connection's credit may be due. */
static inline void mux_credit_back(aw_mux *mux) {
  if (mux->extended && mux_grantable(mux) - mux->conn_granted >=
                           mux->options.inbound_bytes / 2) {
    mux->flow_now = true;
  }
}

#endif
