/* Strict JSON (RFC 8259): one pass over the text gives a tape of tokens; the
 * values stay in the text. And the writer's primitives. */
#ifndef AW_JSON_H
#define AW_JSON_H

#include "aw_buf.h"
#include <stdbool.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

#define AW_JSON_DEPTH 128 /* default; recursion-free, so only the tape pays */
#define AW_JSON_DEPTH_MAX 1024
#define AW_JSON_VALUES (1u << 18) /* of one message: a value each 64 bytes */
#define AW_JSON_VALUES_MAX (1u << 24)

enum aw_json_kind {
  AW_JSON_NULL,
  AW_JSON_FALSE,
  AW_JSON_TRUE,
  AW_JSON_INTEGER, /* no fraction, no exponent */
  AW_JSON_REAL,
  AW_JSON_STRING,
  AW_JSON_ARRAY,
  AW_JSON_OBJECT
};

typedef struct aw_json_token aw_json_token;
typedef struct aw_json_tape aw_json_tape;
typedef struct aw_json_error aw_json_error;

/* One value. An object's members are key token (a string), value token(s),
 * key token, ... A container's first child is the token after it. */
struct aw_json_token {
  uint32_t start; /* offset of the first byte; strings: after the quote */
  uint32_t len;   /* bytes in the text; strings: without the quotes */
  uint32_t next;  /* index of the token after this value and all below it */
  uint32_t kind : 4;
  uint32_t escaped : 1; /* a string that holds a backslash */
  uint32_t count : 27;  /* elements or members; saturates */
};

/* A reusable array of tokens; embedded. */
struct aw_json_tape {
  const aw_mem *mem;
  aw_json_token *tokens;
  uint32_t count, size;
  uint32_t max; /* tokens that a scan may make; 0 (as init sets it): any */
};

struct aw_json_error {
  int code;         /* AW_E_JSON_* or AW_E_NOMEM */
  size_t offset;    /* byte where the text went wrong */
  const char *what; /* static: "expected ':' after a key", ... */
};

void aw_json_tape_init(aw_json_tape *tape, const aw_mem *mem);
void aw_json_tape_fini(aw_json_tape *tape);

/* Scans one whole text (at most UINT32_MAX bytes) strictly: RFC 8259 grammar,
 * valid UTF-8, no lone surrogate escapes, no control characters in strings, no
 * number beyond a double's range,
 * no BOM, no text after the value, no duplicate key in the top-level object
 * (deeper ones are the reader's affair; the last wins), nesting up to
 * max_depth (a scalar is depth 0, `[]` depth 1; above AW_JSON_DEPTH_MAX is
 * AW_E_INVALID), no more tokens than tape->max (AW_E_JSON_VALUES). Fills the
 * tape from index 0. Returns 0 or error->code; after a failure the tape holds
 * what was complete before it, and a container that was open then has a `next`
 * that is lower than its own index. The tape does not point into the text;
 * offsets do. */
int aw_json_scan(aw_json_tape *tape, const char *text, size_t len,
                 unsigned max_depth, aw_json_error *error);

/* Scans the value that starts at text[at], as part of a text whose other tokens
 * have the indices below `first`: fills the tape from there on. *end is the
 * offset behind the value; what follows is not looked at, duplicate keys are
 * the reader's affair. AW_E_*, with no word of why. */
int aw_json_scan_part(aw_json_tape *tape, uint32_t first, const char *text,
                      size_t len, size_t at, unsigned max_depth, size_t *end);

/* Finds a member of the object at tokens[object]; returns the index of its
 * value or 0 when absent (0 is never a member's value). Keys are compared
 * unescaped; the last of duplicates wins. */
uint32_t aw_json_member(const aw_json_token *tokens, uint32_t object,
                        const char *text, const char *key, size_t key_len);

/* True when the string token's value is exactly these bytes. */
bool aw_json_equal(const aw_json_token *token, const char *text,
                   const char *bytes, size_t len);

/* Writes the unescaped bytes of a string token to `out`, which has room for
 * token->len bytes (unescaping never grows) and may be the token's own place
 * in the text. Returns the length. */
size_t aw_json_unescape(const aw_json_token *token, const char *text,
                        char *out);

/* An INTEGER token as int64. AW_E_LIMIT when it does not fit. "-0" is 0. */
int aw_json_int64(const aw_json_token *token, const char *text, int64_t *out);

/* Any number token as a double, correctly rounded, independent of the locale.
 * What a scan has passed is finite; other overflow gives +-HUGE_VAL. */
double aw_json_double(const aw_json_token *token, const char *text);

/* Writer. All append to `out`; AW_E_NOMEM leaves a partial value behind. */

/* A quoted string, escaping only what RFC 8259 section 7 demands. Bytes that
 * are not valid UTF-8 give AW_E_JSON_UTF8 and append nothing. */
int aw_json_put_string(aw_buf *out, const char *bytes, size_t len);

/* A member's name, with the bracket or comma before it and the colon behind it;
 * fails as a string does. */
int aw_json_put_name(aw_buf *out, char before, const char *name, size_t len);

/* The value in digits that end before `end`, at most AW_JSON_DIGITS; returns
 * the first. */
#define AW_JSON_DIGITS 20
char *aw_json_digits(char *end, uint64_t value);

int aw_json_put_int64(aw_buf *out, int64_t value);

/* The shortest of %.15g, %.16g, %.17g that reads back the same, in any locale
 * with a decimal point, always with '.', 'e' or both absent only for integral
 * values below 1e15, which get ".0" appended so that a float stays a float.
 * AW_E_JSON_NUMBER for infinities and NaN. */
int aw_json_put_double(aw_buf *out, double value);

/* Is the text valid UTF-8 (no overlong forms, no surrogates, <= U+10FFFF)? */
bool aw_utf8_valid(const char *text, size_t len);

#pragma GCC visibility pop

#endif
