#include "aw_seq.h"
#include "aw_error.h"

int aw_seq_accept(aw_seq *seq, uint64_t number) {
  if (number == seq->last + 1) {
    seq->last = number;
    return AW_OK;
  }
  if (number == 0) {
    return AW_E_INVALID_SEQUENCE;
  }
  return number <= seq->last ? AW_E_DUPLICATE_SEQUENCE : AW_E_SEQUENCE_GAP;
}

uint64_t aw_seq_next(aw_seq *seq) {
  if (seq->last >= AW_SEQ_MAX) {
    return 0;
  }
  return ++seq->last;
}
