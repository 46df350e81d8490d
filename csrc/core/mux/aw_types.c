#include "aw_types.h"
#include "aw_error.h"
#include <stdint.h>
#include <string.h>

#define SLOTS (2u * AW_TYPES_MAX)

void aw_types_init(aw_types *types, const aw_mem *mem) {
  *types = (aw_types){.mem = mem};
}

void aw_types_fini(aw_types *types) {
  aw_mem_free(types->mem, types->slots);
  types->slots = NULL;
  types->count = 0;
}

/* The names come from our own protocols, so the hash needs no seed, and a few
 * letters tell them apart: a peer can only look up. */
static unsigned hash_name(const char *name, size_t len) {
  const unsigned char *letters = (const unsigned char *)name;
  uint32_t hash = (uint32_t)len;
  hash = hash * 31 + letters[0];
  hash = hash * 31 + letters[len / 2];
  hash = hash * 31 + letters[len / 4];
  return (hash * 31 + letters[len - 1]) % SLOTS;
}

static aw_type *find_slot(const aw_types *types, const char *name, size_t len) {
  unsigned at = hash_name(name, len);
  while (types->slots[at].len != 0) {
    aw_type *slot = &types->slots[at];
    if (slot->len == len && memcmp(slot->name, name, len) == 0) {
      return slot;
    }
    at = (at + 1) % SLOTS;
  }
  return &types->slots[at];
}

int aw_types_add(aw_types *types, const char *name, size_t len,
                 unsigned flags) {
  if (len == 0 || len > AW_TYPE_NAME_MAX) {
    return AW_E_INVALID;
  }
  if (types->slots == NULL) {
    types->slots = aw_mem_zero(types->mem, SLOTS, sizeof *types->slots);
    if (types->slots == NULL) {
      return AW_E_NOMEM;
    }
  }
  aw_type *slot = find_slot(types, name, len);
  if (slot->len == 0) {
    if (types->count == AW_TYPES_MAX) {
      return AW_E_LIMIT;
    }
    memcpy(slot->name, name, len);
    slot->len = (unsigned char)len;
    types->count++;
  }
  slot->flags |= flags;
  return AW_OK;
}

unsigned aw_types_flags(const aw_types *types, const char *name, size_t len) {
  if (types->slots == NULL || len == 0 || len > AW_TYPE_NAME_MAX) {
    return 0;
  }
  return find_slot(types, name, len)->flags;
}
