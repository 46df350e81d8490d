/* WebSocket masking (RFC 6455 section 5.3); private to aw_ws. */
#ifndef AW_WS_MASK_H
#define AW_WS_MASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/* to[i] = from[i] ^ mask[i mod 4]: masks and unmasks. `to` is `from` or does
 * not overlap it. True when every byte written is ASCII: asking in the same
 * pass spares most text a second one. */
bool aw_ws_mask(char *to, const char *from, size_t len, const uint8_t mask[4]);

#pragma GCC visibility pop

#endif
