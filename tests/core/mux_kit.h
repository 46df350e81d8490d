/* Two endpoints without a network: protocols with few types, wires that are
 * lists of messages, and shorthands that assert. */
#ifndef MUX_KIT_H
#define MUX_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "aw_error.h"
#include "aw_mux.h"
#include "aw_mux_hello.h"
#include <string.h>

/* What every test's protocols are made of: "open" opens, "end" ends, "error"
 * may be numbered 0, "ping" floats; agent and tool ids can be opened anew. */
typedef struct kit {
  const aw_mem *mem;
  aw_types types[AW_KIND_SCOPES];
  uint8_t seeds; /* each mux gets another */
} kit;

void kit_init(kit *k, const aw_mem *mem); /* AW_E_NOMEM is a failed test */
void kit_fini(kit *k);
aw_mux_options kit_options(kit *k, bool is_client);
aw_mux *kit_mux(kit *k, const aw_mux_options *options);

/* Messages on their way, oldest first. From the C library's allocator. */
typedef struct wire {
  char **texts;
  size_t first, count, size;
} wire;

void wire_fini(wire *w);
void wire_put(wire *w, const char *text, size_t len);
size_t wire_len(const wire *w);
const char *wire_at(const wire *w, size_t index);
char *wire_take(wire *w); /* the caller frees; NULL when empty */
void wire_drop(wire *w);  /* loses everything */

/* Everything the mux has to say now, at most `room` bytes. */
void kit_write(aw_mux *mux, wire *out, size_t room);

/* Receives all that is on the wire; the first error ends it and is returned.
 */
int kit_deliver(aw_mux *mux, uint32_t generation, wire *in);

/* Collects the hello that leads the wire and accepts it. */
int kit_accept(aw_mux *server, wire *in, const char *epoch,
               uint32_t *generation);

/* Sends a payload; 0 or begin's or commit's error. */
int kit_send(aw_channel *channel, const char *type, const char *payload);
int kit_send_urgent(aw_channel *channel);
int kit_send_control(aw_mux *mux, enum aw_kind kind, const aw_uuid *id,
                     const char *type);
void kit_sends(aw_channel *channel, const char *type, unsigned count);
/* Sends notes until one has no room; how many went. */
unsigned kit_fill(aw_channel *channel, const char *payload);

/* Opens a scope with its opening message. */
aw_channel *kit_open(aw_mux *mux, enum aw_kind kind, const aw_uuid *id);
aw_uuid kit_id(unsigned n);

/* Consumes the oldest message; its sequence, or 0 when there is none. */
uint64_t kit_consume(aw_channel *channel);
unsigned kit_consume_all(aw_channel *channel);

/* Polls one channel; fails when another or none has news. Returns events. */
unsigned kit_events(aw_mux *mux, const aw_channel *channel);
void kit_no_events(aw_mux *mux);
unsigned kit_poll_all(aw_mux *mux); /* how many had news */

/* An envelope as a peer would send it. */
void kit_say(wire *w, const char *key, const aw_uuid *id, const char *type,
             uint64_t sequence, const char *payload);
int kit_hear(aw_mux *mux, uint32_t generation, const char *text);

#endif
