/* The first byte picks the parser. What is parsed must lie in the text, what
 * is built must be read back, what is cut must be incomplete. */
#include "aw_error.h"
#include "aw_http_body.h"
#include <stdint.h>
#include <stdlib.h>

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="

static void demand(int holds) {
  if (!holds) {
    abort();
  }
}

static void inside(aw_http_span span, const char *text, size_t len) {
  demand(span.bytes == NULL ||
         (span.bytes >= text && span.bytes + span.len <= text + len));
}

/* What a body is does not depend on how it is cut. */
static void try_body(aw_http_body body, const char *text, size_t len) {
  aw_http_body cut = body;
  aw_http_span content;
  size_t used, at = 0, whole = 0, pieces = 0;
  int rc = AW_OK, rc_cut = AW_OK;

  while (rc == AW_OK && at < len && !aw_http_is_body_whole(&body)) {
    rc = aw_http_take_body(&body, text + at, len - at, &used, &content);
    inside(content, text, len);
    demand(rc != AW_OK || used > 0);
    whole += content.len;
    at += used;
  }
  for (at = 0; rc_cut == AW_OK && at < len && !aw_http_is_body_whole(&cut);) {
    rc_cut = aw_http_take_body(&cut, text + at, 1, &used, &content);
    pieces += content.len;
    at += used;
  }
  demand(rc == rc_cut && whole == pieces);
  demand(aw_http_is_body_whole(&body) == aw_http_is_body_whole(&cut));
}

static void try_head(const char *text, size_t len, bool is_request) {
  aw_http_span protocol;
  aw_http_head head;
  size_t used, again;

  if (aw_http_parse(&head, text, len, 0, is_request, &used) != 0) {
    demand(used == 0);
    return;
  }
  demand(used > 0 && used <= len);
  inside(head.method, text, used);
  inside(head.target, text, used);
  inside(head.reason, text, used);
  for (unsigned i = 0; i < head.count; i++) {
    inside(head.headers[i].name, text, used);
    inside(head.headers[i].value, text, used);
  }
  if (is_request) {
    aw_network all = {.bits = 0};
    aw_http_proxies proxies = {&all, 1};
    aw_address client = {{0}};
    char path[AW_HTTP_HEAD_MAX];

    (void)aw_http_client_of(&head, &proxies, NULL, &client);
    if (aw_http_check_request(&head, "/") == 0) {
      demand(aw_http_normal_path(head.path, path) == 1 && path[0] == '/');
    }
    protocol = aw_http_pick_protocol(&head, "agentwire.v1, makai.v1");
    demand(protocol.bytes == NULL || protocol.len > 0);
    aw_http_check_request(&head, NULL);
    aw_http_body body;
    if (aw_http_check_plain(&head) == 0 &&
        aw_http_begin_request_body(&body, &head) == 0) {
      try_body(body, text + used, len - used);
    }
  } else {
    char body[64], shown[64];
    size_t got;

    aw_http_check_response(&head, KEY, "a, b", &protocol);
    inside(protocol, text, used);
    (void)aw_http_read_body(&head, text + used, len - used, body, sizeof body,
                            &got);
    demand(got <= sizeof body);
    demand(aw_http_excerpt(body, got, shown, sizeof shown) <= sizeof shown);
    demand(aw_http_public_url(aw_http_find(&head, "Location"), shown,
                              sizeof shown) <= sizeof shown);
  }
  demand(aw_http_parse(&head, text, used - 1, 0, is_request, &again) ==
         AW_E_AGAIN);
}

/* What a proxy's URL holds makes one header line, or is refused. */
static void try_proxy(const char *text, size_t len) {
  const char *why;
  aw_http_url url;
  aw_http_head head;
  aw_buf out;
  size_t used;

  if (aw_http_parse_proxy(&url, text, len, &why) != 0) {
    demand(why != NULL);
    return;
  }
  inside(url.host, text, len);
  inside(url.user, text, len);
  aw_buf_init(&out, aw_mem_default());
  if (aw_http_build_connect(&out, "h:1", url.user) == 0) {
    demand(aw_http_parse(&head, aw_buf_bytes(&out), aw_buf_len(&out),
                         aw_buf_len(&out), true, &used) == 0);
    demand(used == aw_buf_len(&out));
    demand(head.count == (url.user.bytes != NULL ? 2 : 1));
  }
  aw_buf_fini(&out);
}

static void try_url(const char *text, size_t len) {
  const char *why;
  aw_http_url url;

  try_proxy(text, len);
  if (aw_http_parse_url(&url, text, len, &why) == 0) {
    if (url.file.bytes == NULL) {
      inside(url.host, text, len);
    }
    inside(url.file, text, len);
    demand(url.host.len > 0 && url.target.len > 0 && url.port <= 65535);
  } else {
    demand(why != NULL);
  }
}

static void try_build(const char *text, int where) {
  const char *host = where == 0 ? text : "h", *target = where == 1 ? text : "/";
  aw_http_head head;
  size_t used;
  aw_buf out;

  aw_buf_init(&out, aw_mem_default());
  if (aw_http_build_request(&out, host, target, KEY, where == 2 ? text : "a",
                            where == 3 ? text : NULL) == 0) {
    size_t len = aw_buf_len(&out);

    demand(aw_http_parse(&head, aw_buf_bytes(&out), len, len, true, &used) ==
           0);
    demand(used == len && aw_http_check_request(&head, NULL) == 0);
    demand(where == 3 || head.count == 6);
  } else {
    demand(aw_buf_len(&out) == 0);
  }
  aw_buf_fini(&out);
}

/* A header that passes makes one line of the request, and no more. */
static void try_header(const char *text, size_t len) {
  const char *colon = memchr(text, ':', len);
  aw_http_span name = {text, colon != NULL ? (size_t)(colon - text) : len};
  aw_http_span value = {text + name.len, len - name.len};
  aw_http_head head;
  aw_buf out;
  size_t used;

  value.bytes += colon != NULL;
  value.len -= colon != NULL;
  if (aw_http_check_header(name, value) != NULL) {
    return;
  }
  aw_buf_init(&out, aw_mem_default());
  aw_buf_append(&out, name.bytes, name.len);
  aw_buf_append(&out, ":", 1);
  aw_buf_append(&out, value.bytes, value.len);
  aw_buf_append(&out, "\r\n", 3);
  char *extra = aw_buf_bytes(&out);
  aw_buf request;

  aw_buf_init(&request, aw_mem_default());
  demand(aw_http_build_request(&request, "h", "/", KEY, "a", extra) == 0);
  demand(aw_http_parse(&head, aw_buf_bytes(&request), aw_buf_len(&request),
                       aw_buf_len(&request), true, &used) == 0);
  demand(used == aw_buf_len(&request) && head.count == 7);
  demand(aw_http_check_request(&head, NULL) == 0);
  aw_buf_fini(&request);
  aw_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  char *text = malloc(len + 1);

  demand(text != NULL);
  if (len > 0) {
    memcpy(text, data + 1, len - 1);
    text[len - 1] = '\0';
    text = realloc(text, len); /* ASan guards the end */
    switch (data[0] % 8) {
    case 0:
    case 1:
      try_head(text, len - 1, data[0] % 8 == 0);
      break;
    case 2:
      try_url(text, len - 1);
      break;
    case 3:
      try_header(text, len - 1);
      break;
    default:
      try_build(text, data[0] % 8 - 4);
    }
  }
  free(text);
  return 0;
}
