/* The line with which a server on lines opens a link (docs/wire.md section 1).
 * Private to the transports that carry lines. */
#ifndef AW_READY_H
#define AW_READY_H

#include "aw_mem.h"
#include <stdbool.h>

#pragma GCC visibility push(hidden)

/* The ready line of a server, without its end. */
const char *aw_ready_line(bool extended);

/* Is this line a ready line? Unknown keys are ignored, an absent version reads
 * as 1. 0: yes; *extended: the server offers agentwire.v1. AW_E_INVALID_REQUEST
 * when it is something else. AW_E_VERSION_MISMATCH. AW_E_NOMEM. */
int aw_ready_parse(const aw_mem *mem, const char *bytes, size_t len,
                   bool *extended);

#pragma GCC visibility pop

#endif
