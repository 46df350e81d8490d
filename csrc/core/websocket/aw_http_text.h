/* Character classes and spans of HTTP (RFC 9110 section 5.6); private to
 * aw_http. Independent of the locale. */
#ifndef AW_HTTP_TEXT_H
#define AW_HTTP_TEXT_H

#include "aw_http.h"

static inline bool aw_http_is_alnum(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
         (c >= 'a' && c <= 'z');
}

static inline char aw_http_lower(char c) {
  return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* May this byte stand in a header's value? Also obs-text, above 0x7F. */
static inline bool aw_http_is_text(char c) {
  return c == '\t' || ((unsigned char)c >= 0x20 && c != 0x7F);
}

static inline bool aw_http_all_text(aw_http_span span) {
  for (size_t i = 0; i < span.len; i++) {
    if (!aw_http_is_text(span.bytes[i])) {
      return false;
    }
  }
  return true;
}

static inline bool aw_http_is_token(aw_http_span span) {
  for (size_t i = 0; i < span.len; i++) {
    char c = span.bytes[i];
    if (!aw_http_is_alnum(c) &&
        (c == '\0' || strchr("!#$%&'*+-.^_`|~", c) == NULL)) {
      return false;
    }
  }
  return span.len > 0;
}

/* Printable ASCII without blanks, at least one: a request target, a host. */
static inline bool aw_http_is_visible(aw_http_span span) {
  for (size_t i = 0; i < span.len; i++) {
    if (span.bytes[i] <= ' ' || span.bytes[i] >= 0x7F) {
      return false;
    }
  }
  return span.len > 0;
}

static inline bool aw_http_is_blank(char c) {
  return c == ' ' || c == '\t';
}

/* The line end of a folded line, too. */
static inline bool aw_http_is_gap(char c) {
  return aw_http_is_blank(c) || c == '\r' || c == '\n';
}

static inline aw_http_span aw_http_trim(aw_http_span span) {
  while (span.len > 0 && aw_http_is_gap(span.bytes[0])) {
    span.bytes++;
    span.len--;
  }
  while (span.len > 0 && aw_http_is_gap(span.bytes[span.len - 1])) {
    span.len--;
  }
  return span;
}

static inline aw_http_span aw_http_text(const char *text) {
  return (aw_http_span){text, strlen(text)};
}

static inline bool aw_http_equal(aw_http_span a, aw_http_span b) {
  return a.len == b.len && (a.len == 0 || memcmp(a.bytes, b.bytes, a.len) == 0);
}

/* Without regard to ASCII case. */
static inline bool aw_http_same(aw_http_span span, const char *text) {
  if (span.len != strlen(text)) {
    return false;
  }
  for (size_t i = 0; i < span.len; i++) {
    if (aw_http_lower(span.bytes[i]) != aw_http_lower(text[i])) {
      return false;
    }
  }
  return true;
}

#endif
