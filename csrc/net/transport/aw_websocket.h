/* WebSocket client and server, on the loop, as transports. Which engine does
 * it is one source file; this header is the same for every engine. */
#ifndef AW_WEBSOCKET_H
#define AW_WEBSOCKET_H

#include "aw_exchange.h"
#include "aw_transport.h"

#pragma GCC visibility push(hidden)

typedef struct aw_tls_options aw_tls_options;
typedef struct aw_websocket_options aw_websocket_options;
typedef struct aw_listener aw_listener;
typedef struct aw_listener_options aw_listener_options;
typedef struct aw_upgrade aw_upgrade;

#define AW_WEBSOCKET_HANDSHAKE_MS 10000

#define AW_PROTOCOL_EXTENDED "agentwire.v1"
#define AW_PROTOCOL_BASE "makai.v1"

struct aw_tls_options {
  const char *ca_file;   /* PEM; NULL: the system's store */
  const char *cert_file; /* PEM chain; server: required; client: optional */
  const char *key_file;
  bool verify_peer; /* server: demand a client certificate */
  bool insecure;    /* client: accept anything (tests, never a default) */
  const char *name; /* client: name to check and send as SNI; NULL: host */
};

struct aw_websocket_options {
  const char *url;       /* ws://, wss:// or ws+unix: */
  const char *protocols; /* NULL: "agentwire.v1, makai.v1" */
  const char *headers;   /* whole lines with CRLF, or NULL */
  const char *host;      /* Host header in place of the URL's, or NULL */
  const char *proxy; /* http://user:password@host:port to CONNECT by, or NULL */
  const aw_tls_options *tls; /* only with wss://; NULL: defaults */
  size_t message_max;        /* 0: AW_TRANSPORT_MESSAGE_MAX */
  unsigned handshake_ms;     /* until open; 0: 10000 */
  unsigned ping_interval_ms; /* silence before a ping; 0: 15000 */
  unsigned ping_deadline_ms; /* further silence before the end; 0: 15000 */
};

/* Starts connecting; names are resolved off the loop's thread. `open` or
 * `closed` follows. AW_E_INVALID with *why for a bad URL or TLS file. The
 * options are copied. */
int aw_websocket_connect(aw_loop *loop, const aw_websocket_options *options,
                         aw_transport **out, const char **why);

/* A client's valid request for a connection, parked until its owner answers.
 * The owner is whoever got it by `requested`, and has to call aw_upgrade_free
 * exactly once, at any time, even after the listener or the loop is gone. The
 * connection may be lost meanwhile, or its handshake deadline may pass (the
 * client gets 503 then): the object stays, everything in it can still be read,
 * and an answer gives AW_E_CLOSED. Strings live as long as the object. */

/* The connection goes on: `accepted` follows from a later turn of the loop,
 * and the transport has this identity (NULL: nobody's; the caller keeps its
 * reference). AW_E_CLOSED: nobody waits for an answer any more. */
int aw_upgrade_accept(aw_upgrade *upgrade, aw_identity *identity);

/* Answers with an HTTP status of 400 to 599 and one line of text. AW_E_CLOSED
 * as above; AW_E_INVALID for another status. */
int aw_upgrade_refuse(aw_upgrade *upgrade, int status, const char *why);

/* Frees. One that was not answered is refused with 503. NULL is accepted. */
void aw_upgrade_free(aw_upgrade *upgrade);

/* Does anybody still wait for an answer? */
bool aw_upgrade_waits(const aw_upgrade *upgrade);

/* A pointer of the owner's; NULL at first. */
void aw_upgrade_set_user(aw_upgrade *upgrade, void *user);
void *aw_upgrade_user(const aw_upgrade *upgrade);

const char *aw_upgrade_peer(const aw_upgrade *upgrade); /* without port */
/* "/path?query" in the form of aw_http_normal_path, also of a request that
 * named the whole URL. */
const char *aw_upgrade_target(const aw_upgrade *upgrade);

/* Subject of the verified client certificate (RFC 4514), or NULL. */
const char *aw_upgrade_tls_subject(const aw_upgrade *upgrade);

/* The first header of this name, compared without case; not NUL-terminated.
 * NULL when absent. */
const char *aw_upgrade_header(const aw_upgrade *upgrade, const char *name,
                              size_t *len);

/* Header number `index`, counted from 0, as it came; false past the last. */
struct aw_upgrade_field {
  const char *name, *value; /* not NUL-terminated */
  size_t name_len, value_len;
};
typedef struct aw_upgrade_field aw_upgrade_field;
bool aw_upgrade_headers(const aw_upgrade *upgrade, unsigned index,
                        aw_upgrade_field *field);

/* Connections, those that shake hands included. */
#define AW_LISTENER_CONNECTIONS_MAX 10000
/* Connections above a limit that are told so (503, 429) at the same time;
 * further ones are just closed, so that refusing costs little. */
#define AW_LISTENER_REFUSALS_MAX 64

struct aw_listener_options {
  /* ws://127.0.0.1:7450/path, port 0: any; other paths get 404. Or
   * ws+unix:/file:/path; a file that nobody listens at any more is replaced,
   * and removed with the listener. */
  const char *url;
  bool any_path;             /* every path is served, whatever the URL's */
  const char *protocols;     /* NULL: both; picked in this order */
  const aw_tls_options *tls; /* needed for wss://, and only there */
  size_t message_max;
  size_t head_max; /* 0: AW_HTTP_HEAD_MAX */
  unsigned handshake_ms, ping_interval_ms, ping_deadline_ms;
  unsigned connections_max; /* 0: AW_LISTENER_CONNECTIONS_MAX; then 503 */
  unsigned per_address_max; /* 0: no limit; then 429. IPv6 counts by /64 */
  int backlog;              /* 0: 511 */
  const char *host;         /* to bind to in place of the URL's; NULL: that */
  /* Networks with commas between them ("10.0.0.0/8, ::1"), and "unix" for who
   * comes by a Unix socket: a request from there is its X-Forwarded-For's, for
   * the peer's name and per_address_max. NULL: nobody is believed. */
  const char *trusted_proxies;
  bool reuse_port; /* SO_REUSEPORT: several processes share the port */
  int socket_mode; /* of a Unix socket's file; 0: 0600 */
  /* Of requests that are no upgrades; 0: AW_EXCHANGE_BODY_MAX and so on. */
  size_t body_max;
  unsigned stall_ms, keep_alive_ms;
};

struct aw_listener_sink {
  /* An open, upgraded connection. Set its sink before returning; messages
   * follow from the next turn of the loop on. */
  void (*accepted)(void *user, aw_transport *t);
  /* The listener has failed for good; it still has to be freed. */
  void (*closed)(void *user, int error, const char *reason);
  /* May be NULL: every valid request is accepted. Else each is given here to
   * be answered, now or later; see aw_upgrade. An engine that cannot park a
   * request gives AW_E_UNSUPPORTED from aw_listener_new when this is set. */
  void (*requested)(void *user, aw_upgrade *upgrade);
  /* May be NULL: nobody waits any more for the answer to a request that was
   * given above and not answered or freed: the client has gone, its time has
   * passed, or the listener is freed (then from inside aw_listener_free).
   * Freeing the upgrade here is legal. */
  void (*withdrawn)(void *user, aw_upgrade *upgrade);
  /* May be NULL: what is no upgrade is answered with 426 (405, ...). Else each
   * such request is given here, of whatever path, and owned: see aw_exchange.h.
   * Nobody was asked who it is: `requested` is about upgrades alone.
   * Everything that may be done with it is legal inside. An engine that cannot
   * serve them gives AW_E_UNSUPPORTED from aw_listener_new. */
  void (*request)(void *user, aw_exchange *exchange);
};
typedef struct aw_listener_sink aw_listener_sink;

/* AW_E_IO with *why: address in use, no permission, ... */
int aw_listener_new(aw_loop *loop, const aw_listener_options *options,
                    const aw_listener_sink *sink, void *user, aw_listener **out,
                    const char **why);

unsigned aw_listener_port(const aw_listener *listener);

/* The address that it is bound to, without the port: "127.0.0.1". */
const char *aw_listener_address(const aw_listener *listener);

/* New certificates (or a new client CA) for connections accepted from now on;
 * open ones keep theirs. AW_E_INVALID with *why for files that cannot be used,
 * AW_E_UNSUPPORTED for a ws:// listener: nothing has changed then. */
int aw_listener_reload_tls(aw_listener *listener, const aw_tls_options *tls,
                           const char **why);

/* Stops accepting. Open transports and exchanges go on, upgrades that wait are
 * dropped. `closed` is not called. NULL is accepted. */
void aw_listener_free(aw_listener *listener);

#pragma GCC visibility pop

#endif
