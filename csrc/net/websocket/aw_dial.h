/* A connected stream to a host: its name is resolved off the loop's thread, its
 * addresses are tried one beside the other until one answers (RFC 8305). */
#ifndef AW_DIAL_H
#define AW_DIAL_H

#include "aw_stream.h"

#pragma GCC visibility push(hidden)

typedef struct aw_dial aw_dial;
typedef struct aw_dial_options aw_dial_options;
typedef struct aw_dial_sink aw_dial_sink;

struct aw_dial_options {
  const char *host; /* a name or an address */
  unsigned port;
  const struct sockaddr_storage *file; /* a Unix socket in place of a host */
  const char *role; /* behind an address in a reason: ", the proxy"; or "" */
};

/* The end, exactly once and only from the loop, unless it is cancelled. The
 * dial is gone before the call. */
struct aw_dial_sink {
  /* The stream is the sink's; it has no sink of its own yet. */
  void (*connected)(void *user, aw_stream *stream,
                    const struct sockaddr *address);
  /* AW_E_NOT_FOUND, AW_E_REFUSED, AW_E_TIMEOUT, AW_E_IO; what the last address
   * that was tried said. */
  void (*failed)(void *user, int error, const char *why);
};

/* Starts in the next turn of the loop. The strings of `options` are copied, but
 * for `role`, which is static. AW_E_NOMEM. */
int aw_dial_new(aw_dial **out, aw_loop *loop, const aw_dial_options *options,
                const aw_dial_sink *sink, void *user);

/* What it does now: "resolving the name", "connecting". Static. */
const char *aw_dial_phase(const aw_dial *dial);

/* Ends at once, without an upcall. Legal until the end has come, also from
 * inside of nobody's upcall. NULL is accepted. */
void aw_dial_cancel(aw_dial *dial);

#pragma GCC visibility pop

#endif
