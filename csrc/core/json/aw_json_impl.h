/* What the files of aw_json.h share. Private to them. */
#ifndef AW_JSON_IMPL_H
#define AW_JSON_IMPL_H

#include "aw_json.h"

#pragma GCC visibility push(hidden)

typedef struct aw_json_walk aw_json_walk;

/* Walks the unescaped bytes of a string that was scanned before. */
struct aw_json_walk {
  const char *p, *end;
  unsigned char pending[4];
  int first, last;
};

void aw_json_walk_init(aw_json_walk *w, const aw_json_token *token,
                       const char *text);
int aw_json_walk_next(aw_json_walk *w); /* -1 at the end */

/* Room for `extra` tokens after the last one. AW_E_NOMEM. */
int aw_json_tape_reserve(aw_json_tape *tape, uint32_t extra);

#pragma GCC visibility pop

#endif
