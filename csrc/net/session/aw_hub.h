/* A server's sessions: tells which connection an incoming transport is for,
 * and keeps those whose transport is gone until their window has passed. */
#ifndef AW_HUB_H
#define AW_HUB_H

#include "aw_conn.h"

#pragma GCC visibility push(hidden)

/* Logs of all sessions together; the oldest detached one makes room. */
#define AW_HUB_LOG_BYTES (256u << 20)
/* What came in for all of them and was not taken: inboxes, open scopes, parts
 * of messages. */
#define AW_HUB_IN_BYTES (256u << 20)
/* Of an extended transport: until its hello is whole. */
#define AW_HUB_GREETING_MS 10000
#define AW_HUB_SESSIONS_MAX 10000

typedef struct aw_hub aw_hub;
typedef struct aw_hub_options aw_hub_options;

struct aw_hub_options {
  aw_mux_options mux;   /* what each session gets */
  size_t log_bytes;     /* 0: AW_HUB_LOG_BYTES */
  size_t in_bytes;      /* 0: AW_HUB_IN_BYTES */
  unsigned greeting_ms; /* 0: AW_HUB_GREETING_MS */
  /* 0: AW_HUB_SESSIONS_MAX; then the longest detached gives way. */
  unsigned sessions_max;
  unsigned sessions_per_peer_max; /* 0: none; aw_share.h says who is a peer */
};

/* `accepted` is told of each new connection, from inside the loop, and owns it
 * from then on; inside it everything is legal but freeing the hub. The hub
 * watches its sessions' connections (aw_conn.h, aw_watch): they may be freed,
 * closed and cut at any time, and it ends those that have to give way only
 * from the loop's flush, its timer and aw_hub_sessions, never from inside
 * somebody's call. */
int aw_hub_new(aw_hub **out, aw_loop *loop, const aw_hub_options *options,
               void (*accepted)(void *user, aw_conn *conn), void *user);

/* Transports that still greet are freed; connections are left alone. Not from
 * inside `accepted`. */
void aw_hub_free(aw_hub *hub);

/* Takes a transport of a client, open or soon to be, and owns it. Base ones are
 * `accepted` before this returns. */
void aw_hub_take(aw_hub *hub, aw_transport *transport);

const char *aw_hub_epoch(const aw_hub *hub);
unsigned aw_hub_sessions(aw_hub *hub);
size_t aw_hub_log_bytes(const aw_hub *hub); /* of all connections */
size_t aw_hub_in_bytes(const aw_hub *hub);

#pragma GCC visibility pop

#endif
