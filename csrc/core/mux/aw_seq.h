/* One direction's counter of one scope: starts at 1, grows by exactly 1. */
#ifndef AW_SEQ_H
#define AW_SEQ_H

#include <stdint.h>

#define AW_SEQ_MAX 9007199254740991u /* 2^53-1: what every reader can hold */

typedef struct aw_seq aw_seq;

struct aw_seq {
  uint64_t last; /* the number given or accepted last; 0: none yet */
};

/* Judges an inbound number and, when it is the next one, takes it. Anything
 * else changes nothing: AW_E_INVALID_SEQUENCE (0), AW_E_DUPLICATE_SEQUENCE
 * (lower than expected), AW_E_SEQUENCE_GAP (higher). */
int aw_seq_accept(aw_seq *seq, uint64_t number);

/* The next outbound number, or 0 when the counter is used up. */
uint64_t aw_seq_next(aw_seq *seq);

#endif
