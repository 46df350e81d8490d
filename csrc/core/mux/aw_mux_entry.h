/* A message of ours that waits: in a scope's log, or in the control queue. */
#ifndef AW_MUX_ENTRY_H
#define AW_MUX_ENTRY_H

#include "aw_buf.h"
#include "aw_error.h"
#include <stdbool.h>
#include <stdint.h>

/* Capacity that an emptied log, inbox or queue keeps. */
#define AW_MUX_KEEP (32u << 10)
#define AW_MUX_TURN_MASK 0x7fffffffu /* turns count in 31 bits */

typedef struct aw_mux_entry aw_mux_entry;

/* Followed by the envelope's text, padded so that the next entry is aligned. */
struct aw_mux_entry {
  uint32_t len; /* of the text */
  uint32_t urgent : 1;
  uint32_t turn : 31; /* of the mux's, when it was written last */
};

/* Records in buffers are aligned to this. */
static inline size_t aw_mux_align(size_t size) {
  return (size + 7u) & ~(size_t)7u;
}

static inline size_t aw_mux_entry_size(const aw_mux_entry *entry) {
  return sizeof *entry + aw_mux_align(entry->len);
}

static inline const char *aw_mux_entry_text(const aw_mux_entry *entry) {
  return (const char *)(entry + 1);
}

static inline aw_mux_entry *aw_mux_entry_at(const aw_buf *buf, size_t offset) {
  return (aw_mux_entry *)(void *)(aw_buf_bytes(buf) + offset);
}

/* Begins an entry at the buffer's end; its text is what is appended then. */
static inline int aw_mux_entry_begin(aw_buf *buf) {
  int rc = aw_buf_reserve(buf, sizeof(aw_mux_entry));
  if (rc == AW_OK) {
    buf->tail += sizeof(aw_mux_entry);
  }
  return rc;
}

/* How long the text is of an entry that was begun at `offset`. */
static inline size_t aw_mux_entry_drafted(const aw_buf *buf, size_t offset) {
  return aw_buf_len(buf) - offset - sizeof(aw_mux_entry);
}

static inline int aw_mux_entry_finish(aw_buf *buf, size_t offset, bool urgent) {
  size_t len = aw_mux_entry_drafted(buf, offset);
  size_t padding = aw_mux_align(len) - len;
  int rc = aw_buf_reserve(buf, padding);
  if (rc == AW_OK) {
    buf->tail += padding;
    *aw_mux_entry_at(buf, offset) =
        (aw_mux_entry){.len = (uint32_t)len, .urgent = urgent};
  }
  return rc;
}

static inline void aw_mux_entry_cancel(aw_buf *buf, size_t offset) {
  buf->tail = buf->head + offset;
}

#endif
