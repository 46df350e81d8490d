/* What the random worlds have in common: choices that are read from bytes, and
 * demands. Needs no test library, so that a fuzzer can be behind a world. */
#ifndef WORLD_KIT_H
#define WORLD_KIT_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* When the bytes are used up, each further choice is 0. */
typedef struct world_choices {
  const uint8_t *bytes;
  size_t left;
} world_choices;

static inline unsigned world_choose(world_choices *choices) {
  if (choices->left == 0) {
    return 0;
  }
  choices->left--;
  return *choices->bytes++;
}

/* What does not hold aborts. */
static inline void demand(int holds) {
  if (!holds) {
    abort();
  }
}

#endif
