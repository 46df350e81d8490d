#include "aw_buf.h"

#include "aw_error.h"
#include <stdint.h>

#define SIZE_FIRST 256

void aw_buf_init(aw_buf *buf, const aw_mem *mem) {
  buf->mem = mem;
  buf->data = NULL;
  buf->head = buf->tail = buf->size = 0;
}

void aw_buf_fini(aw_buf *buf) {
  aw_mem_free(buf->mem, buf->data);
  aw_buf_init(buf, buf->mem);
}

static void move_to_front(aw_buf *buf) {
  size_t len = aw_buf_len(buf);
  if (len > 0) {
    memmove(buf->data, buf->data + buf->head, len);
  }
  buf->head = 0;
  buf->tail = len;
}

static int grow(aw_buf *buf, size_t need) {
  size_t len = aw_buf_len(buf);
  size_t size = buf->size < SIZE_FIRST ? SIZE_FIRST : buf->size;
  char *data;
  while (size < need) {
    size = size > SIZE_MAX / 2 ? need : size * 2;
  }
  if (buf->head == 0) {
    data = aw_mem_realloc(buf->mem, buf->data, size);
    if (data == NULL) {
      return AW_E_NOMEM;
    }
  } else {
    data = aw_mem_alloc(buf->mem, size);
    if (data == NULL) {
      return AW_E_NOMEM;
    }
    memcpy(data, buf->data + buf->head, len);
    aw_mem_free(buf->mem, buf->data);
  }
  buf->data = data;
  buf->head = 0;
  buf->tail = len;
  buf->size = size;
  return AW_OK;
}

int aw_buf_make_room(aw_buf *buf, size_t extra) {
  size_t len = aw_buf_len(buf);
  if (extra > SIZE_MAX - len) {
    return AW_E_NOMEM;
  }
  /* A move must be paid for by the bytes consumed since the last one: moving
   * a full buffer for each consumed byte would be quadratic. */
  if (len + extra <= buf->size && buf->head >= buf->size / 4) {
    move_to_front(buf);
    return AW_OK;
  }
  return grow(buf, len + extra > buf->size ? len + extra : buf->size + 1);
}

int aw_buf_append(aw_buf *buf, const void *bytes, size_t len) {
  int rc = aw_buf_reserve(buf, len);
  if (rc == AW_OK && len > 0) {
    memcpy(buf->data + buf->tail, bytes, len);
    buf->tail += len;
  }
  return rc;
}

void aw_buf_consume(aw_buf *buf, size_t len) {
  if (len >= aw_buf_len(buf)) {
    buf->head = buf->tail = 0;
  } else {
    buf->head += len;
  }
}

void aw_buf_reset(aw_buf *buf, size_t keep) {
  buf->head = buf->tail = 0;
  if (buf->size > keep) {
    aw_buf_fini(buf);
  }
}
