#include "aw_map.h"

#include "aw_bytes.h"
#include "aw_error.h"

#define CAPACITY_FIRST 16

/* `hash` lets a probe skip foreign ids and a removal find their homes. */
struct aw_map_slot {
  void *value; /* NULL in an empty slot */
  aw_uuid id;
  int kind;
  uint32_t hash;
};

static uint64_t rotate(uint64_t x, int bits) {
  return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4]) {
  v[0] += v[1];
  v[1] = rotate(v[1], 13) ^ v[0];
  v[0] = rotate(v[0], 32);
  v[2] += v[3];
  v[3] = rotate(v[3], 16) ^ v[2];
  v[0] += v[3];
  v[3] = rotate(v[3], 21) ^ v[0];
  v[2] += v[1];
  v[1] = rotate(v[1], 17) ^ v[2];
  v[2] = rotate(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word) {
  v[3] ^= word;
  sip_round(v);
  v[0] ^= word;
}

/* SipHash-1-3 over three words: a peer that does not know the seed cannot
 * make its ids collide. */
static uint32_t hash_key(const aw_map *map, int kind, const aw_uuid *id) {
  uint64_t v[4] = {map->seed[0] ^ UINT64_C(0x736f6d6570736575),
                   map->seed[1] ^ UINT64_C(0x646f72616e646f6d),
                   map->seed[0] ^ UINT64_C(0x6c7967656e657261),
                   map->seed[1] ^ UINT64_C(0x7465646279746573)};
  sip_word(v, aw_load_le64(id->bytes));
  sip_word(v, aw_load_le64(id->bytes + 8));
  sip_word(v, (uint64_t)20 << 56 | (uint32_t)kind);
  v[2] ^= 0xFF;
  sip_round(v);
  sip_round(v);
  sip_round(v);
  return (uint32_t)(v[0] ^ v[1] ^ v[2] ^ v[3]);
}

void aw_map_init(aw_map *map, const aw_mem *mem, const uint64_t seed[2]) {
  map->mem = mem;
  map->slots = NULL;
  map->count = map->capacity = map->recent = 0;
  map->seed[0] = seed[0];
  map->seed[1] = seed[1];
}

void aw_map_fini(aw_map *map) {
  aw_mem_free(map->mem, map->slots);
  map->slots = NULL;
  map->count = map->capacity = map->recent = 0;
}

static bool holds(const aw_map_slot *slot, int kind, const aw_uuid *id) {
  return slot->value != NULL && slot->kind == kind &&
         aw_uuid_equal(&slot->id, id);
}

/* The slot that holds the key, or the empty one where it belongs. The table
 * is never full, so the walk ends. */
static aw_map_slot *find_slot(const aw_map *map, uint32_t hash, int kind,
                              const aw_uuid *id) {
  size_t mask = map->capacity - 1;
  size_t i = hash & mask;
  for (;;) {
    aw_map_slot *slot = &map->slots[i];
    if (slot->value == NULL || (slot->hash == hash && holds(slot, kind, id))) {
      return slot;
    }
    i = (i + 1) & mask;
  }
}

void *aw_map_get(aw_map *map, int kind, const aw_uuid *id) {
  if (map->count == 0) {
    return NULL;
  }
  aw_map_slot *slot = &map->slots[map->recent];
  if (!holds(slot, kind, id)) {
    slot = find_slot(map, hash_key(map, kind, id), kind, id);
    map->recent = (size_t)(slot - map->slots);
  }
  return slot->value;
}

static int grow(aw_map *map) {
  aw_map old = *map;
  if (old.capacity > SIZE_MAX / 2) {
    return AW_E_NOMEM;
  }
  map->capacity = old.capacity == 0 ? CAPACITY_FIRST : old.capacity * 2;
  map->slots = aw_mem_zero(map->mem, map->capacity, sizeof *map->slots);
  if (map->slots == NULL) {
    *map = old;
    return AW_E_NOMEM;
  }
  for (size_t i = 0; i < old.capacity; i++) {
    const aw_map_slot *slot = &old.slots[i];
    if (slot->value != NULL) {
      *find_slot(map, slot->hash, slot->kind, &slot->id) = *slot;
    }
  }
  aw_mem_free(map->mem, old.slots);
  return AW_OK;
}

int aw_map_put(aw_map *map, int kind, const aw_uuid *id, void *value) {
  uint32_t hash = hash_key(map, kind, id);
  if (map->count > 0 && find_slot(map, hash, kind, id)->value != NULL) {
    return AW_E_EXISTS;
  }
  if (map->count >= map->capacity / 4 * 3) {
    int rc = grow(map);
    if (rc != AW_OK) {
      return rc;
    }
  }
  aw_map_slot *slot = find_slot(map, hash, kind, id);
  slot->value = value;
  slot->id = *id;
  slot->kind = kind;
  slot->hash = hash;
  map->count++;
  return AW_OK;
}

void *aw_map_remove(aw_map *map, int kind, const aw_uuid *id) {
  size_t mask = map->capacity - 1;
  if (map->count == 0) {
    return NULL;
  }
  aw_map_slot *hole = find_slot(map, hash_key(map, kind, id), kind, id);
  void *value = hole->value;
  if (value == NULL) {
    return NULL;
  }
  /* An entry may fill the hole unless its home lies cyclically behind it. */
  size_t i = (size_t)(hole - map->slots);
  for (i = (i + 1) & mask; map->slots[i].value != NULL; i = (i + 1) & mask) {
    size_t distance = (i - map->slots[i].hash) & mask;
    if (distance >= ((i - (size_t)(hole - map->slots)) & mask)) {
      *hole = map->slots[i];
      hole = &map->slots[i];
    }
  }
  hole->value = NULL;
  map->count--;
  return value;
}

void *aw_map_next(const aw_map *map, size_t *cursor) {
  while (*cursor < map->capacity) {
    void *value = map->slots[(*cursor)++].value;
    if (value != NULL) {
      return value;
    }
  }
  return NULL;
}
