/* A client and a server session of agentwire.v1, with the wires between. */
#ifndef MUX_PAIR_H
#define MUX_PAIR_H

#include "mux_kit.h"

typedef struct pair {
  kit kit;
  aw_mux_options client_options, server_options;
  aw_mux *client, *server;
  uint32_t client_generation, server_generation;
  wire up, down; /* client to server, server to client */
  uint64_t now_ms;
} pair;

/* Both endpoints, not connected. The options may be changed before. */
void pair_prepare(pair *p, const aw_mem *mem);
void pair_make(pair *p);
void pair_init(pair *p); /* prepare and make, with the default allocator */
void pair_fini(pair *p);
void pair_anew(pair *p); /* fini and prepare, for a test's own options */

/* Attaches the client, takes its hello to the server and writes the welcome;
 * nothing else is delivered. */
void pair_greet(pair *p);

/* Writes and delivers both ways until nothing moves; waits out deadlines. */
void pair_settle(pair *p);
void pair_connect(pair *p); /* greet and settle */

/* Loses what is in flight; both notice. */
void pair_cut(pair *p);

/* The server's process is another one: nothing is left of its session. */
void pair_restart_server(pair *p);

/* Lets time pass on both sides. */
void pair_wait(pair *p, unsigned ms);

/* The other end of a channel. */
aw_channel *pair_at_server(pair *p, const aw_channel *channel);
aw_channel *pair_at_client(pair *p, const aw_channel *channel);

/* Consumes all; the numbers have to go on from *last without a gap. */
void pair_consume(aw_channel *channel, uint64_t *last);

/* The messages of one type on a wire, and the nth of them. */
size_t pair_count(const wire *w, const char *type);
const char *pair_find(const wire *w, const char *type, size_t n);

/* The status that the newest welcome on the wire gives a scope; "" if none. */
const char *pair_status(const wire *w, const aw_uuid *id);

#endif
