/* In place of the rest of this folder where libcurl was left out. */
#include "aw_fetch.h"

#ifndef AW_WITH_CURL

#include "aw_error.h"

static const char absent[] = "there is no HTTP client in this build: it was "
                             "made without libcurl (AW_HTTP)";

int aw_fetch_new(aw_fetch **out, aw_loop *loop, const aw_fetch_options *options,
                 void *user, const char **why) {
  (void)loop, (void)options, (void)user;
  *out = NULL;
  *why = absent;
  return AW_E_UNSUPPORTED;
}

void aw_fetch_free(aw_fetch *fetch) {
  (void)fetch;
}

aw_source *aw_fetch_source(aw_fetch *fetch) {
  (void)fetch;
  return NULL;
}

int aw_fetch_head_of(const aw_fetch *fetch, aw_fetch_head *out) {
  (void)fetch, (void)out;
  return AW_E_UNSUPPORTED;
}

int aw_fetch_peek(const aw_fetch *fetch, const char **bytes, size_t *len) {
  (void)fetch, (void)bytes, (void)len;
  return AW_E_UNSUPPORTED;
}

void aw_fetch_consume(aw_fetch *fetch, size_t len) {
  (void)fetch, (void)len;
}

const char *aw_fetch_why(const aw_fetch *fetch) {
  (void)fetch;
  return absent;
}

int aw_fetch_limit(aw_loop *loop, const aw_fetch_limits *limits,
                   const char **why) {
  (void)loop, (void)limits;
  *why = absent;
  return AW_E_UNSUPPORTED;
}

int aw_fetch_about_of(aw_fetch_about *out, const char **why) {
  *out = (aw_fetch_about){0};
  *why = absent;
  return AW_E_UNSUPPORTED;
}

#endif
