/* The agentwire.v1 extension (docs/wire.md section 7): hello, welcome, flow,
 * gap. How a session survives its connections. */
#ifndef AW_RESUME_H
#define AW_RESUME_H

#include "aw_mux.h"

#define AW_HELLO_PAGE 256 /* scopes in one hello or welcome */
#define AW_FLOW_PAGE 256
#define AW_FLOW_DELAY_MS 50 /* the longest an acknowledgement waits */
#define AW_FLOW_MESSAGES 64 /* ... or this many messages of a scope */
#define AW_EPOCH_TEXT 32    /* hex digits of an epoch */
#define AW_KEY_BYTES 16

typedef struct aw_hello aw_hello;
typedef struct aw_hello_scope aw_hello_scope;

struct aw_hello_scope {
  enum aw_kind kind;
  aw_uuid id;
  uint64_t received;
  aw_credit limit;
  uint64_t sent_first, sent_last;
  aw_uuid birth; /* id of the opening message; nil when absent */
};

/* What a client says of its session when it connects; collected page by page.
 * Embedded. */
struct aw_hello {
  const aw_mem *mem;
  aw_json_tape tape;
  aw_uuid connection_id;
  uint8_t key[AW_KEY_BYTES];
  char epoch[AW_EPOCH_TEXT + 1]; /* "" when absent */
  uint64_t max_inbound_bytes;
  aw_limits limits; /* what the client takes */
  uint64_t attempt; /* counts the client's hellos; 0 when absent */
  aw_hello_scope *scopes;
  size_t count, size, scopes_max;
  bool begun;
};

void aw_hello_init(aw_hello *hello, const aw_mem *mem, size_t scopes_max);
void aw_hello_fini(aw_hello *hello);

/* The first message(s) of an extended connection. 0: complete. AW_E_AGAIN:
 * more pages follow. AW_E_REFUSED: not a valid hello (close with 4003).
 * AW_E_LIMIT: more scopes than a session may have. AW_E_NOMEM. */
int aw_hello_read(aw_hello *hello, char *text, size_t len, const char **why);

/* Is this the first message of an agentwire.v1 client? For transports that
 * can only offer the extension (stdio). Cheap, looks at the start alone. */
bool aw_hello_is(const char *text, size_t len);

/* Is this hello older than one that was accepted? It was held up on a
 * connection that its client has long given up: whoever takes connections for
 * the session closes it and leaves the present one alone. */
bool aw_mux_is_stale(const aw_mux *mux, const aw_hello *hello);

/* Attaches a connection to the server's session that the hello asks for: an
 * old one, or a new mux. `epoch` names this life of the server; a new mux adds
 * its own part to it, because a session that was given up and made anew has
 * lost its logs as well. Queues the welcome; older generations are dead from
 * now on. AW_E_CLOSED: abandoned, or the hello is stale; the present connection
 * goes on. AW_E_NOMEM: this connection is dead, the session is not. */
int aw_mux_accept(aw_mux *mux, const aw_hello *hello, const char *epoch,
                  uint32_t *generation);

/* The client's connection id and generation, for logs and tests. */
const aw_uuid *aw_mux_connection_id(const aw_mux *mux);

#endif
