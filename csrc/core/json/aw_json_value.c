#include "aw_json.h"

#include "aw_bytes.h"
#include "aw_error.h"
#include "aw_json_impl.h"
#include <stdlib.h>

/* 767 significant digits decide the rounding of any double; what follows them
 * only matters for not being zero. */
#define DIGITS_MAX 770

void aw_json_walk_init(aw_json_walk *w, const aw_json_token *token,
                       const char *text) {
  w->p = text + token->start;
  w->end = w->p + token->len;
  w->first = w->last = 0;
}

static unsigned read_hex4(const char *p) {
  return (unsigned)(aw_hex_value(p[0]) << 12 | aw_hex_value(p[1]) << 8 |
                    aw_hex_value(p[2]) << 4 | aw_hex_value(p[3]));
}

static int put_utf8(unsigned code, unsigned char out[4]) {
  if (code < 0x80) {
    out[0] = (unsigned char)code;
    return 1;
  }
  if (code < 0x800) {
    out[0] = (unsigned char)(0xC0 | code >> 6);
    out[1] = (unsigned char)(0x80 | (code & 0x3F));
    return 2;
  }
  if (code < 0x10000) {
    out[0] = (unsigned char)(0xE0 | code >> 12);
    out[1] = (unsigned char)(0x80 | (code >> 6 & 0x3F));
    out[2] = (unsigned char)(0x80 | (code & 0x3F));
    return 3;
  }
  out[0] = (unsigned char)(0xF0 | code >> 18);
  out[1] = (unsigned char)(0x80 | (code >> 12 & 0x3F));
  out[2] = (unsigned char)(0x80 | (code >> 6 & 0x3F));
  out[3] = (unsigned char)(0x80 | (code & 0x3F));
  return 4;
}

/* An escape at *p (behind the backslash) as UTF-8; moves *p behind it. */
static int read_escape(const char **p, unsigned char out[4]) {
  static const char names[] = "bfnrt";
  static const char values[] = "\b\f\n\r\t";
  char c = *(*p)++;
  if (c != 'u') {
    const char *name = strchr(names, c);
    out[0] = (unsigned char)(name == NULL ? c : values[name - names]);
    return 1;
  }
  unsigned code = read_hex4(*p);
  *p += 4;
  if (code >= 0xD800 && code <= 0xDBFF) {
    code = 0x10000 + ((code - 0xD800) << 10) + (read_hex4(*p + 2) - 0xDC00);
    *p += 6;
  }
  return put_utf8(code, out);
}

int aw_json_walk_next(aw_json_walk *w) {
  if (w->first < w->last) {
    return w->pending[w->first++];
  }
  if (w->p == w->end) {
    return -1;
  }
  if (*w->p != '\\') {
    return (unsigned char)*w->p++;
  }
  w->p++;
  w->last = read_escape(&w->p, w->pending);
  w->first = 1;
  return w->pending[0];
}

uint32_t aw_json_member(const aw_json_token *tokens, uint32_t object,
                        const char *text, const char *key, size_t key_len) {
  uint32_t end = tokens[object].next, found = 0, i;
  if (tokens[object].kind != AW_JSON_OBJECT) {
    return 0;
  }
  for (i = object + 1; i < end; i = tokens[i + 1].next) {
    if (aw_json_equal(&tokens[i], text, key, key_len)) {
      found = i + 1;
    }
  }
  return found;
}

bool aw_json_equal(const aw_json_token *token, const char *text,
                   const char *bytes, size_t len) {
  aw_json_walk w;
  size_t i;
  int c;
  if (!token->escaped) {
    return token->len == len && memcmp(text + token->start, bytes, len) == 0;
  }
  aw_json_walk_init(&w, token, text);
  for (i = 0; (c = aw_json_walk_next(&w)) >= 0; i++) {
    if (i == len || (unsigned char)bytes[i] != c) {
      return false;
    }
  }
  return i == len;
}

size_t aw_json_unescape(const aw_json_token *token, const char *text,
                        char *out) {
  const char *p = text + token->start, *end = p + token->len;
  char *to = out;
  while (p < end) {
    const char *slash = memchr(p, '\\', (size_t)(end - p));
    size_t run = (size_t)((slash == NULL ? end : slash) - p);
    unsigned char bytes[4];
    int len;
    memmove(to, p, run); /* an envelope's header is unescaped in its place */
    to += run;
    p += run;
    if (slash == NULL) {
      break;
    }
    p++;
    len = read_escape(&p, bytes);
    memcpy(to, bytes, (size_t)len);
    to += len;
  }
  return (size_t)(to - out);
}

int aw_json_int64(const aw_json_token *token, const char *text, int64_t *out) {
  const char *p = text + token->start, *end = p + token->len;
  bool negative = *p == '-';
  uint64_t limit = (uint64_t)INT64_MAX + negative, value = 0;
  for (p += negative; p < end; p++) {
    unsigned digit = (unsigned)(*p - '0');
    if (value > (limit - digit) / 10) {
      return AW_E_LIMIT;
    }
    value = value * 10 + digit;
  }
  /* -(2^63) has no positive twin; this order never overflows. */
  *out = negative && value > 0 ? -(int64_t)(value - 1) - 1 : (int64_t)value;
  return AW_OK;
}

typedef struct decimal decimal;

/* A number as significant digits d1 d2 ... and a power of ten for the last. */
struct decimal {
  char digits[DIGITS_MAX + 16];
  size_t count;
  int64_t exponent;
  bool negative;
};

static int64_t read_exponent(const char *p, const char *end) {
  bool negative = *p == '-';
  int64_t value = 0;
  if (*p == '+' || *p == '-') {
    p++;
  }
  for (; p < end; p++) {
    /* Beyond any length of digits that could balance it. */
    if (value < INT64_C(1000000000000)) {
      value = value * 10 + (*p - '0');
    }
  }
  return negative ? -value : value;
}

static void read_decimal(decimal *d, const char *p, const char *end) {
  bool fraction = false, rest = false;
  d->count = 0;
  d->exponent = 0;
  d->negative = *p == '-';
  for (p += d->negative; p < end && (*p | 0x20) != 'e'; p++) {
    if (*p == '.') {
      fraction = true;
      continue;
    }
    d->exponent -= fraction;
    if (d->count == 0 && *p == '0') {
      continue;
    }
    if (d->count < DIGITS_MAX) {
      d->digits[d->count++] = *p;
    } else {
      d->exponent++;
      rest = rest || *p != '0';
    }
  }
  if (rest) {
    d->digits[d->count++] = '1';
    d->exponent--;
  }
  if (p < end) {
    d->exponent += read_exponent(p + 1, end);
  }
}

/* Both factors are exact, so the one rounding is the right one. */
static bool small_double(const decimal *d, double *out) {
  static const double powers[] = {
      1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
      1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  uint64_t mantissa = 0;
  if (d->count > 15 || d->exponent < -22 || d->exponent > 22) {
    return false;
  }
  for (size_t i = 0; i < d->count; i++) {
    mantissa = mantissa * 10 + (unsigned)(d->digits[i] - '0');
  }
  *out = d->exponent < 0 ? (double)mantissa / powers[-d->exponent]
                         : (double)mantissa * powers[d->exponent];
  return true;
}

/* strtod rounds correctly; without a decimal point no locale matters. */
static double large_double(decimal *d) {
  int64_t exponent = d->exponent;
  char *p = d->digits + d->count;
  char reversed[8];
  int n = 0;
  /* All that overflow or vanish do so here as well; the digits are < 800. */
  exponent = exponent > 9999 ? 9999 : exponent < -9999 ? -9999 : exponent;
  *p++ = 'e';
  if (exponent < 0) {
    *p++ = '-';
    exponent = -exponent;
  }
  do {
    reversed[n++] = (char)('0' + exponent % 10);
    exponent /= 10;
  } while (exponent > 0);
  while (n > 0) {
    *p++ = reversed[--n];
  }
  *p = '\0';
  return strtod(d->digits, NULL);
}

double aw_json_double(const aw_json_token *token, const char *text) {
  const char *p = text + token->start;
  decimal d;
  double value;
  read_decimal(&d, p, p + token->len);
  if (d.count == 0) {
    value = 0;
  } else if (!small_double(&d, &value)) {
    value = large_double(&d);
  }
  return d.negative ? -value : value;
}

bool aw_utf8_valid(const char *text, size_t len) {
  const char *p = len == 0 ? "" : text, *end = p + len;
  while ((p = aw_bytes_find_not_ascii(p, end)) < end) {
    do {
      int step = aw_utf8_step(p, end);
      if (step <= 0) {
        return false;
      }
      p += step;
    } while (p < end && (*p & 0x80) != 0);
  }
  return true;
}
