/* The way most envelopes come: as aw_envelope_write makes them, each byte of
 * the header known before it is read. Private to aw_envelope.c. */
#ifndef AW_ENVELOPE_PLAIN_H
#define AW_ENVELOPE_PLAIN_H

#include "aw_envelope.h"

#pragma GCC visibility push(hidden)

/* 0: read, as aw_envelope_read would have. AW_E_NOMEM. Any other error says
 * nothing of the text, not even that it is wrong. */
int envelope_read_plain(aw_envelope *out, aw_json_tape *tape, const char *text,
                        size_t len, unsigned max_depth);

#pragma GCC visibility pop

#endif
