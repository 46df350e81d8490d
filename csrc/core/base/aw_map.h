/* A hash map from (kind, UUID) to a pointer: the scopes of one endpoint.
 * Seeded, because a peer chooses the ids. Open addressing, linear probing,
 * backward-shift deletion. Embedded. */
#ifndef AW_MAP_H
#define AW_MAP_H

#include "aw_mem.h"
#include "aw_uuid.h"

#pragma GCC visibility push(hidden)

typedef struct aw_map aw_map;
typedef struct aw_map_slot aw_map_slot;

struct aw_map {
  const aw_mem *mem;
  aw_map_slot *slots;
  size_t count, capacity; /* capacity is 0 or a power of two */
  size_t recent;          /* slot that was found last, whatever it holds now */
  uint64_t seed[2];
};

void aw_map_init(aw_map *map, const aw_mem *mem, const uint64_t seed[2]);
void aw_map_fini(aw_map *map); /* frees the table, not the values */

/* NULL when absent. What was asked for last costs least: messages of one scope
 * come in a row. */
void *aw_map_get(aw_map *map, int kind, const aw_uuid *id);

/* AW_E_EXISTS when present, AW_E_NOMEM leaves the map as it was. `value` must
 * not be NULL. */
int aw_map_put(aw_map *map, int kind, const aw_uuid *id, void *value);

/* Returns what was there, or NULL. */
void *aw_map_remove(aw_map *map, int kind, const aw_uuid *id);

/* Walks all values: start with *cursor = 0; NULL at the end. The map must not
 * change during the walk. */
void *aw_map_next(const aw_map *map, size_t *cursor);

#pragma GCC visibility pop

#endif
