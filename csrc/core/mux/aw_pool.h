/* What the sessions of one server hold together, and its bounds: their logs,
 * and what came in and was not taken yet. One pool for all of them, counted by
 * reference: a connection may outlive whoever made the pool. */
#ifndef AW_POOL_H
#define AW_POOL_H

#include "aw_mem.h"
#include "aw_queue.h"
#include <stdbool.h>
#include <stddef.h>

#pragma GCC visibility push(hidden)

typedef struct aw_pool aw_pool;

/* Fields are read-only but for those who count: aw_mux, and the transports for
 * messages that are not whole. */
struct aw_pool {
  const aw_mem *mem;
  unsigned refs;
  size_t members;            /* muxes */
  size_t log_bytes, log_max; /* outbound logs */
  size_t in_bytes, in_max;   /* inboxes, scopes, unfinished messages */
  aw_queue waiting;          /* muxes that wait for room in the logs */
  aw_queue unfinished;       /* transports that hold part of a message, the
                                one that began first in front */
};

/* One reference; NULL when out of memory. */
aw_pool *aw_pool_new(const aw_mem *mem, size_t log_max, size_t in_max);
void aw_pool_hold(aw_pool *pool);
void aw_pool_drop(aw_pool *pool);

/* Up to half of a bound everybody takes what there is; above it nobody takes
 * more than an equal share of the other half. So that who comes late, and who
 * holds little, finds room whatever the others do. */
static inline bool aw_pool_has_room(size_t used, size_t max, size_t members,
                                    size_t own) {
  return used <= max / 2 ||
         (used < max && own < max / 2 / (members > 0 ? members : 1));
}

/* Have senders that waited for the pool's room any now? */
static inline bool aw_pool_is_due(const aw_pool *pool) {
  return pool != NULL && !aw_queue_empty(&pool->waiting) &&
         pool->log_bytes <= pool->log_max / 2;
}

#pragma GCC visibility pop

#endif
