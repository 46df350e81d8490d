/* What libwebsockets does not do for TLS: options that are checked before the
 * first connection, a name to check that is not the Host, reasons that say
 * why, and writes that raise no SIGPIPE. */
#ifndef LWS_TLS_H
#define LWS_TLS_H

#include "aw_websocket.h"
#include "lws_context.h"

typedef struct aw_lws_security aw_lws_security;

/* One client connection's TLS. Embedded. */
struct aw_lws_security {
  aw_node node;      /* in lws->securing while the handshake may start */
  struct lws **wsi;  /* the connection's */
  X509_STORE *store; /* whom to trust */
  char *cert_file, *key_file;
  char *name; /* to check and to send */
  bool insecure;
  const char *why; /* static: what went wrong, or NULL */
  bool refused;    /* by us: the certificate is no good */
};

/* Makes lws->client_ctx and lws->bio. AW_E_NOMEM. */
int aw_lws_tls_start(aw_lws *lws);

/* AW_E_INVALID with *why for a file that cannot be used. */
int aw_lws_security_init(aw_lws_security *security, const aw_mem *mem,
                         const aw_tls_options *options, const char *host,
                         const char **why);
void aw_lws_security_fini(aw_lws_security *security, const aw_mem *mem);

/* A listener's certificate and demands. AW_E_INVALID with *why. */
int aw_lws_server_ctx(const aw_tls_options *options, SSL_CTX **out,
                      const char **why);

/* For an SSL_CTX that libwebsockets makes SSLs of. */
void aw_lws_tls_adopt(SSL_CTX *ctx, aw_lws *lws);

/* The verdict of OpenSSL on one certificate of the chain. */
void aw_lws_tls_verdict(aw_lws_security *security, X509_STORE_CTX *store,
                        bool good);

#endif
