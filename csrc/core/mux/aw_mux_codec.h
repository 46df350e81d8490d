/* A saved mux as bytes: primitives that write a value, or read it into its
 * place, whichever is under way. So what is saved and what is loaded cannot
 * differ.
 *
 * Numbers are written in groups of seven bits, lowest first, the last one
 * without the top bit; all else is made of them and of raw bytes. A seal of
 * eight bytes stands at the end, against damage. */
#ifndef AW_MUX_CODEC_H
#define AW_MUX_CODEC_H

#include "aw_buf.h"
#include "aw_error.h"
#include "aw_uuid.h"

#pragma GCC visibility push(hidden)

typedef struct aw_mux_codec aw_mux_codec;

/* The first failure sticks, and nothing is written or read after it; values
 * are then left as they are. */
struct aw_mux_codec {
  aw_buf *out;          /* NULL: loads */
  const char *at, *end; /* what is left to load */
  int rc;
  const char *why; /* of AW_E_INVALID and the like; static */
};

static inline bool aw_mux_codec_loads(const aw_mux_codec *c) {
  return c->out == NULL;
}

void aw_mux_codec_fail(aw_mux_codec *c, int rc, const char *why);

/* `most`: what is above that is AW_E_INVALID when it is loaded. */
void aw_mux_codec_u64(aw_mux_codec *c, uint64_t *value, uint64_t most);
void aw_mux_codec_u32(aw_mux_codec *c, uint32_t *value, uint32_t most);
void aw_mux_codec_int(aw_mux_codec *c, int *value, int least, int most);
void aw_mux_codec_i64(aw_mux_codec *c, int64_t *value);
void aw_mux_codec_bool(aw_mux_codec *c, bool *value);
void aw_mux_codec_uuid(aw_mux_codec *c, aw_uuid *id);
void aw_mux_codec_raw(aw_mux_codec *c, void *bytes, size_t len);

/* A count of items of which each takes a byte at least; 0 after a failure. */
void aw_mux_codec_count(aw_mux_codec *c, size_t *count);

/* `len` bytes with their length before them; loaded, a span of what is read. */
void aw_mux_codec_span(aw_mux_codec *c, const char **bytes, size_t *len);

/* Seals what was written from `start` on; checks the seal of what is to be
 * loaded, and takes it off the end. */
void aw_mux_codec_seal(aw_mux_codec *c, size_t start);

#pragma GCC visibility pop

#endif
