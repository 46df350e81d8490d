/* The WebSocket transport on a stream: both roles, from the end of the opening
 * handshake on. A server's socket is made when that is over. A client's is
 * there before: somebody (aw_connect.c) is about to open it, or will end it. */
#ifndef AW_SOCKET_H
#define AW_SOCKET_H

#include "aw_http.h"
#include "aw_roster.h"
#include "aw_stream.h"
#include "aw_tcp.h"
#include "aw_transport_impl.h"
#include "aw_uuid.h"
#include "aw_ws.h"

#pragma GCC visibility push(hidden)

typedef struct aw_socket aw_socket;
typedef struct aw_socket_settings aw_socket_settings;

#define AW_SOCKET_PING_MS 15000

/* Pings answered one by one while our output is stuck; of further ones only
 * the newest is answered, which RFC 6455 section 5.5.3 permits. Without it a
 * peer that pings and never reads would grow our output for ever. */
#define AW_SOCKET_PONGS_MAX 16

#define AW_SOCKET_REASON_MAX 256

struct aw_socket_settings {
  bool is_server;
  size_t message_max;
  unsigned ping_interval_ms, ping_deadline_ms; /* 0: AW_SOCKET_PING_MS */
};

struct aw_socket {
  aw_transport base;
  aw_flush flush;
  aw_stream *stream; /* NULL before the handshake is over and after the end */
  void (*cancel)(void *opener); /* whoever is to open it; NULL: nobody */
  void *opener;
  aw_socket_settings settings;
  aw_seat seat;
  aw_ws ws;
  aw_random random; /* of the masks */
  aw_buf early;     /* frames that came before the socket was open */
  uv_timer_t timer;
  uv_idle_t soon; /* a timer of 0 ms can still be due in this turn */
  uint64_t pinged_ms;
  uint64_t handled; /* bytes_out when the timer ran last */
  bool paused, pinged, guarded, draining, shut, let_go;
  unsigned pongs; /* since the output was empty */
  bool pong_waits;
  size_t pong_len;
  char pong[AW_WS_CONTROL_MAX];
  int end_error, end_code;
  char end_reason[AW_SOCKET_REASON_MAX];
  char peer[AW_TCP_ADDRESS_TEXT];
  char protocol[64];
};

/* The reference belongs to the caller. AW_E_NOMEM, AW_E_IO (no entropy). */
int aw_socket_new(aw_socket **out, aw_loop *loop,
                  const aw_socket_settings *settings);

/* Somebody is about to open it, or to end it: `cancel` is called, once and from
 * inside of anything, when its owner closes or frees it before that. It makes
 * no upcall. */
void aw_socket_opened_by(aw_socket *socket, void (*cancel)(void *opener),
                         void *opener);

/* The stream of a handshake that is over; owned from now on, its sink is the
 * socket. `peer` is its name. Who was to open the socket is forgotten. Only
 * from the loop. */
void aw_socket_attach(aw_socket *socket, aw_stream *stream, const char *peer);

/* The subprotocol that the handshake agreed on; bytes NULL for none. */
void aw_socket_agree(aw_socket *socket, aw_http_span protocol);

/* After attach and agree. Frames that came with the handshake stand in `early`,
 * whose bytes are owned from now on, and are taken first. A client gives `open`
 * and goes on at once, a server in the next turn of the loop. */
void aw_socket_open(aw_socket *socket, aw_buf *early);

/* Ends an open socket with a close frame that says why. */
void aw_socket_violate(aw_socket *socket, int error, const char *why);

/* After attach, instead of open: says with a close frame what is wrong, as far
 * as the system takes it at once, and ends. */
void aw_socket_reject(aw_socket *socket, int error, const char *why);

/* Ends at once with `closed`. Whoever was to open it is forgotten, not told. */
void aw_socket_end(aw_socket *socket, int error, int code, const char *why);

#pragma GCC visibility pop

#endif
