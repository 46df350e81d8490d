/* A growing byte buffer, consumed from the front. Embedded. */
#ifndef AW_BUF_H
#define AW_BUF_H

#include "aw_error.h"
#include "aw_mem.h"
#include <string.h>

#pragma GCC visibility push(hidden)

typedef struct aw_buf aw_buf;

/* Live bytes are data[head .. tail). Public so that hot paths can write in
 * place after aw_buf_reserve; change the fields only through the functions. */
struct aw_buf {
  const aw_mem *mem;
  char *data;
  size_t head, tail, size;
};

void aw_buf_init(aw_buf *buf, const aw_mem *mem);
void aw_buf_fini(aw_buf *buf); /* frees; the buffer may be used again */

/* For aw_buf_reserve: there is no room yet. */
int aw_buf_make_room(aw_buf *buf, size_t extra);

/* Room for `extra` bytes after tail; moves live bytes to the front before it
 * grows, and grows by doubling. AW_E_NOMEM leaves the buffer as it was. */
static inline int aw_buf_reserve(aw_buf *buf, size_t extra) {
  return extra <= buf->size - buf->tail ? 0 : aw_buf_make_room(buf, extra);
}

/* Appends one byte. */
static inline int aw_buf_put(aw_buf *buf, char byte) {
  int rc = aw_buf_reserve(buf, 1);
  if (rc == AW_OK) {
    buf->data[buf->tail++] = byte;
  }
  return rc;
}

int aw_buf_append(aw_buf *buf, const void *bytes, size_t len);

/* Drop `len` (at most all) bytes from the front; an empty buffer rewinds. */
void aw_buf_consume(aw_buf *buf, size_t len);

/* Empties. Keeps at most `keep` bytes of capacity, frees the block above it. */
void aw_buf_reset(aw_buf *buf, size_t keep);

static inline size_t aw_buf_len(const aw_buf *buf) {
  return buf->tail - buf->head;
}

static inline char *aw_buf_bytes(const aw_buf *buf) {
  return buf->data + buf->head; /* undefined while empty and never used */
}

#pragma GCC visibility pop

#endif
