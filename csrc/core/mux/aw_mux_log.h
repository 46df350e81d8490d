/* The outbound log of one scope: what was numbered and is not acknowledged yet,
 * so that it can be written again after a reconnect. Embedded.
 *
 * Entries first .. last lie behind each other. Those before `next` were written
 * on this connection, and a peer may acknowledge them; the others were not. An
 * empty log has first == next == last + 1. */
#ifndef AW_MUX_LOG_H
#define AW_MUX_LOG_H

#include "aw_mux_entry.h"
#include <stdbool.h>

#pragma GCC visibility push(hidden)

typedef struct aw_mux_log aw_mux_log;

/* Read-only for others, but for what they append to `bytes` between begin and
 * finish. */
struct aw_mux_log {
  aw_buf bytes;               /* the entries, and behind them a draft */
  size_t size;                /* of the entries */
  uint64_t first, next, last; /* numbers */
  size_t next_at, last_at;    /* where those entries begin, if they are there */
  uint64_t numbered;          /* length of all texts since the scope began */
  uint64_t unwritten;         /* ... of those from `next` on */
  size_t folded;              /* size of the first entry if it is a state that
                                 stands for all before it, or 0 */
  size_t urgent;              /* length of the urgent texts in the log */
  uint64_t urgent_last;       /* number of the last urgent message, or 0 */
};

void aw_mux_log_init(aw_mux_log *log, const aw_mem *mem);
void aw_mux_log_fini(aw_mux_log *log);

static inline bool aw_mux_log_is_empty(const aw_mux_log *log) {
  return log->first > log->last;
}

static inline size_t aw_mux_log_count(const aw_mux_log *log) {
  return (size_t)(log->last + 1 - log->first);
}

/* Appends in two steps: begin, append the envelope's text to log->bytes, then
 * finish or cancel. begin gives the number that it gets. AW_E_LIMIT: numbers
 * are used up. AW_E_NOMEM, of both, leaves the log as it was; after finish the
 * draft is still there. A draft that was begun before is gone. */
int aw_mux_log_begin(aw_mux_log *log, uint64_t *number);
int aw_mux_log_finish(aw_mux_log *log, bool urgent);
void aw_mux_log_cancel(aw_mux_log *log);

/* The length of the draft's text so far. */
static inline size_t aw_mux_log_drafted(const aw_mux_log *log) {
  return aw_mux_entry_drafted(&log->bytes, log->size);
}

/* The newest entry stands for all before it, which are dropped. It is urgent: a
 * peer reads it behind a gap, and its credit ends before that. Returns the
 * bytes freed. */
size_t aw_mux_log_fold(aw_mux_log *log);

/* The next entry to be written, or NULL; then step over it. */
static inline const aw_mux_entry *aw_mux_log_next(const aw_mux_log *log) {
  return log->next > log->last ? NULL
                               : aw_mux_entry_at(&log->bytes, log->next_at);
}
void aw_mux_log_step(aw_mux_log *log, uint32_t turn);

/* Must the next entry go out whatever the credit? An abort takes along all that
 * was numbered before it: order is never given up. */
static inline bool aw_mux_log_is_urgent(const aw_mux_log *log) {
  return log->next <= log->urgent_last;
}

/* Walks all entries, oldest first: the first, the one behind another; NULL at
 * the end. */
const aw_mux_entry *aw_mux_log_first(const aw_mux_log *log);
const aw_mux_entry *aw_mux_log_after(const aw_mux_log *log,
                                     const aw_mux_entry *entry);

/* Drops entries up to and including `sequence`, as far as they were written;
 * returns the bytes freed. */
size_t aw_mux_log_trim(aw_mux_log *log, uint64_t sequence);

/* The entry behind `received` is written next. False, and nothing is changed,
 * when the log does not reach back that far, or was never that far. */
bool aw_mux_log_rewind(aw_mux_log *log, uint64_t received);

/* Drops all entries; numbers go on. Returns the bytes freed. */
size_t aw_mux_log_clear(aw_mux_log *log);

/* For who loads a log: of a new one, the number that the first entry gets. Then
 * entries are appended as ever, and stamped with the turn in which they were
 * written last. */
void aw_mux_log_place(aw_mux_log *log, uint64_t first);
void aw_mux_log_stamp(aw_mux_log *log, uint32_t turn); /* the newest */

/* What entries do not tell. */
typedef struct aw_mux_log_rest {
  uint64_t next, numbered, urgent_last;
  bool folded;
} aw_mux_log_rest;

/* False: it does not fit the entries. */
bool aw_mux_log_restore(aw_mux_log *log, const aw_mux_log_rest *rest);

#pragma GCC visibility pop

#endif
