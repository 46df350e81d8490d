/* A connection: one mux, and the transport that carries it at the moment.
 * Extended connections outlive their transports; base ones do not. */
#ifndef AW_CONN_H
#define AW_CONN_H

#include "aw_mux.h"
#include "aw_mux_hello.h"
#include "aw_transport.h"

#pragma GCC visibility push(hidden)

typedef struct aw_conn aw_conn;
typedef struct aw_conn_end aw_conn_end;
typedef struct aw_watch aw_watch;

/* Where a connection is. FAILING and CLOSING have a transport whose `closed`
 * is owed; behind FAILING the next transport may follow, behind CLOSING only
 * OVER. */
enum aw_conn_state {
  AW_CONN_IS_IDLE,    /* no transport */
  AW_CONN_IS_OPENING, /* a transport that is not open yet */
  AW_CONN_IS_UP,      /* open, and the mux is attached to it */
  AW_CONN_IS_FAILING, /* we close it for a violation; the mux is detached */
  AW_CONN_IS_CLOSING, /* the connection ends in order with this transport */
  AW_CONN_IS_OVER     /* ended, never to come back */
};

/* Events of its source. */
enum aw_conn_event {
  AW_CONN_UP = 1,    /* a transport is open: scopes can talk */
  AW_CONN_DOWN = 2,  /* the transport is gone; see aw_conn_last_end */
  AW_CONN_NEWS = 4,  /* aw_mux_has_news */
  AW_CONN_CLOSED = 8 /* over for good; every scope has ended */
};

/* How a transport ended. */
struct aw_conn_end {
  int error; /* AW_OK: an orderly close */
  int code;  /* WebSocket close code, 1006 for a lost link */
  char reason[256];
};

/* The seeds and key of `options` are filled from the system's entropy. `user`
 * is the source's. */
int aw_conn_new(aw_conn **out, aw_loop *loop, const aw_mux_options *options,
                void *user);

/* Ends all at once: no handshake, no event. */
void aw_conn_free(aw_conn *conn);

aw_mux *aw_conn_mux(aw_conn *conn);
aw_source *aw_conn_source(aw_conn *conn);

/* Takes a transport, open (the connection is up then) or not yet, and owns it
 * from now on. An older transport is retired. AW_E_CLOSED while the connection
 * closes or is over (the transport is freed). */
int aw_conn_attach(aw_conn *conn, aw_transport *transport);

/* Takes an open extended transport whose hello was read; as attach. A failure
 * of the mux (AW_E_CLOSED: stale; AW_E_NOMEM) closes the transport with 1011
 * and leaves the connection FAILING. */
int aw_conn_accept(aw_conn *conn, aw_transport *transport,
                   const aw_hello *hello, const char *epoch);

/* What the hub was told by the transport before the connection was known, each
 * as aw_transport_sink has it: a message, what is none, the end. Only from
 * inside the transport's upcall. */
void aw_conn_feed(aw_conn *conn, char *bytes, size_t len);
void aw_conn_feed_garbage(aw_conn *conn, const char *what);
void aw_conn_feed_end(aw_conn *conn, int error, int code, const char *reason);

/* To be called after anything was sent, consumed or released. */
void aw_conn_touch(aw_conn *conn);

/* Sends bytes as one message past the mux: nothing is numbered or checked. For
 * tests that have to say what no honest peer says. */
int aw_conn_inject(aw_conn *conn, const char *bytes, size_t len);

/* Sets the mux's clocks; before sending, so that stamps are true. */
void aw_conn_clock(aw_conn *conn);

/* Ends the connection in order: what waits is flushed, then the transport is
 * closed; AW_CONN_CLOSED follows. Idempotent. */
void aw_conn_close(aw_conn *conn, int code, const char *reason);

/* Drops the transport at once, as a cut would; for tests and for liveness. An
 * extended connection can be attached again. */
void aw_conn_cut(aw_conn *conn, const char *reason);

enum aw_conn_state aw_conn_state(const aw_conn *conn);
bool aw_conn_is_up(const aw_conn *conn);
bool aw_conn_is_closed(const aw_conn *conn);
const aw_conn_end *aw_conn_last_end(const aw_conn *conn);
const aw_transport *aw_conn_transport(const aw_conn *conn); /* NULL: none */

/* Of the peer of its last transport, also when that is gone; NULL: nobody. */
const aw_identity *aw_conn_identity(const aw_conn *conn);

/* The transport is gone for too long: every scope ends with AW_E_LOST, and
 * AW_CONN_NEWS follows. The connection can be attached again. While it has a
 * transport that is up: nothing. */
void aw_conn_lose_scopes(aw_conn *conn);

/* Gives up on a detached session: every scope ends with `error`. */
void aw_conn_abandon(aw_conn *conn, int error, const char *reason);

/* For whoever keeps connections that others own (the hub). A connection calls
 * nobody when its transport is gone, when it is over, or when it is freed: it
 * puts `node` into *changes and marks `flush`, and the keeper looks at
 * aw_conn_state when it holds nothing. Embedded and owned by the keeper, who
 * sets all fields and takes the watch off (aw_conn_set_watch with NULL) before
 * its memory goes. `conn` becomes NULL when the connection is freed. */
struct aw_watch {
  aw_node node;
  aw_conn *conn;
  aw_queue *changes;
  aw_flush *flush;
  const aw_pool *pool; /* `flush` is marked as well when it is due; or NULL */
};
void aw_conn_set_watch(aw_conn *conn, aw_watch *watch);

/* What happens with one short line an envelope (aw_trace.h): nothing, stderr
 * (AGENTWIRE_TRACE=1), or kept for aw_conn_trace_lines. */
enum aw_conn_trace {
  AW_CONN_TRACE_OFF,
  AW_CONN_TRACE_STDERR,
  AW_CONN_TRACE_KEEP
};

/* Lines that nobody takes are dropped above this. */
#define AW_CONN_TRACE_BYTES (64u << 10)

void aw_conn_trace(aw_conn *conn, enum aw_conn_trace mode);

/* The kept lines, each with its newline; the caller empties the buffer. */
aw_buf *aw_conn_trace_lines(aw_conn *conn);

#pragma GCC visibility pop

#endif
