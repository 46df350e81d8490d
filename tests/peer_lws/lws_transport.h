/* One WebSocket connection on libwebsockets, as a transport: what client and
 * server have in common. libwebsockets shakes hands, parses and answers pings;
 * messages are assembled here, and frames are built here and given to it
 * ready-made, a turn's worth in one write. */
#ifndef LWS_TRANSPORT_H
#define LWS_TRANSPORT_H

#include "aw_buf.h"
#include "aw_error.h"
#include "aw_transport_impl.h"
#include "aw_websocket.h"
#include "lws_context.h"

#define AW_LWS_REASON_MAX 124 /* a close frame's 123 bytes and a NUL */
#define AW_LWS_PEER_MAX 64    /* "[" IPv6 "]:65535" */

typedef struct aw_lws_conn aw_lws_conn;
typedef struct aw_lws_role aw_lws_role;

/* What differs between the two sides. Until the connection is open. */
struct aw_lws_role {
  /* A callback of libwebsockets that belongs to the opening handshake. Its
   * result is libwebsockets'. */
  int (*handle)(aw_lws_conn *conn, enum lws_callback_reasons reason, void *in,
                size_t len);
  void (*flush)(aw_lws_conn *conn); /* in each flush */
  /* OpenSSL's verdict on the peer's certificate; a client's only. */
  void (*verdict)(aw_lws_conn *conn, X509_STORE_CTX *store, bool good);
  /* The connection was lost before it was open. */
  void (*lost)(aw_lws_conn *conn, struct lws *wsi, const char *why);
  /* No more callbacks: let go of what is not needed after the end. */
  void (*ended)(aw_lws_conn *conn);
  void (*release)(aw_lws_conn *conn); /* frees the memory of the whole */
};

struct aw_lws_conn {
  aw_transport base;
  const aw_lws_role *role;
  aw_lws *lws;
  struct lws *wsi; /* NULL: none yet, or let go */
  aw_flush flush;
  uv_timer_t timer; /* the handshake's deadline, then pings, then the end's */
  aw_buf out;       /* frames not yet given to libwebsockets */
  aw_buf message;   /* of an incomplete message */
  size_t given;     /* bytes that libwebsockets may hold */
  size_t message_max;
  unsigned handshake_ms, ping_interval_ms, ping_deadline_ms;
  unsigned fragments;
  uint32_t utf8;   /* between the chunks of an incomplete message */
  unsigned inside; /* depth of callbacks of libwebsockets */
  bool has_timer, pinged;
  bool drop;           /* the callback that runs ends the connection */
  bool paused, halted; /* what was asked for, what libwebsockets knows */
  bool unowned;        /* nobody knows it yet: freed at its end */
  bool ready;          /* the handshake is done */
  bool answered;       /* the peer's close frame has come */
  bool decided;        /* the three below say how it will have ended */
  int end_error, end_code;
  char end_reason[AW_LWS_REASON_MAX];
  char peer[AW_LWS_PEER_MAX];
  char protocol[AW_LWS_PROTOCOL_MAX]; /* "" for none */
};

/* Of the options, with the defaults put in. */
void aw_lws_conn_limits(aw_lws_conn *conn, size_t message_max,
                        unsigned handshake_ms, unsigned ping_interval_ms,
                        unsigned ping_deadline_ms);

/* Fills a zeroed one and starts the handshake's deadline. */
void aw_lws_conn_init(aw_lws_conn *conn, aw_lws *lws, const aw_lws_role *role,
                      bool is_server);

/* The handshake is done and conn->protocol set: fills the info, starts pings.
 * The caller makes the transport open. */
void aw_lws_conn_ready(aw_lws_conn *conn);

/* Sends a close frame and ends with this when the peer has answered it. */
void aw_lws_conn_fail(aw_lws_conn *conn, int error, int code,
                      const char *reason);

/* Ends now. */
void aw_lws_conn_end(aw_lws_conn *conn, int error, int code,
                     const char *reason);

/* Have its flush run. */
void aw_lws_conn_wake(aw_lws_conn *conn);

/* "127.0.0.1:40312" */
void aw_lws_format_address(const struct sockaddr *address,
                           char text[AW_LWS_PEER_MAX]);

/* Keeps `ping_ms` of silence from being taken for a quiet peer for a quarter
 * of an hour when the network lost it, and Nagle from waiting. */
void aw_lws_tune(int fd, unsigned ping_ms);

#endif
