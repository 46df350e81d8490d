/* Reading a client's hello, the first word on each connection of agentwire.v1
 * (docs/wire.md section 7). */
#ifndef AW_MUX_HELLO_H
#define AW_MUX_HELLO_H

#include "aw_mux.h"

#pragma GCC visibility push(hidden)

#define AW_HELLO_PAGE 256 /* scopes in one hello or welcome */

typedef struct aw_hello_scope aw_hello_scope;

struct aw_hello_scope {
  enum aw_kind kind;
  aw_uuid id;
  uint64_t received;
  aw_credit limit;
  uint64_t sent_first, sent_last;
  aw_uuid opening_id; /* id of the opening message; nil when absent */
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

#pragma GCC visibility pop

#endif
