/* The inside of aw_mux, shared by aw_mux.c, aw_mux_receive.c, aw_mux_send.c
 * and aw_resume.c. Nobody else includes this. */
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

  aw_channel *control_in; /* unsequenced messages: an inbox without a scope */
  aw_buf control_scopes;  /* their control_scope records */
  aw_buf control_out;     /* aw_entry records */

  aw_buf refusals; /* aw_refusal records; no memory while there are none */
  unsigned refusal_count;
  enum aw_mux_notice notices[AW_MUX_NOTICES];
  unsigned notice_count;

  /* Credit of the connection, counted from its attach. */
  uint64_t conn_sent, conn_allowed;     /* ours to send */
  uint64_t conn_received, conn_granted; /* theirs */
  uint64_t flow_at;                     /* when a flow is due; UINT64_MAX */
  bool flow_now;

  /* The resumable session (aw_resume.c). */
  aw_uuid connection_id;
  char epoch[33];          /* the server's, as known; "" when none */
  uint32_t generation;     /* of the connection that is attached */
  uint64_t attempt;        /* server: of the hello that was accepted last */
  bool welcomed;           /* client: this session was welcomed once */
  unsigned peer_window_ms; /* client: as the last welcome said */

  /* What the peer takes. Before a client's first welcome that is not known. */
  aw_limits peer;
  bool knows_peer, is_peer_given;

  /* Which message ends connections (aw_blame.c). Entries carry the turn in
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

/* Drops the oldest message of the channel's inbox. */
void mux_drop_message(aw_channel *channel);

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

/* Must the next entry go out whatever the credit? An abort takes along all
 * that was numbered before it: order is never given up. */
static inline bool mux_is_urgent(const aw_channel *channel) {
  return channel->next_unsent <= channel->urgent_last;
}

/* Has the application let go of a live scope, and has the peer all that was
 * sent in it? */
static inline bool mux_has_let_go(const aw_channel *channel) {
  return (channel->released || channel->given_up) && channel->log_count == 0;
}

/* How far the application is through with what came: what we acknowledge. Who
 * has let go has confirmed everything. */
static inline aw_credit mux_confirmed(const aw_channel *channel) {
  aw_credit consumed = {channel->consumed, channel->consumed_bytes};
  return channel->manual && !channel->released ? channel->confirmed : consumed;
}

/* aw_mux.c */
void mux_raise(aw_channel *channel, unsigned events);
void mux_end_channel(aw_channel *channel, int error);
void mux_settle(aw_channel *channel); /* frees what a released one needs not */
void mux_credit_back(aw_mux *mux);    /* something was consumed or dropped */
void mux_trim_tombs(aw_mux *mux);
void mux_notice(aw_mux *mux, enum aw_mux_notice notice);
int mux_add_channel(aw_mux *mux, enum aw_kind kind, const aw_uuid *id,
                    aw_channel **out);
void mux_bury(aw_channel *channel);
void mux_drop_log(aw_channel *channel);
void mux_begin_connection(aw_mux *mux, bool extended);

/* aw_mux_send.c */
void mux_wake_writer(aw_channel *channel);
void mux_wake_parked(aw_mux *mux); /* the connection's credit has grown */
void mux_trim(aw_channel *channel, uint64_t sequence);
void mux_wake_sender(aw_channel *channel);
void mux_wake_starved(aw_mux *mux);
void mux_wake_hungry(aw_mux *mux); /* the session's log has become smaller */

bool mux_has_window(const aw_mux *mux, const aw_channel *channel);
bool mux_is_log_full(const aw_channel *channel);

/* aw_mux_receive.c */
int mux_receive_control(aw_mux *mux, const aw_envelope *envelope,
                        const char *text, size_t len);

/* aw_resume.c */
int mux_receive_link(aw_mux *mux, const aw_envelope *envelope, const char *text,
                     size_t len);
int mux_begin_link(aw_mux *mux, const char *type, aw_draft *draft);
int mux_end_link(aw_draft *draft, int rc);
void mux_lose(aw_channel *channel);
void mux_queue_flow(aw_channel *channel, bool now);
void mux_write_flow(aw_mux *mux);
int mux_say_hello(aw_mux *mux);

/* aw_blame.c */
void blame_begin(aw_mux *mux); /* a connection begins */
/* A log is dropped or folded. What ended the last connection may be gone with
 * it, and who is left must not be taken for it. */
void blame_forget(aw_mux *mux);
/* The scope's next entry was not received: was it written before? */
void blame_suspect(const aw_channel *channel);
void blame_judge(aw_mux *mux); /* all scopes were seen */
/* Ends a scope whose log the peer cannot have; the peer is told by a flow. */
void mux_give_up_log(aw_channel *channel, int error);

/* aw_limits.c */
bool limits_hold(const aw_mux *mux, aw_draft *draft, size_t len);
void limits_put(const aw_mux *mux, aw_buf *out, int *rc);
void limits_of_base(aw_mux *mux);
void limits_learn(aw_mux *mux, const aw_limits *limits);
extern const aw_limits limits_untold; /* what absent members stand for */

/* aw_fold.c */
bool mux_has_fold_room(const aw_draft *draft);
void mux_fold(aw_draft *draft); /* its entry takes the log's place */
/* The number behind which a peer that has `received` goes on: itself, or that
 * to which a state stands for all; then the gap has to be announced. */
uint64_t mux_skip_folded(const aw_channel *channel, uint64_t received);
int mux_announce_gap(aw_channel *channel, uint64_t received);
struct link_reader;
int mux_receive_gap(aw_mux *mux, const struct link_reader *in);

#endif
