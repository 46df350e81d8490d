/* What the makers of transports share: the life of one, and its upcalls. Only
 * a transport's own source includes this.
 *
 * A transport is counted: one for its owner (aw_transport_init gives it, the
 * kind's `free` drops it), one for each open libuv handle, one while a libuv
 * callback or a flush works on it. The last drop calls `release`, which frees
 * the memory. So `free` inside an upcall is nothing special, as long as every
 * callback that makes upcalls is bracketed:
 *
 *   aw_transport_hold(t);
 *   while (next message) {
 *     aw_transport_give_message(t, bytes, len);
 *     if (!aw_transport_alive(t)) break;
 *   }
 *   aw_transport_drop(t);
 *
 * Every give function does nothing once the transport has ended. */
#ifndef AW_TRANSPORT_IMPL_H
#define AW_TRANSPORT_IMPL_H
#include "aw_transport.h"
#pragma GCC visibility push(hidden)
/* A state never goes back. CLOSING: the end is decided, `closed` is owed. */
enum aw_transport_state {
  AW_TRANSPORT_OPENING,
  AW_TRANSPORT_OPEN,
  AW_TRANSPORT_CLOSING,
  AW_TRANSPORT_ENDED
};
/* Fills a zeroed base; one reference, state OPENING. */
void aw_transport_init(aw_transport *t, const aw_transport_ops *ops,
                       aw_loop *loop, const char *kind,
                       void (*release)(aw_transport *t));
void aw_transport_hold(aw_transport *t);
void aw_transport_drop(aw_transport *t);
/* For `free`: no upcall from now on, state ENDED. Drop the owner's reference
 * after this and after the handles were closed. */
void aw_transport_mute(aw_transport *t);
/* Neither ended nor freed. */
static inline bool aw_transport_alive(const aw_transport *t) {
  return t->state != AW_TRANSPORT_ENDED;
}

/* Gives `open` (OPENING becomes OPEN first). */
void aw_transport_give_open(aw_transport *t);

void aw_transport_give_message(aw_transport *t, char *bytes, size_t len);
void aw_transport_give_garbage(aw_transport *t, int error, const char *what);

/* A message above the limit, of which only the start was kept. */
void aw_transport_give_skipped(aw_transport *t, char *head, size_t len,
                               uint64_t whole);

/* Gives `closed` once; the state becomes ENDED before. NULL reason: "". */
void aw_transport_give_closed(aw_transport *t, int error, int code,
                              const char *reason);

/* So many bytes of a message that is not whole are held (0: none). May shed
 * this transport or others; makes no upcall. */
#define AW_TRANSPORT_PART_FREE (16u << 10) /* less is never shed */
void aw_transport_keeps(aw_transport *t, size_t bytes);

/* Ends a read: was it a flood? */
bool aw_transport_is_flooded(aw_transport *t);

/* `len` bytes came: counts them, notes the time. */
void aw_transport_received(aw_transport *t, size_t len);

/* The system took `len` bytes of the pending output; counts them, and gives
 * `writable` when that is owed and less than half the high water is left. */
void aw_transport_sent(aw_transport *t, size_t len);

#pragma GCC visibility pop

#endif
