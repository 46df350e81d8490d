/* What every limit on things at once has in common: as many as it says can be
 * there, one more is refused and harms nothing, what ends makes room, and
 * nothing is counted that is not there: done often enough, one after the other,
 * a place that never comes back shows. */
#ifndef LIMIT_KIT_H
#define LIMIT_KIT_H

#include <stdbool.h>

typedef struct limit {
  unsigned most;
  /* Begins one, in a place from 0 to `most`. False: it was refused, for this
   * limit. */
  bool (*begin)(unsigned place);
  /* Ends it, and waits until it is gone. */
  void (*end)(unsigned place);
  unsigned (*count)(void); /* of those that are there */
} limit;

/* There are none at first, and none afterwards. */
void limit_check(const limit *of);

#endif
