/* UTF-8 (RFC 3629) checked piece by piece, as fragments of a text bring it. */
#ifndef AW_UTF8_H
#define AW_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

#define AW_UTF8_START 0u /* between two characters; the state to begin with */
#define AW_UTF8_BAD 1u   /* a wrong byte was seen; final */

/* The state after `len` more bytes: AW_UTF8_START, AW_UTF8_BAD, or any other
 * value when the bytes end inside a character that may still become valid.
 * Overlong forms, surrogates and code points above U+10FFFF are wrong at the
 * first byte that rules every valid character out. */
uint32_t aw_utf8_check(uint32_t state, const char *bytes, size_t len);

/* Are all bytes below 0x80? */
bool aw_utf8_ascii(const char *bytes, size_t len);

#pragma GCC visibility pop

#endif
