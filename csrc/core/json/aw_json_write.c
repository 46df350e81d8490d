#include "aw_json.h"

#include "aw_bytes.h"
#include "aw_error.h"
#include <math.h>
#include <stdio.h>

/* Sign, 17 digits, point, exponent of three digits, and slack for a locale
 * whose decimal point takes several bytes. */
#define DOUBLE_MAX 48

static size_t write_escape(char *out, unsigned char c) {
  static const char names[] = "btn\0fr"; /* U+0008 to U+000D */
  out[0] = '\\';
  if (c == '"' || c == '\\') {
    out[1] = (char)c;
    return 2;
  }
  if (c >= 8 && c <= 13 && c != 11) {
    out[1] = names[c - 8];
    return 2;
  }
  memcpy(out + 1, "u00", 3);
  out[4] = aw_hex_digit(c >> 4);
  out[5] = aw_hex_digit(c);
  return 6;
}

/* Copies what stands for itself, up to the first byte that does not, or all;
 * returns how many. What is looked at is the copy, because it may be read past
 * its end: there is room for a block more. */
static size_t copy_plain(char *to, const char *bytes, size_t len) {
  size_t at = 0;
  memcpy(to, bytes, len);
  for (; at < len; at += AW_BLOCK) {
    uint64_t mask = aw_block_special(to + at);
    if (len - at < AW_BLOCK) {
      mask &= (UINT64_C(1) << (len - at) * AW_BLOCK_BITS) - 1;
    }
    if (mask != 0) {
      return at + aw_lowest_bit(mask) / AW_BLOCK_BITS;
    }
  }
  return len;
}

/* Copies [p, end) escaped. Keeps room for what is left and a quote, so that
 * only an escape has to ask for more. */
static int put_runs(aw_buf *out, const char *p, const char *end) {
  const char *begin = p, *run = p;
  while ((p = aw_bytes_find_special(begin, p, end)) < end) {
    int step;
    if ((*p & 0x80) != 0) {
      step = aw_utf8_step(p, end);
      if (step <= 0) {
        return AW_E_JSON_UTF8;
      }
      p += step;
      continue;
    }
    memcpy(out->data + out->tail, run, (size_t)(p - run));
    out->tail += (size_t)(p - run);
    step = aw_buf_reserve(out, (size_t)(end - p) + 6);
    if (step != 0) {
      return step;
    }
    out->tail += write_escape(out->data + out->tail, (unsigned char)*p);
    run = ++p;
  }
  memcpy(out->data + out->tail, run, (size_t)(p - run));
  out->tail += (size_t)(p - run);
  out->data[out->tail++] = '"';
  return AW_OK;
}

/* A string, and behind it a byte unless that is 0. There is room for both, and
 * a block more, if nothing has to be escaped. */
static int put_quoted(aw_buf *out, const char *bytes, size_t len, char after) {
  int rc;
  out->data[out->tail++] = '"';
  size_t plain = len == 0 ? 0 : copy_plain(out->data + out->tail, bytes, len);
  out->tail += plain;
  if (plain == len) {
    out->data[out->tail++] = '"';
  } else {
    rc = put_runs(out, bytes + plain, bytes + len);
    if (rc != AW_OK) {
      return rc;
    }
  }
  return after == '\0' ? 0 : aw_buf_put(out, after);
}

int aw_json_put_string(aw_buf *out, const char *bytes, size_t len) {
  size_t before = aw_buf_len(out);
  int rc = len > SIZE_MAX - 64 ? AW_E_NOMEM
                               : aw_buf_reserve(out, len + 2 + AW_BLOCK);
  if (rc == AW_OK) {
    rc = put_quoted(out, bytes, len, '\0');
  }
  if (rc == AW_E_JSON_UTF8) {
    out->tail = out->head + before;
  }
  return rc;
}

int aw_json_put_name(aw_buf *out, char before, const char *name, size_t len) {
  size_t start = aw_buf_len(out);
  int rc = len > SIZE_MAX - 64 ? AW_E_NOMEM
                               : aw_buf_reserve(out, len + 4 + AW_BLOCK);
  if (rc == AW_OK) {
    out->data[out->tail++] = before;
    rc = put_quoted(out, name, len, ':');
  }
  if (rc == AW_E_JSON_UTF8) {
    out->tail = out->head + start;
  }
  return rc;
}

char *aw_json_digits(char *end, uint64_t value) {
  for (; value >= 100; value /= 100) {
    unsigned pair = (unsigned)(value % 100);
    *--end = (char)('0' + pair % 10);
    *--end = (char)('0' + pair / 10);
  }
  if (value >= 10) {
    *--end = (char)('0' + value % 10);
    value /= 10;
  }
  *--end = (char)('0' + value);
  return end;
}

int aw_json_put_int64(aw_buf *out, int64_t value) {
  char digits[AW_JSON_DIGITS + 1];
  char *end = digits + sizeof digits, *p;
  if (value >= 0 && value < 10) {
    return aw_buf_put(out, (char)('0' + value));
  }
  p = aw_json_digits(end, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
  if (value < 0) {
    *--p = '-';
  }
  return aw_buf_append(out, p, (size_t)(end - p));
}

/* Whatever the locale has between the digits becomes '.'; a number without
 * point and exponent gets ".0". Returns the new length. */
static size_t normalize(char *text) {
  char *from = text, *to = text;
  bool real = false;
  while (*from != '\0') {
    if (strchr("0123456789+-e", *from) != NULL) {
      real = real || *from == 'e';
      *to++ = *from++;
      continue;
    }
    *to++ = '.';
    real = true;
    do {
      from++;
    } while (*from != '\0' && strchr("0123456789", *from) == NULL);
  }
  if (!real) {
    *to++ = '.';
    *to++ = '0';
  }
  return (size_t)(to - text);
}

int aw_json_put_double(aw_buf *out, double value) {
  char text[DOUBLE_MAX];
  aw_json_token token = {0};
  if (!isfinite(value)) {
    return AW_E_JSON_NUMBER;
  }
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(text, sizeof text - 2, "%.*g", digits, value);
    token.len = (uint32_t)normalize(text);
    if (aw_json_double(&token, text) == value) {
      break;
    }
  }
  return aw_buf_append(out, text, token.len);
}
