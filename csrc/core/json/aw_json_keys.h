/* Keys as values: unescaped byte by byte, and the check for duplicates.
 * Private to the JSON files of the core. */
#ifndef AW_JSON_KEYS_H
#define AW_JSON_KEYS_H

#include "aw_json.h"

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

/* Sets *key to the first key token of the object at tokens[0] that repeats an
 * earlier one, or to 0. May grow the tape: AW_E_NOMEM. */
int aw_json_duplicate_key(aw_json_tape *tape, const char *text, uint32_t *key);

#endif
