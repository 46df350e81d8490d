#include "aw_json.h"

#include "aw_bytes.h"
#include "aw_error.h"
#include "aw_json_impl.h"
#include "aw_json_keys.h"
#include <math.h>

#define NONE UINT32_MAX
#define COUNT_MAX ((1u << 27) - 1)
#define TAPE_FIRST 64
/* No number of this length without an exponent, or with one of fewer than three
 * characters behind the e, comes near 1.8e308. */
#define FINITE_DIGITS 200
#define FINITE_EXPONENT 4

typedef struct scan scan;

/* While a container is open, its token's `next` holds the index of the one
 * around it: the stack costs nothing, and closing overwrites it. */
struct scan {
  aw_json_tape *tape;
  aw_json_error *error;
  const char *text, *end;
  uint32_t open;
  unsigned depth, max_depth;
};

void aw_json_tape_init(aw_json_tape *tape, const aw_mem *mem) {
  *tape = (aw_json_tape){.mem = mem};
}

void aw_json_tape_fini(aw_json_tape *tape) {
  uint32_t max = tape->max;
  aw_mem_free(tape->mem, tape->tokens);
  aw_json_tape_init(tape, tape->mem);
  tape->max = max;
}

int aw_json_tape_reserve(aw_json_tape *tape, uint32_t extra) {
  size_t need = (size_t)tape->count + extra;
  size_t size = tape->size == 0 ? TAPE_FIRST : tape->size;
  aw_json_token *tokens;
  if (need <= tape->size) {
    return AW_OK;
  }
  while (size < need) {
    size *= 2;
  }
  if (size > tape->max && tape->max >= need) {
    size = tape->max; /* so that a scan meets its limit when the tape is full */
  }
  /* UINT32_MAX is no index: it stands for "none". */
  if (size > UINT32_MAX) {
    size = UINT32_MAX;
  }
  if (need > size || size > SIZE_MAX / sizeof *tokens) {
    return AW_E_NOMEM;
  }
  tokens = aw_mem_realloc(tape->mem, tape->tokens, size * sizeof *tokens);
  if (tokens == NULL) {
    return AW_E_NOMEM;
  }
  tape->tokens = tokens;
  tape->size = (uint32_t)size;
  return AW_OK;
}

static const char *fail(scan *s, int code, const char *at, const char *what) {
  s->error->code = code;
  s->error->offset = (size_t)(at - s->text);
  s->error->what = what;
  return NULL;
}

static const char *truncated(scan *s, const char *what) {
  return fail(s, AW_E_JSON_TRUNCATED, s->end, what);
}

static bool grow(scan *s, const char *at) {
  aw_json_tape *tape = s->tape;
  if (tape->max != 0 && tape->count >= tape->max) {
    fail(s, AW_E_JSON_VALUES, at, "too many values");
    return false;
  }
  if (aw_json_tape_reserve(tape, 1) != AW_OK) {
    fail(s, AW_E_NOMEM, at, "out of memory");
    return false;
  }
  return true;
}

static inline aw_json_token *push(scan *s, enum aw_json_kind kind,
                                  const char *start, const char *end) {
  aw_json_tape *tape = s->tape;
  if (tape->count == tape->size && !grow(s, start)) {
    return NULL;
  }
  aw_json_token *token = &tape->tokens[tape->count++];
  token->start = (uint32_t)(start - s->text);
  token->len = (uint32_t)(end - start);
  token->next = tape->count;
  token->kind = kind;
  token->escaped = 0;
  token->count = 0;
  return token;
}

static inline const char *skip_space(const char *p, const char *end) {
  while (p < end && (unsigned char)*p <= ' ' &&
         (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) {
    p++;
  }
  return p;
}

/* The four digits after "\u"; p is behind the 'u'. */
static const char *scan_hex4(scan *s, const char *p, unsigned *out) {
  *out = 0;
  for (int i = 0; i < 4; i++, p++) {
    int digit;
    if (p == s->end) {
      return truncated(s, "text ends inside an escape");
    }
    digit = aw_hex_value(*p);
    if (digit < 0) {
      return fail(s, AW_E_JSON_ESCAPE, p, "expected four hex digits");
    }
    *out = *out << 4 | (unsigned)digit;
  }
  return p;
}

/* A high surrogate was read: its other half must follow as an escape. */
static const char *scan_low_surrogate(scan *s, const char *p,
                                      const char *first) {
  unsigned code = 0;
  if (p == s->end || (*p == '\\' && p + 1 == s->end)) {
    return truncated(s, "text ends inside an escape");
  }
  if (p[0] != '\\' || p[1] != 'u') {
    return fail(s, AW_E_JSON_ESCAPE, first, "lone surrogate escape");
  }
  p = scan_hex4(s, p + 2, &code);
  if (p != NULL && (code < 0xDC00 || code > 0xDFFF)) {
    return fail(s, AW_E_JSON_ESCAPE, first, "lone surrogate escape");
  }
  return p;
}

/* p is at the backslash. */
static const char *scan_escape(scan *s, const char *p) {
  const char *first = p++;
  unsigned code = 0;
  if (p == s->end) {
    return truncated(s, "text ends inside an escape");
  }
  switch (*p++) {
  case '"':
  case '\\':
  case '/':
  case 'b':
  case 'f':
  case 'n':
  case 'r':
  case 't':
    return p;
  case 'u':
    break;
  default:
    return fail(s, AW_E_JSON_ESCAPE, first, "unknown escape");
  }
  p = scan_hex4(s, p, &code);
  if (p == NULL || code < 0xD800 || code > 0xDFFF) {
    return p;
  }
  if (code >= 0xDC00) {
    return fail(s, AW_E_JSON_ESCAPE, first, "lone surrogate escape");
  }
  return scan_low_surrogate(s, p, first);
}

static const char *scan_utf8(scan *s, const char *p) {
  while (p < s->end && (*p & 0x80) != 0) {
    int len = aw_utf8_step(p, s->end);
    if (len < 0) {
      return truncated(s, "text ends inside a character");
    }
    if (len == 0) {
      return fail(s, AW_E_JSON_UTF8, p, "invalid UTF-8");
    }
    p += len;
  }
  return p;
}

/* p is behind the opening quote; returns behind the closing one. */
static const char *scan_string(scan *s, const char *p) {
  const char *start = p;
  bool escaped = false;
  for (;;) {
    p = aw_bytes_find_special(s->text, p, s->end);
    if (p == s->end) {
      return truncated(s, "text ends inside a string");
    }
    if (*p == '"') {
      aw_json_token *token = push(s, AW_JSON_STRING, start, p);
      if (token == NULL) {
        return NULL;
      }
      token->escaped = escaped;
      return p + 1;
    }
    if (*p == '\\') {
      escaped = true;
      p = scan_escape(s, p);
    } else if ((*p & 0x80) != 0) {
      p = scan_utf8(s, p);
    } else {
      return fail(s, AW_E_JSON_SYNTAX, p, "control character in a string");
    }
    if (p == NULL) {
      return NULL;
    }
  }
}

static inline bool is_digit(char c) {
  return (unsigned char)(c - '0') < 10;
}

/* At least one digit. */
static const char *scan_digits(scan *s, const char *p, const char *what) {
  if (p == s->end) {
    return truncated(s, "text ends inside a number");
  }
  if (!is_digit(*p)) {
    return fail(s, AW_E_JSON_NUMBER, p, what);
  }
  do {
    p++;
  } while (p < s->end && is_digit(*p));
  return p;
}

/* Infinity has no form in JSON: who was given one could not pass it on. Only
 * the exponent of a short text, or a long one, can make it. */
static bool overflows(const scan *s, const char *start, const char *exponent,
                      const char *end) {
  aw_json_token token = {0};
  if (end - start <= FINITE_DIGITS &&
      (exponent == NULL || end - exponent < FINITE_EXPONENT)) {
    return false;
  }
  token.start = (uint32_t)(start - s->text);
  token.len = (uint32_t)(end - start);
  return isinf(aw_json_double(&token, s->text)) != 0;
}

static const char *scan_number(scan *s, const char *start) {
  enum aw_json_kind kind = AW_JSON_INTEGER;
  const char *p = *start == '-' ? start + 1 : start;
  const char *first = p, *exponent = NULL;
  p = scan_digits(s, p, "expected a digit");
  if (p == NULL) {
    return NULL;
  }
  if (*first == '0' && p - first > 1) {
    return fail(s, AW_E_JSON_NUMBER, first, "leading zero");
  }
  if (p < s->end && *p == '.') {
    kind = AW_JSON_REAL;
    p = scan_digits(s, p + 1, "expected a digit after '.'");
    if (p == NULL) {
      return NULL;
    }
  }
  if (p < s->end && (*p == 'e' || *p == 'E')) {
    kind = AW_JSON_REAL;
    exponent = p++;
    if (p < s->end && (*p == '+' || *p == '-')) {
      p++;
    }
    p = scan_digits(s, p, "expected a digit in the exponent");
    if (p == NULL) {
      return NULL;
    }
  }
  if (overflows(s, start, exponent, p)) {
    return fail(s, AW_E_JSON_NUMBER, start, "number is too large");
  }
  return push(s, kind, start, p) == NULL ? NULL : p;
}

static const char *scan_literal(scan *s, const char *p, const char *word,
                                size_t len, enum aw_json_kind kind) {
  size_t left = (size_t)(s->end - p);
  for (size_t i = 1; i < len; i++) {
    if (i == left) {
      return truncated(s, "text ends inside a literal");
    }
    if (p[i] != word[i]) {
      return fail(s, AW_E_JSON_SYNTAX, p, "expected a value");
    }
  }
  return push(s, kind, p, p + len) == NULL ? NULL : p + len;
}

/* A key and its colon; p is where the key should start. */
static const char *scan_key(scan *s, const char *p) {
  p = skip_space(p, s->end);
  if (p == s->end) {
    return truncated(s, "text ends inside an object");
  }
  if (*p != '"') {
    return fail(s, AW_E_JSON_SYNTAX, p, "expected a string as key");
  }
  p = scan_string(s, p + 1);
  if (p == NULL) {
    return NULL;
  }
  p = skip_space(p, s->end);
  if (p == s->end) {
    return truncated(s, "text ends inside an object");
  }
  if (*p != ':') {
    return fail(s, AW_E_JSON_SYNTAX, p, "expected ':' after a key");
  }
  return p + 1;
}

/* p is behind the bracket that ends the innermost container. */
static const char *close_container(scan *s, const char *p) {
  aw_json_token *token = &s->tape->tokens[s->open];
  s->open = token->next;
  s->depth--;
  token->len = (uint32_t)(p - s->text) - token->start;
  token->next = s->tape->count;
  return p;
}

/* Stops where the first value should start, or behind an empty container. */
static const char *open_container(scan *s, const char *p) {
  bool object = *p == '{';
  if (s->depth == s->max_depth) {
    return fail(s, AW_E_JSON_DEPTH, p, "nested too deeply");
  }
  aw_json_token *token =
      push(s, object ? AW_JSON_OBJECT : AW_JSON_ARRAY, p, p + 1);
  if (token == NULL) {
    return NULL;
  }
  token->next = s->open;
  s->open = s->tape->count - 1;
  s->depth++;
  p = skip_space(p + 1, s->end);
  if (p == s->end) {
    return truncated(s, "text ends inside a container");
  }
  if (*p == (object ? '}' : ']')) {
    return close_container(s, p + 1);
  }
  return object ? scan_key(s, p) : p;
}

static const char *scan_value(scan *s, const char *p) {
  for (;;) {
    unsigned depth = s->depth;
    p = skip_space(p, s->end);
    if (p == s->end) {
      return truncated(s, "text ends where a value should be");
    }
    switch (*p) {
    case '"':
      return scan_string(s, p + 1);
    case '{':
    case '[':
      p = open_container(s, p);
      if (p == NULL || s->depth == depth) {
        return p;
      }
      break;
    case 't':
      return scan_literal(s, p, "true", 4, AW_JSON_TRUE);
    case 'f':
      return scan_literal(s, p, "false", 5, AW_JSON_FALSE);
    case 'n':
      return scan_literal(s, p, "null", 4, AW_JSON_NULL);
    default:
      if (*p != '-' && !is_digit(*p)) {
        return fail(s, AW_E_JSON_SYNTAX, p, "expected a value");
      }
      return scan_number(s, p);
    }
  }
}

/* Behind a complete value: counts it, closes what it ends, and stops where
 * the next value should start, or at the end of the outermost one. */
static const char *scan_after(scan *s, const char *p) {
  while (s->open != NONE) {
    aw_json_token *token = &s->tape->tokens[s->open];
    bool object = token->kind == AW_JSON_OBJECT;
    if (token->count < COUNT_MAX) {
      token->count++;
    }
    p = skip_space(p, s->end);
    if (p == s->end) {
      return truncated(s, "text ends inside a container");
    }
    if (*p == ',') {
      return object ? scan_key(s, p + 1) : p + 1;
    }
    if (*p != (object ? '}' : ']')) {
      return fail(s, AW_E_JSON_SYNTAX, p,
                  object ? "expected ',' or '}'" : "expected ',' or ']'");
    }
    p = close_container(s, p + 1);
  }
  return p;
}

static const char *check_keys(scan *s) {
  uint32_t key = 0;
  int rc = aw_json_duplicate_key(s->tape, s->text, &key);
  if (rc != AW_OK) {
    return fail(s, rc, s->text, "out of memory");
  }
  if (key != 0) {
    return fail(s, AW_E_JSON_DUPLICATE,
                s->text + s->tape->tokens[key].start - 1, "duplicate key");
  }
  return s->end;
}

/* To the end of the outermost value, which starts at p. */
static const char *scan_whole(scan *s, const char *p) {
  do {
    p = scan_value(s, p);
    if (p != NULL) {
      p = scan_after(s, p);
    }
  } while (p != NULL && s->open != NONE);
  return p;
}

static const char *scan_text(scan *s) {
  const char *p = scan_whole(s, s->text);
  if (p == NULL) {
    return NULL;
  }
  p = skip_space(p, s->end);
  if (p < s->end) {
    return fail(s, AW_E_JSON_TRAILING, p, "text after the value");
  }
  return s->tape->tokens[0].kind == AW_JSON_OBJECT ? check_keys(s) : p;
}

static void rewind_tape(aw_json_tape *tape) {
  tape->count = 0;
  if (tape->max != 0 && tape->size > tape->max) {
    aw_json_tape_fini(tape); /* the check of keys has made it larger */
  }
}

int aw_json_scan_part(aw_json_tape *tape, uint32_t first, const char *text,
                      size_t len, size_t at, unsigned max_depth, size_t *end) {
  aw_json_error error = {0};
  scan s = {tape, &error, text, text + len, NONE, 0, max_depth};
  rewind_tape(tape);
  if (len > UINT32_MAX || (tape->max != 0 && first > tape->max)) {
    return AW_E_INVALID;
  }
  if (aw_json_tape_reserve(tape, first) != AW_OK) {
    return AW_E_NOMEM;
  }
  tape->count = first;
  const char *p = scan_whole(&s, text + at);
  *end = p == NULL ? at : (size_t)(p - text);
  return error.code;
}

int aw_json_scan(aw_json_tape *tape, const char *text, size_t len,
                 unsigned max_depth, aw_json_error *error) {
  scan s = {tape, error, len == 0 ? "" : text, NULL, NONE, 0, max_depth};
  s.end = s.text + len;
  rewind_tape(tape);
  error->code = 0;
  error->offset = 0;
  error->what = "";
  if (max_depth > AW_JSON_DEPTH_MAX) {
    fail(&s, AW_E_INVALID, s.text, "depth limit above the maximum");
  } else if (len > UINT32_MAX) {
    fail(&s, AW_E_INVALID, s.text, "text too long");
  } else {
    scan_text(&s);
  }
  return error->code;
}
