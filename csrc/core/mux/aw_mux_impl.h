/* The struct behind aw_mux.h, for aw_mux.c and the parts of it that aw_mux_*.c
 * are. Nobody else includes this. Each part calls only those above which it
 * stands:
 *
 *   write  receive  attach              what the owner calls
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

/* How far the current connection has come. */
enum aw_link_state {
  AW_LINK_DETACHED,
  AW_LINK_BASE,          /* base protocol: all is allowed at once */
  AW_LINK_AWAIT_WELCOME, /* extended client, resuming: scopes have to wait */
  AW_LINK_EXTENDED
};

#define AW_MUX_NOTICES 4
#define AW_MUX_TAPE_KEEP                                                       \
  8192 /* tokens that stay allocated between messages                          \
        */

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
  aw_json_tape tape;
  aw_random random;
  uint64_t now_ms;
  int64_t wall_ms;
  enum aw_link_state link;
  bool extended, abandoned;

  aw_queue ready;   /* channels with events */
  aw_queue writers; /* channels with unsent entries */
  aw_queue parked;  /* ... that only the connection's credit holds back */
  aw_queue hungry;  /* channels whose send the session's log had no room for */
  aw_queue flows;   /* channels with something to acknowledge */
  aw_queue tombs;   /* released channels, oldest first */
  size_t tomb_count;

  aw_mux_inbox control_in; /* unsequenced messages */
  aw_buf control_scopes;   /* their control_scope records */
  aw_buf control_out;      /* aw_mux_entry records */

  aw_buf refusals; /* aw_refusal records; no memory while there are none */
  unsigned refusal_count;
  enum aw_mux_notice notices[AW_MUX_NOTICES];
  unsigned notice_count;

  /* Credit of the connection, counted from its attach. */
  uint64_t conn_sent, conn_allowed;     /* ours to send */
  uint64_t conn_received, conn_granted; /* theirs */
  uint64_t flow_at;                     /* when a flow is due; UINT64_MAX */
  bool flow_now;

  /* The resumable session (aw_mux_resume.c). */
  aw_uuid connection_id;
  char epoch[AW_EPOCH_TEXT + 1]; /* the server's, as known; "" when none */
  uint32_t generation;           /* of the connection that is attached */
  uint64_t attempt;        /* server: of the hello that was accepted last */
  bool welcomed;           /* client: this session was welcomed once */
  unsigned peer_window_ms; /* client: as the last welcome said */

  /* What the peer takes. Before a client's first welcome that is not known. */
  aw_limits peer;
  bool knows_peer, is_peer_given;

  /* Which message ends connections (aw_mux_blame.c). Entries carry the turn in
   * which they were written last. */
  uint32_t turn;          /* of the entry written last */
  uint32_t turn_begun;    /* when this connection began */
  uint32_t carried_from;  /* of the connection that is being judged */
  int loss_code, loss_of; /* how this one ended, how that one did */
  bool carried;           /* is there one to be judged? */
  aw_blame suspect;       /* found so far */

  aw_pool *pool; /* of all sessions of a server, or NULL */
  void *owner;
  aw_node pool_node; /* in pool->hungry */
  size_t in_bytes;   /* inboxes and scopes, in memory */

  aw_mux_stats stats;
  void (*trace)(void *user, const aw_trace *trace);
  void *trace_user;
};

typedef struct control_scope {
  enum aw_kind kind;
  aw_uuid id;
} control_scope;

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
static inline bool mux_is_tight(const aw_mux *mux) {
  return mux->extended &&
         mux->conn_received + AW_CHANNEL_URGENT_BYTES >= mux->conn_granted;
}

/* Has the application let go of a live scope, and has the peer all that was
 * sent in it? */
static inline bool mux_has_let_go(const aw_channel *channel) {
  return (channel->released || channel->given_up) &&
         aw_mux_log_is_empty(&channel->log);
}

/* How far the application is through with what came: what we acknowledge. Who
 * has let go has confirmed everything. */
static inline aw_credit mux_confirmed(const aw_channel *channel) {
  aw_credit consumed = {channel->consumed, channel->consumed_bytes};
  return channel->manual && !channel->released ? channel->confirmed : consumed;
}

/* Something was consumed or dropped: the connection's credit may be due. */
static inline void mux_credit_back(aw_mux *mux) {
  if (mux->extended && mux_grantable(mux) - mux->conn_granted >=
                           mux->options.inbound_bytes / 2) {
    mux->flow_now = true;
  }
}

#endif
