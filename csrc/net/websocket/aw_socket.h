/* The WebSocket transport on a stream: both roles, from the end of the opening
 * handshake on. Until then a greeter (the dialling or the listening side) has
 * the stream's input and the socket only keeps the deadline. */
#ifndef AW_SOCKET_H
#define AW_SOCKET_H

#include "aw_http.h"
#include "aw_roster.h"
#include "aw_stream.h"
#include "aw_tcp.h"
#include "aw_transport_impl.h"
#include "aw_uuid.h"
#include "aw_ws.h"

typedef struct aw_socket aw_socket;
typedef struct aw_socket_settings aw_socket_settings;
typedef struct aw_greeter aw_greeter;

#define AW_SOCKET_HANDSHAKE_MS 10000
#define AW_SOCKET_PING_MS 15000

/* Pings answered one by one while our output is stuck; of further ones only
 * the newest is answered, which RFC 6455 section 5.5.3 permits. Without it a
 * peer that pings and never reads would grow our output for ever. */
#define AW_SOCKET_PONGS_MAX 16

/* Frames that come behind a request's head, before the answer went out. RFC
 * 6455 section 4.1 forbids them; a socket's worth is forgiven. */
#define AW_SOCKET_EARLY_MAX (64u << 10)

#define AW_SOCKET_REASON_MAX 256

struct aw_socket_settings {
  bool is_server;
  size_t message_max;
  unsigned handshake_ms, ping_interval_ms, ping_deadline_ms; /* 0: default */
};

/* All but `input` may end the socket. */
struct aw_greeter {
  void (*ready)(void *user); /* the stream carries bytes now */
  void (*input)(void *user, char *bytes, size_t len);
  /* The socket's timer: the deadline, or what aw_socket_soon asked for. */
  void (*timer)(void *user);
  /* The stream is lost, or a refusal has been delivered. */
  void (*lost)(void *user, int error, const char *why);
  /* The owner freed the transport: forget it. */
  void (*dropped)(void *user);
};

struct aw_socket {
  aw_transport base;
  aw_flush flush;
  aw_stream *stream; /* NULL while dialling and after the end */
  const aw_greeter *greeter;
  void *greeter_user;
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

/* A NUL-terminated copy; false when out of memory. */
bool aw_socket_copy(const aw_mem *mem, char **out, const char *bytes,
                    size_t len);

/* Starts the deadline. The reference belongs to the caller. */
int aw_socket_new(aw_socket **out, aw_loop *loop,
                  const aw_socket_settings *settings, const aw_greeter *greeter,
                  void *user);

/* A connected stream, owned from now on; its sink becomes the socket. With
 * `tls` (owned) the handshake follows. `ready` comes before this returns or
 * later. Only from inside an upcall. */
void aw_socket_attach(aw_socket *socket, aw_stream *stream, aw_tls *tls,
                      const struct sockaddr *peer);

/* Calls the greeter's `timer` in the next turn of the loop. */
void aw_socket_soon(aw_socket *socket);

/* Output was appended to stream->out: sends it at the end of the turn. */
void aw_socket_mark(aw_socket *socket);

/* The subprotocol that the handshake agreed on; bytes NULL for none. */
void aw_socket_agree(aw_socket *socket, aw_http_span protocol);

/* The upgrade is agreed; there is no greeter any more. Frames that came with
 * the handshake stand in `early` and are taken first. A client gives `open`
 * and goes on at once, a server in the next turn of the loop. */
void aw_socket_open(aw_socket *socket);

/* Ends an open socket with a close frame that says why. */
void aw_socket_violate(aw_socket *socket, int error, const char *why);

/* Says with a close frame what is wrong with a connection that never opened,
 * as far as the system takes it at once, and ends. */
void aw_socket_reject(aw_socket *socket, int error, const char *why);

/* Refuses: what is in the output goes out, then the stream is ended without
 * losing it; `lost` or `closed` follows with this error. */
void aw_socket_drain(aw_socket *socket, int error, int code, const char *why);

/* Ends at once with an upcall: `lost`, or `closed`. */
void aw_socket_end(aw_socket *socket, int error, int code, const char *why);

#endif
