/* Client contexts of a loop, one for each configuration: reading the system's
 * store takes tens of milliseconds, during which the loop stands. */
#ifndef AW_TLS_CACHE_H
#define AW_TLS_CACHE_H

#include "aw_loop.h"
#include "aw_tls.h"

#pragma GCC visibility push(hidden)

/* Configurations that are kept; one more takes the place of the one that was
 * used longest ago. */
#define AW_TLS_CACHE_MAX 8

/* As aw_tls_client_context; the caller has a reference of its own. A file that
 * has changed since (time, size or inode) is read again. Kept contexts are
 * dropped with the loop. */
int aw_tls_shared_context(SSL_CTX **out, aw_loop *loop,
                          const aw_tls_options *options, const char **why);

#pragma GCC visibility pop

#endif
