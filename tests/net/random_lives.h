/* Plays a random world for a while in every run of the tests. */
#ifndef RANDOM_LIVES_H
#define RANDOM_LIVES_H

#include <stddef.h>
#include <stdint.h>

/* 4000 lives, or as many as begin within `seconds`, whose choices come from a
 * seed that is the same each time. */
void random_lives(void (*run)(const uint8_t *bytes, size_t len), uint8_t seed,
                  unsigned seconds);

#endif
