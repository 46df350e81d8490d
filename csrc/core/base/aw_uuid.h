/* UUIDs (RFC 9562): 16 raw bytes inside, 36 characters on the wire. */
#ifndef AW_UUID_H
#define AW_UUID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

#define AW_UUID_TEXT 36 /* characters, without a NUL */

typedef struct aw_uuid aw_uuid;
typedef struct aw_random aw_random;

struct aw_uuid {
  uint8_t bytes[16];
};

/* A fast generator (xoshiro256**) for message ids: unique, not secret. Keys
 * and everything that must not be guessed come from the system's entropy. */
struct aw_random {
  uint64_t state[4];
};

/* Expands 32 bytes of entropy; an all-zero seed is replaced. */
void aw_random_seed(aw_random *random, const uint8_t seed[32]);
uint64_t aw_random_next(aw_random *random);

/* A fresh version 4 UUID. */
void aw_uuid_make(aw_uuid *out, aw_random *random);

/* 36 characters, hyphens at 8/13/18/23, hex in either case, any version bits,
 * nil allowed. AW_E_INVALID otherwise (`out` untouched). */
int aw_uuid_parse(aw_uuid *out, const char *text, size_t len);

/* Lower case, no NUL. */
void aw_uuid_format(const aw_uuid *id, char out[AW_UUID_TEXT]);

bool aw_uuid_equal(const aw_uuid *a, const aw_uuid *b);
bool aw_uuid_is_nil(const aw_uuid *id);

#pragma GCC visibility pop

#endif
