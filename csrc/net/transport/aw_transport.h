/* What carries messages: WebSocket, stdio, child process, in-process. One
 * vtable, one contract, one test suite (tests/net/transport_suite.c). */
#ifndef AW_TRANSPORT_H
#define AW_TRANSPORT_H

#include "aw_identity.h"
#include "aw_loop.h"
#include "aw_mux.h"
#include <stddef.h>

#pragma GCC visibility push(hidden)

typedef struct aw_transport aw_transport;
typedef struct aw_transport_ops aw_transport_ops;
typedef struct aw_transport_sink aw_transport_sink;
typedef struct aw_transport_info aw_transport_info;

#define AW_TRANSPORT_MESSAGE_MAX (16u << 20)
/* What that limit may be raised to, and so what may be sent at most. */
#define AW_TRANSPORT_MESSAGE_TOP AW_MUX_MESSAGE_TOP

/* A transport that holds this many bytes of unsent output asks for no more
 * (aw_transport_room gives 0) until less than half of it is left. One socket
 * buffer's worth keeps the wire busy; more would only be memory and delay. */
#define AW_TRANSPORT_HIGH_WATER (1u << 20)

/* What the opening agreed on. Strings live as long as the transport. */
struct aw_transport_info {
  const char *kind;     /* "websocket", "stdio", "process", "memory" */
  bool is_server;       /* we accepted */
  bool extended;        /* agentwire.v1 is spoken (docs/wire.md section 7) */
  bool agreed;          /* by both; else a server has only offered it */
  bool has_codes;       /* closing gives the peer the code and the reason */
  const char *protocol; /* subprotocol, or NULL */
  const char *peer;     /* "127.0.0.1:40312", a command, or NULL */
};

/* Upcalls, made only from inside aw_loop_step/wait (never from inside a call
 * of the transport's own functions). */
struct aw_transport_sink {
  void (*open)(void *user, const aw_transport_info *info);
  /* One whole message. The bytes may be changed, and live for the call. */
  void (*message)(void *user, char *bytes, size_t len);
  /* Something came that is not a message, and the transport goes on (a line
   * that is too long, ...): answer with an error frame. */
  void (*garbage)(void *user, int error, const char *what);
  /* Room for output again after aw_transport_room was 0. */
  void (*writable)(void *user);
  /* The end, exactly once, also when open never came. Nothing follows. code:
   * the WebSocket close code that describes it (1000 for a clean end, 1006 for
   * a lost link, 1002 ... as the peer or we said). error: AW_OK for an orderly
   * close by either side, else AW_E_*. */
  void (*closed)(void *user, int error, int code, const char *reason);
  /* A message of `whole` bytes was above the limit: it was skipped, `head` is
   * its start (at most AW_HEADER_MAX bytes, that may be changed). NULL: such a
   * one is garbage on lines; a WebSocket without the extension ends anyway. */
  void (*skipped)(void *user, char *head, size_t len, uint64_t whole);
};

struct aw_transport_ops {
  int (*send)(aw_transport *t, const char *bytes, size_t len);
  void (*pause)(aw_transport *t, bool paused);
  void (*close)(aw_transport *t, int code, const char *reason);
  void (*free)(aw_transport *t);
  /* Ends because the pool is full, at once gives back the part of a message
   * that it holds; makes no upcall. NULL: holds little. */
  void (*shed)(aw_transport *t);
};

/* The base of each kind; embedded first. */
struct aw_transport {
  const aw_transport_ops *ops;
  aw_transport_sink sink;
  void *user;
  aw_loop *loop;
  aw_transport_info info;
  aw_identity *identity; /* of the peer; a reference of the transport's */
  size_t pending;        /* bytes of output not yet taken by the system */
  size_t bytes_in, bytes_out;
  bool choked;         /* room was refused; `writable` is owed */
  uint64_t last_in_ms; /* when a byte came last, aw_loop_now's clock */
  size_t writes;       /* writes that were given to the system */
  aw_pool *pool;       /* where parts of messages count, or NULL */
  size_t part_bytes;   /* of one that is not whole yet */
  unsigned tolls;      /* see aw_transport_toll; since the last read */

  /* Kept by aw_transport_impl.h, for the transport's own code. */
  int state;
  unsigned refs;
  void (*release)(aw_transport *t);
  aw_node part_node; /* in pool->unfinished */
};

/* Frames one message (not empty, at most AW_TRANSPORT_MESSAGE_TOP) into the
 * output, which goes out in one write at the end of the loop turn. Never
 * refuses for lack of room: that is for the caller to ask. AW_E_CLOSED before
 * open, after close, after the end; AW_E_NOMEM (nothing was added). */
int aw_transport_send(aw_transport *t, const char *bytes, size_t len);

/* Is it open, and not closing? */
bool aw_transport_is_open(const aw_transport *t);

/* Bytes that may be sent now without passing AW_TRANSPORT_HIGH_WATER. */
size_t aw_transport_room(aw_transport *t);

/* Stop or go on reading. Messages that were read already may still come for
 * the rest of the current read. */
void aw_transport_pause(aw_transport *t, bool paused);

/* Inside `message`: it cost work, and no credit bounds how many of its kind may
 * come (pings, what is refused). A transport that had more than
 * AW_TRANSPORT_TOLLS_MAX of them in one read takes AW_TRANSPORT_SIP bytes a
 * turn until it has taken all there is: a flood has its share of the loop and
 * no more. */
#define AW_TRANSPORT_TOLLS_MAX 32
#define AW_TRANSPORT_SIP 2048
void aw_transport_toll(aw_transport *t);

/* From now on what it holds of unfinished messages counts in `pool`. When that
 * is full, the transport whose message began first is closed with 1013. */
void aw_transport_join(aw_transport *t, aw_pool *pool);

/* Starts an orderly end: output that waits is flushed first (up to
 * AW_TRANSPORT_LINGER_MS), then the closing handshake where there is one, then
 * `closed`. Idempotent; the first code counts. */
#define AW_TRANSPORT_LINGER_MS 2000
void aw_transport_close(aw_transport *t, int code, const char *reason);

/* Ends at once without any handshake, frees. `closed` is NOT called. Legal at
 * any moment, also from inside an upcall (the memory lives until its return).
 */
void aw_transport_free(aw_transport *t);

#pragma GCC visibility pop

#endif
