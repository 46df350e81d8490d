/* Random clients and a random owner over arrival and exchange: what the fuzzer
 * runs (tests/fuzz/fuzz_exchange.c) and, from a fixed seed, every run of the
 * tests. */
#ifndef EXCHANGE_WORLD_H
#define EXCHANGE_WORLD_H

#include <stddef.h>
#include <stdint.h>

/* One life; the bytes are its choices. Aborts when something is wrong: a
 * response that cannot be read, memory beyond what the limits allow, words
 * after the end. */
void exchange_world_run(const uint8_t *bytes, size_t len);

#endif
