/* The check for keys that are there twice. Private to aw_json.c. */
#ifndef AW_JSON_KEYS_H
#define AW_JSON_KEYS_H

#include "aw_json.h"

#pragma GCC visibility push(hidden)

/* Sets *key to the first key token of the object at tokens[0] that repeats an
 * earlier one, or to 0. May grow the tape: AW_E_NOMEM. */
int aw_json_duplicate_key(aw_json_tape *tape, const char *text, uint32_t *key);

#pragma GCC visibility pop

#endif
