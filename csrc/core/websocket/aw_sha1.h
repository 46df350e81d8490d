/* SHA-1 (FIPS 180-4) and base64 (RFC 4648): what the WebSocket handshake needs
 * and nothing else may trust. Private to aw_http. */
#ifndef AW_SHA1_H
#define AW_SHA1_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

#define AW_SHA1_SIZE 20

void aw_sha1(const void *bytes, size_t len, unsigned char digest[AW_SHA1_SIZE]);

/* Writes 4 characters for each 3 bytes begun, padded, no NUL. */
void aw_base64(const unsigned char *bytes, size_t len, char *out);

#pragma GCC visibility pop

#endif
