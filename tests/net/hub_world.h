/* A server with tiny limits, its owner, and peers that do anything: connect,
 * greet as this session or that, again, late and in halves, open scopes, flood,
 * cut, take over. What they do is read from bytes, so that a fuzzer or a random
 * generator can be behind it. Needs no test library: what does not hold
 * aborts. */
#ifndef HUB_WORLD_H
#define HUB_WORLD_H

#include <stddef.h>
#include <stdint.h>

/* Lives one life of the world; two bytes are one step of it. */
void hub_world_run(const uint8_t *bytes, size_t len);

#endif
