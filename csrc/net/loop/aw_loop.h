/* The one event loop of a host: a libuv loop and what is due on it.
 *
 * Embedding contract, enough for every host:
 *   fd          becomes readable when step has something to do
 *   timeout_ms  the longest time until step must be called anyway
 *   step        does all that is due, never blocks
 * Work that is made between two turns (a send, a close, a cut from a callback
 * of the foreign loop) rings a bell: fd becomes readable, so that no host has
 * to be nudged. Between enter and leave the bell is silent, for whoever turns
 * the loop looks by itself before it blocks.
 * Nothing in here calls the application back. What happened is queued as
 * "ready" sources, which the application takes with aw_loop_ready. */
#ifndef AW_LOOP_H
#define AW_LOOP_H

#include "aw_mem.h"
#include "aw_queue.h"
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#pragma GCC visibility push(hidden)

typedef struct aw_loop aw_loop;
typedef struct aw_source aw_source;
typedef struct aw_flush aw_flush;
typedef struct aw_teardown aw_teardown;
typedef struct aw_local aw_local;

/* Embedded in whatever the application waits for (connection, listener,
 * timer, process). `events` is a bit set that the owner defines. */
struct aw_source {
  aw_node node;
  aw_loop *loop;
  unsigned events;
  void *user; /* the binding's handle */
};

/* Embedded in whatever gathers output during a turn. `run` is called once per
 * turn, before the loop blocks, for each aw_flush that was marked. */
struct aw_flush {
  aw_node node;
  void (*run)(aw_flush *flush);
};

/* Embedded in what outlives its owner for a while (a child that has yet to be
 * reaped): `run` is called by aw_loop_free for each that is still registered.
 */
struct aw_teardown {
  aw_node node;
  void (*run)(aw_teardown *teardown);
};

/* Embedded in what is kept once for each loop: a cache, a client's pool of
 * connections. `key` is the address of something static of its owner's, so that
 * no two owners have the same. `drop` is called by aw_loop_free, after the
 * teardowns, of the youngest first; handles may still be closed in it. */
struct aw_local {
  aw_node node;
  const void *key;
  void (*drop)(aw_local *local);
};

int aw_loop_new(aw_loop **out, const aw_mem *mem);

/* Closes every libuv handle that is still open, runs the loop until all close
 * callbacks have come, frees. The owners of transports and connections have to
 * have closed them before. */
void aw_loop_free(aw_loop *loop);

const aw_mem *aw_loop_mem(const aw_loop *loop);
uv_loop_t *aw_loop_uv(aw_loop *loop);

/* Milliseconds, monotonic: as of the start of the turn, and as of this moment,
 * which is what counts for whoever waits from here on. The host may have been
 * away from the loop for long, and a task may have had its turn to itself. */
uint64_t aw_loop_now(const aw_loop *loop);
uint64_t aw_loop_clock(aw_loop *loop);

/* Starts a timer, from this moment on; between two turns the bell rings. */
void aw_loop_arm(aw_loop *loop, uv_timer_t *timer, uv_timer_cb run,
                 uint64_t delay_ms);

int aw_loop_fd(const aw_loop *loop);

/* -1: only the fd counts. 0: call step now (output waits, sources are ready).
 */
int aw_loop_timeout_ms(const aw_loop *loop);

/* Flush, run what is due without blocking, flush. */
void aw_loop_step(aw_loop *loop);

/* As step, but blocks until something happened or timeout_ms passed (-1: no
 * limit). Returns at once when a source is ready already. Returns false when
 * nothing is left that could ever happen (no active libuv handle). */
bool aw_loop_wait(aw_loop *loop, int timeout_ms);

/* The turn of an application: what is marked or raised between these two does
 * not ring. They nest; the last leave rings if work is left, and one
 * too many does nothing. */
void aw_loop_enter(aw_loop *loop);
void aw_loop_leave(aw_loop *loop);

/* Makes fd readable until the next step, outside of a turn; inside of one it
 * does nothing. One write for any number of calls between two turns. For the
 * application's own work that step cannot know of. */
void aw_loop_ring(aw_loop *loop);

/* The next ready source, or NULL; *events are its events, cleared by this. */
aw_source *aw_loop_ready(aw_loop *loop, unsigned *events);

void aw_source_init(aw_source *source, aw_loop *loop, void *user);
void aw_source_raise(aw_source *source, unsigned events);
void aw_source_fini(aw_source *source); /* forget pending events */

/* Have `flush` run before the loop blocks next. Cheap when marked already. */
void aw_loop_mark(aw_loop *loop, aw_flush *flush);

/* The aw_loop_wait that runs now, or the next, does not block (any more):
 * something happened that its caller wants to see, without a source having
 * been raised. */
void aw_loop_nudge(aw_loop *loop);

/* Have `teardown` run by aw_loop_free, unless its node was removed before. */
void aw_loop_at_free(aw_loop *loop, aw_teardown *teardown);

/* Keeps `local` until the loop is freed, or its node is removed; its key must
 * not be in use. Finding gives NULL when nothing is kept by that key. */
void aw_loop_keep(aw_loop *loop, aw_local *local);
aw_local *aw_loop_find(const aw_loop *loop, const void *key);

/* One shared receive buffer: valid within one read callback only. */
#define AW_LOOP_READ_BUFFER (256u << 10)
char *aw_loop_read_buffer(aw_loop *loop);

/* 32 bytes from the system's entropy source. AW_E_IO when there is none. */
int aw_loop_entropy(void *out, size_t len);

#pragma GCC visibility pop

#endif
