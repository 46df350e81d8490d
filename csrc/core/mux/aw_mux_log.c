#include "aw_mux_log.h"
#include "aw_envelope.h"
#include "aw_error.h"

void aw_mux_log_init(aw_mux_log *log, const aw_mem *mem) {
  *log = (aw_mux_log){.first = 1, .next = 1};
  aw_buf_init(&log->bytes, mem);
}

void aw_mux_log_fini(aw_mux_log *log) {
  aw_buf_fini(&log->bytes);
}

int aw_mux_log_begin(aw_mux_log *log, uint64_t *number) {
  if (log->last >= AW_SEQ_MAX) {
    return AW_E_LIMIT;
  }
  aw_mux_log_cancel(log);
  *number = log->last + 1;
  return aw_mux_entry_begin(&log->bytes);
}

int aw_mux_log_finish(aw_mux_log *log, bool urgent) {
  size_t len = aw_mux_log_drafted(log);
  int rc = aw_mux_entry_finish(&log->bytes, log->size, urgent);
  if (rc != AW_OK) {
    return rc;
  }
  log->last_at = log->size;
  log->size = aw_buf_len(&log->bytes);
  log->last++;
  log->numbered += len;
  log->unwritten += len;
  if (urgent) {
    log->urgent += len;
    log->urgent_last = log->last;
  }
  return AW_OK;
}

void aw_mux_log_cancel(aw_mux_log *log) {
  aw_mux_entry_cancel(&log->bytes, log->size);
}

/* All entries before `offset` go. */
static void consume(aw_mux_log *log, size_t offset) {
  aw_buf_consume(&log->bytes, offset);
  log->size -= offset;
  log->next_at -= offset;
  log->last_at -= offset;
}

size_t aw_mux_log_fold(aw_mux_log *log) {
  size_t freed = log->last_at;
  log->next_at = log->last_at;
  consume(log, freed);
  log->folded = log->size;
  log->first = log->next = log->urgent_last = log->last;
  aw_mux_entry *state = aw_mux_entry_at(&log->bytes, 0);
  state->urgent = 0; /* counted by its place, not by its length */
  log->unwritten = state->len;
  log->urgent = 0;
  return freed;
}

void aw_mux_log_step(aw_mux_log *log, uint32_t turn) {
  aw_mux_entry *entry = aw_mux_entry_at(&log->bytes, log->next_at);
  entry->turn = turn & AW_MUX_TURN_MASK;
  log->next_at += aw_mux_entry_size(entry);
  log->unwritten -= entry->len;
  log->next++;
}

const aw_mux_entry *aw_mux_log_first(const aw_mux_log *log) {
  return log->size == 0 ? NULL : aw_mux_entry_at(&log->bytes, 0);
}

const aw_mux_entry *aw_mux_log_after(const aw_mux_log *log,
                                     const aw_mux_entry *entry) {
  size_t offset = (size_t)((const char *)entry - aw_buf_bytes(&log->bytes)) +
                  aw_mux_entry_size(entry);
  return offset == log->size ? NULL : aw_mux_entry_at(&log->bytes, offset);
}

size_t aw_mux_log_trim(aw_mux_log *log, uint64_t sequence) {
  size_t freed = 0;
  while (log->first <= sequence && log->first < log->next) {
    const aw_mux_entry *entry = aw_mux_entry_at(&log->bytes, freed);
    freed += aw_mux_entry_size(entry);
    log->urgent -= entry->urgent ? entry->len : 0;
    log->first++;
  }
  if (freed == 0) {
    return 0;
  }
  log->folded = 0;
  consume(log, freed);
  if (aw_buf_len(&log->bytes) == 0) {
    aw_buf_reset(&log->bytes, AW_MUX_KEEP);
  }
  return freed;
}

bool aw_mux_log_rewind(aw_mux_log *log, uint64_t received) {
  if (received + 1 < log->first || received > log->last) {
    return false;
  }
  size_t at = 0;
  for (uint64_t n = log->first; n <= received; n++) {
    at += aw_mux_entry_size(aw_mux_entry_at(&log->bytes, at));
  }
  log->next_at = at;
  log->next = received + 1;
  log->unwritten = 0;
  while (at < log->size) {
    const aw_mux_entry *entry = aw_mux_entry_at(&log->bytes, at);
    log->unwritten += entry->len;
    at += aw_mux_entry_size(entry);
  }
  return true;
}

size_t aw_mux_log_clear(aw_mux_log *log) {
  size_t freed = log->size;
  aw_buf_reset(&log->bytes, 0);
  log->size = log->next_at = log->last_at = 0;
  log->first = log->next = log->last + 1;
  log->unwritten = 0;
  log->folded = log->urgent = 0;
  return freed;
}

void aw_mux_log_place(aw_mux_log *log, uint64_t first) {
  log->first = log->next = first;
  log->last = first - 1;
}

void aw_mux_log_stamp(aw_mux_log *log, uint32_t turn) {
  aw_mux_entry_at(&log->bytes, log->last_at)->turn = turn & AW_MUX_TURN_MASK;
}

bool aw_mux_log_restore(aw_mux_log *log, const aw_mux_log_rest *rest) {
  if (rest->next < log->first || !aw_mux_log_rewind(log, rest->next - 1) ||
      rest->numbered < log->numbered || rest->urgent_last > log->last ||
      (rest->folded && aw_mux_log_is_empty(log))) {
    return false;
  }
  log->numbered = rest->numbered;
  log->urgent_last = rest->urgent_last;
  log->folded =
      rest->folded ? aw_mux_entry_size(aw_mux_entry_at(&log->bytes, 0)) : 0;
  return true;
}
