/* libwebsockets on one loop: the contexts, which are made on first use and live
 * as long as the loop. libwebsockets itself is kept out of the host's way: its
 * log is silenced (lws_set_log_level is process-wide; a host that uses
 * libwebsockets too and wants its log has to set the level again after the
 * first connection), SIGPIPE's disposition is restored, the environment's
 * http_proxy is ignored. */
#ifndef LWS_CONTEXT_H
#define LWS_CONTEXT_H

#include "aw_loop.h"
#include <libwebsockets.h>
#include <openssl/ssl.h>

/* Frames per read of libwebsockets; also what one read takes at most. */
#define AW_LWS_BUFFER (64u << 10)
/* Request and response heads; one value for a context, so head_max of a
 * listener has no effect here. */
#define AW_LWS_HEAD_MAX 8192
/* Connections in a small context. Its tables have this many places and are
 * searched from the front for each event; those of a full context are indexed
 * by descriptor and take 16 bytes for each that `ulimit -n` allows. */
#define AW_LWS_SMALL 62
/* Replaces the timeouts in seconds of libwebsockets, which are not the ones
 * that our options promise. */
#define AW_LWS_NEVER_S (1 << 23)
/* Masks are drawn from the system's entropy in blocks (RFC 6455 5.3). */
#define AW_LWS_ENTROPY 4096
#define AW_LWS_PROTOCOL_MAX 64 /* of a subprotocol's name, with a NUL */

typedef struct aw_lws aw_lws;
typedef struct aw_lws_context aw_lws_context;

/* One virtual host serves clients and all listeners, with TLS and without.
 * libwebsockets 4.1.6 moves a connection by its Host header and its server name
 * to any other virtual host that has the same port, and all that do not listen
 * have the same; so a listener's certificate is not its virtual host's, but is
 * put in place when the handshake starts (lws_tls.c). */
struct aw_lws_context {
  aw_lws *lws;
  struct lws_context *context; /* NULL: not made yet */
  struct lws_vhost *vhost;
  const uv_handle_t *own[8]; /* its handles that last until it is destroyed */
  unsigned own_count;
  unsigned used; /* clients in it */
};

struct aw_lws {
  aw_loop *loop;
  const aw_mem *mem;
  aw_local local;
  aw_flush flush; /* of kicks */
  unsigned kicks;
  aw_lws_context small, full;
  aw_queue securing;   /* clients that may start a TLS handshake */
  SSL_CTX *client_ctx; /* NULL until the first context */
  SSL_CTX *accepting;  /* of the listener whose connection is being adopted */
  BIO_METHOD *bio;
  uint8_t entropy[AW_LWS_ENTROPY];
  size_t entropy_left;
  char protocol[AW_LWS_PROTOCOL_MAX]; /* see lws_server.c */
};

/* The one of this loop. AW_E_NOMEM. */
int aw_lws_get(aw_loop *loop, aw_lws **out);

/* A context with room for one more connection; NULL when there is none or it
 * cannot be made. A server always gets the full one. */
aw_lws_context *aw_lws_pick(aw_lws *lws, bool server);

/* To be called after everything that made libwebsockets change what it waits
 * for, from outside its callbacks: libuv tells the kernel in its next turn,
 * which a host would otherwise not know to start. */
void aw_lws_kick(aw_lws *lws);

/* Four unpredictable bytes. AW_E_IO. */
int aw_lws_mask(aw_lws *lws, uint8_t mask[4]);

/* In lws_transport.c. */
int aw_lws_callback(struct lws *wsi, enum lws_callback_reasons reason,
                    void *user, void *in, size_t len);

/* A failed connect leaves its poll handle behind, stopped but open, because
 * libwebsockets closes the descriptor first and then takes the connection for
 * one without. Called when `wsi` has lost its descriptor that way. */
void aw_lws_reap(aw_lws *lws, struct lws *wsi);

#endif
