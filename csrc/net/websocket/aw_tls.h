/* TLS 1.2 and 1.3 over OpenSSL, sans I/O: records in, plain bytes out, and the
 * other way round. OpenSSL allocates with its own allocator. */
#ifndef AW_TLS_H
#define AW_TLS_H

#include "aw_buf.h"
#include "aw_websocket.h"
#include <openssl/ssl.h>

#pragma GCC visibility push(hidden)

typedef struct aw_tls aw_tls;

/* A record carries at most this much more than it holds (RFC 8446 5.2); what
 * stands in front of unread records in a shared buffer must be this long so
 * that they can be decrypted in place: one whole record may be held back. */
#define AW_TLS_HEADROOM ((16u << 10) + 512)

/* Contexts are counted by OpenSSL: SSL_CTX_free drops this reference, and
 * connections keep their own. `options` may be NULL for a client. AW_E_INVALID
 * with *why: a file that cannot be used; AW_E_NOMEM. *why is static or lives
 * as long as OpenSSL's tables (for ever). */
int aw_tls_client_context(SSL_CTX **out, const aw_tls_options *options,
                          const char **why);
int aw_tls_server_context(SSL_CTX **out, const aw_tls_options *options,
                          const char **why);

/* One connection's state. A client checks the peer's certificate against
 * `name` (host name or address literal), unless its context is insecure; NULL
 * for a server. */
int aw_tls_new(aw_tls **out, const aw_mem *mem, SSL_CTX *context,
               const char *name);
void aw_tls_free(aw_tls *tls); /* NULL is accepted */

/* Records that came from the peer. Borrowed until aw_tls_unread is 0, which
 * aw_tls_read or aw_tls_handshake achieves by giving AW_E_AGAIN. */
void aw_tls_feed(aw_tls *tls, const char *bytes, size_t len);
size_t aw_tls_unread(const aw_tls *tls);

/* Records that wait to be sent; consumed by the caller. */
aw_buf *aw_tls_records(aw_tls *tls);

/* 0: done. AW_E_AGAIN: send the records, feed more. Else failed, see
 * aw_tls_why; the records hold an alert. AW_E_TLS_EXPIRED, AW_E_TLS_ISSUER,
 * AW_E_TLS_NAME: the peer's certificate; AW_E_TLS_REFUSED: the peer sent an
 * alert; AW_E_TLS_NONE: what came is not TLS; AW_E_TLS: anything else. */
int aw_tls_handshake(aw_tls *tls);

/* Decrypts up to `room` bytes. AW_E_AGAIN: all input was used. AW_E_CLOSED:
 * the peer said goodbye (close_notify). Else failed, as above. */
int aw_tls_read(aw_tls *tls, char *out, size_t room, size_t *got);

/* Encrypts `len` bytes into the records. Failures as above. */
int aw_tls_write(aw_tls *tls, const char *bytes, size_t len);

/* Appends close_notify to the records. */
void aw_tls_close(aw_tls *tls);

/* What went wrong ("certificate has expired"); lives as long as `tls`. */
const char *aw_tls_why(const aw_tls *tls);

/* RFC 4514 subject of the peer's verified certificate, or NULL. */
const char *aw_tls_subject(aw_tls *tls);

#pragma GCC visibility pop

#endif
