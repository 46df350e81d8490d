#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "aw_error.h"
#include "aw_http.h"
#include "aw_sha1.h"
#include <stdlib.h>

#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

/* RFC 6455 section 1.3. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

#define GET "GET /chat?x=1 HTTP/1.1\r\n"
#define HOST "Host: example.com\r\n"
#define UPGRADE "Upgrade: websocket\r\n"
#define CONNECTION "Connection: Upgrade\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define SENT_KEY "Sec-WebSocket-Key: " KEY "\r\n"
#define REQUEST GET HOST UPGRADE CONNECTION VERSION SENT_KEY

#define SWITCHING "HTTP/1.1 101 Switching Protocols\r\n"
#define SENT_ACCEPT "Sec-WebSocket-Accept: " ACCEPT "\r\n"
#define RESPONSE SWITCHING UPGRADE CONNECTION SENT_ACCEPT

static void assert_span(aw_http_span span, const char *text) {
  if (text == NULL) {
    assert_null(span.bytes);
    return;
  }
  assert_non_null(span.bytes);
  assert_int_equal(span.len, strlen(text));
  assert_memory_equal(span.bytes, text, span.len);
}

/* A copy that ends where the text ends, so that ASan sees a read beyond it. */
static char *exact_copy(const char *text, size_t len) {
  char *copy = malloc(len > 0 ? len : 1);

  assert_non_null(copy);
  memcpy(copy, text, len);
  return copy;
}

static int parse_exact(const char *text, size_t len, bool is_request) {
  char *copy = exact_copy(text, len);
  aw_http_head head;
  size_t used;
  int rc = aw_http_parse(&head, copy, len, 0, is_request, &used);

  if (rc != 0) {
    assert_int_equal(used, 0);
  }
  if (rc != 0 && rc != AW_E_AGAIN) {
    assert_true(head.why[0] != '\0');
  }
  free(copy);
  return rc;
}

static void parse_gives_the_parts_of_a_request(void **state) {
  static const char text[] = GET "Host: example.com \t\r\n"
                                 "X-Empty:\r\n"
                                 "x-blank: \t \r\n"
                                 "X-Inner:a \xC3\xA9\tb\r\n"
                                 "\r\n"
                                 "\x81\x00";
  aw_http_head head;
  size_t used;

  (void)state;
  assert_int_equal(aw_http_parse(&head, text, sizeof text - 1, 0, true, &used),
                   0);
  assert_int_equal(used, sizeof text - 3);
  assert_true(head.is_request);
  assert_span(head.method, "GET");
  assert_span(head.target, "/chat?x=1");
  assert_int_equal(head.minor, 1);
  assert_int_equal(head.count, 4);
  assert_span(aw_http_find(&head, "HOST"), "example.com");
  assert_span(aw_http_find(&head, "x-empty"), "");
  assert_span(aw_http_find(&head, "X-Blank"), "");
  assert_span(aw_http_find(&head, "X-Inner"), "a \xC3\xA9\tb");
  assert_span(aw_http_find(&head, "Hos"), NULL);
}

static void parse_gives_the_parts_of_a_response(void **state) {
  static const struct {
    const char *text;
    int status, minor;
    const char *reason;
  } rows[] = {
      {"HTTP/1.1 101 Switching Protocols\r\n\r\n", 101, 1,
       "Switching Protocols"},
      {"HTTP/1.0 404 Not Found\n\n", 404, 0, "Not Found"},
      {"HTTP/1.1 200 \r\n\r\n", 200, 1, ""},
      {"HTTP/1.1 200\r\n\r\n", 200, 1, ""},
      {"HTTP/1.1 599 caf\xC3\xA9\r\n\r\n", 599, 1, "caf\xC3\xA9"},
  };

  (void)state;
  for (size_t i = 0; i < COUNT(rows); i++) {
    aw_http_head head;
    size_t used;

    assert_int_equal(aw_http_parse(&head, rows[i].text, strlen(rows[i].text), 0,
                                   false, &used),
                     0);
    assert_int_equal(used, strlen(rows[i].text));
    assert_int_equal(head.status, rows[i].status);
    assert_int_equal(head.minor, rows[i].minor);
    assert_span(head.reason, rows[i].reason);
  }
}

static void parse_refuses_malformed_heads(void **state) {
  static const struct {
    const char *text;
    bool is_request;
  } rows[] = {
      {"\r\n\r\n", false},
      {"\n", false},
      {"GET\r\n\r\n", true},
      {"GET /\r\n\r\n", true},
      {"GET  / HTTP/1.1\r\n\r\n", true},
      {"GET / \r\n\r\n", true},
      {" GET / HTTP/1.1\r\n\r\n", true},
      {"GET / HTTP/1.1 \r\n\r\n", true},
      {"GET / HTTP/1.1 x\r\n\r\n", true},
      {"GET / HTTP/1.10\r\n\r\n", true},
      {"GET / HTTP/1.x\r\n\r\n", true},
      {"GET / http/1.1\r\n\r\n", true},
      {"GET /a\tb HTTP/1.1\r\n\r\n", true},
      {"GET /\xC3\xA9 HTTP/1.1\r\n\r\n", true},
      {"G(T / HTTP/1.1\r\n\r\n", true},
      {GET "Host : a\r\n\r\n", true},
      {GET "Host\t: a\r\n\r\n", true},
      {GET ": a\r\n\r\n", true},
      {GET "Host\r\n\r\n", true},
      {GET "H\xC3\xB6st: a\r\n\r\n", true},
      {GET "Host: a\r\n folded\r\n\r\n", true},
      {GET "Host: a\r\n\tfolded\r\n\r\n", true},
      {GET " Host: a\r\n\r\n", true},
      {GET "Host: a\rb\r\n\r\n", true},
      {GET "Host: a\r\r\n\r\n", true},
      {GET "Host: a\x01\r\n\r\n", true},
      {GET "Host: a\x1F\r\n\r\n", true},
      {GET "Host: a\x7F\r\n\r\n", true},
      {"HTTP/1.1 101\r\n\r\n", true},
      {"\x16\x03\x01", true}, /* TLS on a plain port */
      {GET "Host: \x01", true},
      {"HTTP/1.1\r\n\r\n", false},
      {"HTTP/1.1 \r\n\r\n", false},
      {"HTTP/1.1 10 x\r\n\r\n", false},
      {"HTTP/1.1 1010 x\r\n\r\n", false},
      {"HTTP/1.1 1x1 x\r\n\r\n", false},
      {"HTTP/1.1 x11 x\r\n\r\n", false},
      {"HTTP/1.1 -11 x\r\n\r\n", false},
      {"HTTP/1.1 099 x\r\n\r\n", false},
      {"HTTP/1.1  101 x\r\n\r\n", false},
      {"HTTP/2 101 x\r\n\r\n", false},
      {"ICY 200 OK\r\n\r\n", false},
      {GET "\r\n", false},
  };
  static const char with_nul[] = GET "Host: a\0b\r\n\r\n";

  (void)state;
  for (size_t i = 0; i < COUNT(rows); i++) {
    int rc =
        parse_exact(rows[i].text, strlen(rows[i].text), rows[i].is_request);

    if (rc != AW_E_INVALID) {
      fail_msg("%s: %d", rows[i].text, rc);
    }
  }
  assert_int_equal(parse_exact(with_nul, sizeof with_nul - 1, true),
                   AW_E_INVALID);
}

static void a_head_cut_at_any_byte_is_not_complete_yet(void **state) {
  static const struct {
    const char *text;
    bool is_request;
  } rows[] = {
      {REQUEST "\r\n", true},
      {"GET / HTTP/1.1\nHost: a\n\n", true},
      {RESPONSE "\r\n", false},
      {"HTTP/1.1 200\r\n\r\n", false},
  };

  (void)state;
  for (size_t i = 0; i < COUNT(rows); i++) {
    size_t len = strlen(rows[i].text);

    for (size_t cut = 0; cut < len; cut++) {
      assert_int_equal(parse_exact(rows[i].text, cut, rows[i].is_request),
                       AW_E_AGAIN);
    }
    assert_int_equal(parse_exact(rows[i].text, len, rows[i].is_request), 0);
  }
}

static void parse_keeps_to_its_limits(void **state) {
  static char text[2 * AW_HTTP_HEAD_MAX];
  size_t used, len = strlen(REQUEST "\r\n");
  aw_http_head head;

  (void)state;
  assert_int_equal(aw_http_parse(&head, REQUEST "\r\n", len, len, true, &used),
                   0);
  assert_int_equal(
      aw_http_parse(&head, REQUEST "\r\n", len, len - 1, true, &used),
      AW_E_LIMIT);
  assert_int_equal(
      aw_http_parse(&head, REQUEST "\r\n", len - 1, len, true, &used),
      AW_E_AGAIN);
  memset(text, 'x', sizeof text);
  assert_int_equal(
      aw_http_parse(&head, text, AW_HTTP_HEAD_MAX - 1, 0, true, &used),
      AW_E_AGAIN);
  assert_int_equal(aw_http_parse(&head, text, AW_HTTP_HEAD_MAX, 0, true, &used),
                   AW_E_LIMIT);
}

static void parse_counts_headers(void **state) {
  char text[64 + 6 * (AW_HTTP_HEADERS_MAX + 1)] = GET;
  size_t used, len = strlen(GET);
  aw_http_head head;

  (void)state;
  for (unsigned i = 0; i < AW_HTTP_HEADERS_MAX; i++) {
    memcpy(text + len, "a: b\r\n", 6);
    len += 6;
  }
  memcpy(text + len, "\r\n", 2);
  assert_int_equal(aw_http_parse(&head, text, len + 2, 0, true, &used), 0);
  assert_int_equal(head.count, AW_HTTP_HEADERS_MAX);
  memcpy(text + len, "a: b\r\n\r\n", 8);
  assert_int_equal(aw_http_parse(&head, text, len + 8, 0, true, &used),
                   AW_E_LIMIT);
}

static void parse_text(aw_http_head *head, const char *text, bool request) {
  size_t used;

  assert_int_equal(aw_http_parse(head, text, strlen(text), 0, request, &used),
                   0);
}

static void tokens_are_found_in_all_lines_of_a_list(void **state) {
  aw_http_head head;

  (void)state;
  parse_text(&head,
             GET "Connection: keep-alive ,\tUpgrade\r\n"
                 "connection: , ,close\r\n"
                 "Other: only\r\n\r\n",
             true);
  assert_true(aw_http_has_token(&head, "Connection", "upgrade"));
  assert_true(aw_http_has_token(&head, "Connection", "KEEP-ALIVE"));
  assert_true(aw_http_has_token(&head, "connection", "close"));
  assert_false(aw_http_has_token(&head, "Connection", "keep"));
  assert_false(aw_http_has_token(&head, "Connection", "upgraded"));
  assert_false(aw_http_has_token(&head, "Connection", ""));
  assert_false(aw_http_has_token(&head, "Connection", "only"));
  assert_false(aw_http_has_token(&head, "Missing", "only"));
}

static void requests_are_checked(void **state) {
  static const struct {
    const char *text;
    int status;
  } rows[] = {
      {REQUEST, 0},
      {GET HOST "upgrade: foo, WebSocket\r\n"
                "connection: keep-alive, upgrade\r\n" VERSION SENT_KEY,
       0},
      {REQUEST "Content-Length: 0\r\n", 0},
      {REQUEST "Sec-WebSocket-Extensions: permessage-deflate\r\n", 0},
      {"GET / HTTP/1.2\r\n" HOST UPGRADE CONNECTION VERSION SENT_KEY, 0},
      {"GET / HTTP/1.0\r\n" HOST UPGRADE CONNECTION VERSION SENT_KEY, 426},
      {"POST / HTTP/1.1\r\n" HOST UPGRADE CONNECTION VERSION SENT_KEY, 405},
      {"get / HTTP/1.1\r\n" HOST UPGRADE CONNECTION VERSION SENT_KEY, 405},
      {GET UPGRADE CONNECTION VERSION SENT_KEY, 400},
      {REQUEST HOST, 400},
      {REQUEST "Content-Length: 5\r\n", 400},
      {REQUEST "Content-Length: 0\r\nContent-Length: 5\r\n", 400},
      {REQUEST "Transfer-Encoding: chunked\r\n", 400},
      {GET HOST CONNECTION VERSION SENT_KEY, 426},
      {GET HOST "Upgrade: h2c\r\n" CONNECTION VERSION SENT_KEY, 426},
      {GET HOST, 426},
      {GET HOST UPGRADE VERSION SENT_KEY, 400},
      {GET HOST UPGRADE "Connection: close\r\n" VERSION SENT_KEY, 400},
      {GET HOST UPGRADE CONNECTION SENT_KEY, 400},
      {REQUEST VERSION, 400},
      {GET HOST UPGRADE CONNECTION "Sec-WebSocket-Version: 8\r\n" SENT_KEY,
       426},
      {GET HOST UPGRADE CONNECTION "Sec-WebSocket-Version: 13, 8\r\n" SENT_KEY,
       426},
      {GET HOST UPGRADE CONNECTION VERSION, 400},
      {REQUEST SENT_KEY, 400},
      {GET HOST UPGRADE CONNECTION VERSION "Sec-WebSocket-Key:\r\n", 400},
      {GET HOST UPGRADE CONNECTION VERSION
       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ===\r\n",
       400},
      {GET HOST UPGRADE CONNECTION VERSION
       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQA=\r\n",
       400},
      {GET HOST UPGRADE CONNECTION VERSION
       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=A\r\n",
       400},
      {GET HOST UPGRADE CONNECTION VERSION
       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n",
       400},
      {GET HOST UPGRADE CONNECTION VERSION "Sec-WebSocket-Key: A" KEY "\r\n",
       400},
      {GET HOST UPGRADE CONNECTION VERSION
       "Sec-WebSocket-Key: dGhl-HNhbXBsZSBub25jZQ==\r\n",
       400},
  };

  (void)state;
  for (size_t i = 0; i < COUNT(rows); i++) {
    char text[1024];
    aw_http_head head;
    int status;

    assert_true(strlen(rows[i].text) + 3 <= sizeof text);
    strcpy(text, rows[i].text);
    strcat(text, "\r\n");
    parse_text(&head, text, true);
    status = aw_http_check_request(&head, NULL);
    if (status != rows[i].status || (status != 0) != (head.why[0] != '\0')) {
      fail_msg("%d (%s) for %s", status, head.why, text);
    }
  }
}

static void responses_are_checked(void **state) {
  static const struct {
    const char *text, *offered;
    int rc;
    const char *protocol;
  } rows[] = {
      {RESPONSE, NULL, 0, NULL},
      {RESPONSE, "a, b", 0, NULL},
      {RESPONSE "Sec-WebSocket-Protocol: b\r\n", "a, b", 0, "b"},
      {RESPONSE "Sec-WebSocket-Protocol: any\r\n", NULL, 0, "any"},
      {SWITCHING "upgrade: WEBSOCKET\r\nconnection: UPGRADE\r\n" SENT_ACCEPT,
       NULL, 0, NULL},
      {"HTTP/1.1 200 OK\r\n" UPGRADE CONNECTION SENT_ACCEPT, NULL, AW_E_REFUSED,
       NULL},
      {"HTTP/1.1 401 No\r\n" UPGRADE CONNECTION SENT_ACCEPT, NULL, AW_E_REFUSED,
       NULL},
      {"HTTP/1.0 101 x\r\n" UPGRADE CONNECTION SENT_ACCEPT, NULL, AW_E_REFUSED,
       NULL},
      {SWITCHING CONNECTION SENT_ACCEPT, NULL, AW_E_REFUSED, NULL},
      {SWITCHING "Upgrade: h2c\r\n" CONNECTION SENT_ACCEPT, NULL, AW_E_REFUSED,
       NULL},
      {SWITCHING UPGRADE SENT_ACCEPT, NULL, AW_E_REFUSED, NULL},
      {SWITCHING UPGRADE "Connection: close\r\n" SENT_ACCEPT, NULL,
       AW_E_REFUSED, NULL},
      {SWITCHING UPGRADE CONNECTION, NULL, AW_E_REFUSED, NULL},
      {RESPONSE SENT_ACCEPT, NULL, AW_E_REFUSED, NULL},
      {SWITCHING UPGRADE CONNECTION
       "Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
       NULL, AW_E_REFUSED, NULL},
      {SWITCHING UPGRADE CONNECTION
       "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo\r\n",
       NULL, AW_E_REFUSED, NULL},
      {RESPONSE "Sec-WebSocket-Extensions: permessage-deflate\r\n", NULL,
       AW_E_REFUSED, NULL},
      {RESPONSE "Sec-WebSocket-Protocol: c\r\n", "a, b", AW_E_REFUSED, NULL},
      {RESPONSE "Sec-WebSocket-Protocol: B\r\n", "a, b", AW_E_REFUSED, NULL},
      {RESPONSE "Sec-WebSocket-Protocol: a, b\r\n", "a, b", AW_E_REFUSED, NULL},
      {RESPONSE "Sec-WebSocket-Protocol:\r\n", "a", AW_E_REFUSED, NULL},
      {RESPONSE "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b\r\n",
       "a, b", AW_E_REFUSED, NULL},
  };

  (void)state;
  for (size_t i = 0; i < COUNT(rows); i++) {
    char text[1024];
    aw_http_span protocol;
    aw_http_head head;
    int rc;

    strcpy(text, rows[i].text);
    strcat(text, "\r\n");
    parse_text(&head, text, false);
    rc = aw_http_check_response(&head, KEY, rows[i].offered, &protocol);
    if (rc != rows[i].rc || (rc != 0) != (head.why[0] != '\0')) {
      fail_msg("%d (%s) for %s", rc, head.why, text);
    }
    assert_span(protocol, rows[i].protocol);
  }
}

static void protocols_are_picked_in_our_order(void **state) {
  static const struct {
    const char *offer, *ours, *picked;
  } rows[] = {
      {"Sec-WebSocket-Protocol: b, a\r\n", "a, b", "a"},
      {"Sec-WebSocket-Protocol: b\r\n", "a, b", "b"},
      {"Sec-WebSocket-Protocol: b\r\nsec-websocket-protocol: a\r\n", "a,b",
       "a"},
      {"Sec-WebSocket-Protocol: A\r\n", "a", NULL},
      {"Sec-WebSocket-Protocol: aa, ,\r\n", "a, ,", NULL},
      {"Sec-WebSocket-Protocol: a\r\n", "", NULL},
      {"", "a", NULL},
  };

  (void)state;
  for (size_t i = 0; i < COUNT(rows); i++) {
    char text[256] = GET;
    aw_http_head head;

    strcat(text, rows[i].offer);
    strcat(text, "\r\n");
    parse_text(&head, text, true);
    assert_span(aw_http_pick_protocol(&head, rows[i].ours), rows[i].picked);
  }
}

/* FIPS 180's examples and RFC 4648 section 10's. */
static void hashes_and_base64_are_those_of_the_standards(void **state) {
  static const struct {
    const char *text;
    const char *hex;
  } hashes[] = {
      {"", "da39a3ee5e6b4b0d3255bfef95601890afd80709"},
      {"abc", "a9993e364706816aba3e25717850c26c9cd0d89d"},
      {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
       "84983e441c3bd26ebaae4aa1f95129e5e54670f1"},
      {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
       "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
       "a49b2446a02c645bf419f995b67091253a04a259"},
  };
  static const struct {
    const char *text, *coded;
  } codes[] = {{"", ""},
               {"f", "Zg=="},
               {"fo", "Zm8="},
               {"foo", "Zm9v"},
               {"foob", "Zm9vYg=="},
               {"fooba", "Zm9vYmE="},
               {"\xFF\xEF\xBE", "/+++"}};

  (void)state;
  for (size_t i = 0; i < COUNT(hashes); i++) {
    unsigned char digest[AW_SHA1_SIZE];
    char hex[2 * AW_SHA1_SIZE + 1];

    aw_sha1(hashes[i].text, strlen(hashes[i].text), digest);
    for (size_t j = 0; j < AW_SHA1_SIZE; j++) {
      hex[2 * j] = "0123456789abcdef"[digest[j] >> 4];
      hex[2 * j + 1] = "0123456789abcdef"[digest[j] & 15];
    }
    assert_memory_equal(hex, hashes[i].hex, 2 * AW_SHA1_SIZE);
  }
  for (size_t i = 0; i < COUNT(codes); i++) {
    char coded[16] = "";

    aw_base64((const unsigned char *)codes[i].text, strlen(codes[i].text),
              coded);
    assert_string_equal(coded, codes[i].coded);
  }
}

static void key_and_accept_are_those_of_the_rfc(void **state) {
  char key[AW_HTTP_KEY_TEXT], accept[AW_HTTP_ACCEPT_TEXT];

  (void)state;
  aw_http_make_key((const unsigned char *)"the sample nonce", key);
  assert_memory_equal(key, KEY, sizeof key);
  aw_http_make_accept(key, accept);
  assert_memory_equal(accept, ACCEPT, sizeof accept);
}

static void urls_are_taken_apart(void **state) {
  static const struct {
    const char *text;
    bool secure, is_ipv6, port_given;
    const char *host;
    unsigned port;
    const char *target;
  } rows[] = {
      {"ws://host", false, false, false, "host", 80, "/"},
      {"wss://host", true, false, false, "host", 443, "/"},
      {"WSS://Host/", true, false, false, "Host", 443, "/"},
      {"ws://127.0.0.1:7450", false, false, true, "127.0.0.1", 7450, "/"},
      {"ws://host:0/", false, false, true, "host", 0, "/"},
      {"ws://host:65535/a/b?c=d", false, false, true, "host", 65535,
       "/a/b?c=d"},
      {"ws://host:00080/", false, false, true, "host", 80, "/"},
      {"ws://my-host_1.example:80/?", false, false, true, "my-host_1.example",
       80, "/?"},
      {"ws://host?q=/@:", false, false, false, "host", 80, "?q=/@:"},
      {"ws://[::1]", false, true, false, "::1", 80, "/"},
      {"wss://[2001:DB8::7]:8443/x", true, true, true, "2001:DB8::7", 8443,
       "/x"},
      {"ws://[::ffff:127.0.0.1]:1", false, true, true, "::ffff:127.0.0.1", 1,
       "/"},
      {"ws+unix:/run/a.sock", false, false, false, "localhost", 80, "/"},
      {"WS+UNIX:///run/a.sock:/b?c", false, false, false, "localhost", 80,
       "/b?c"},
      {"ws+unix:a.sock:", false, false, false, "localhost", 80, "/"},
      {"ws://host/a@b:c%20d", false, false, false, "host", 80, "/a@b:c%20d"},
  };

  (void)state;
  for (size_t i = 0; i < COUNT(rows); i++) {
    size_t len = strlen(rows[i].text);
    char *copy = exact_copy(rows[i].text, len);
    aw_http_url url;
    const char *why;
    int rc = aw_http_parse_url(&url, copy, len, &why);

    assert_int_equal(rc, 0);
    assert_null(why);
    assert_int_equal(url.secure, rows[i].secure);
    assert_int_equal(url.is_ipv6, rows[i].is_ipv6);
    assert_int_equal(url.port_given, rows[i].port_given);
    assert_int_equal(url.port, rows[i].port);
    assert_span(url.host, rows[i].host);
    assert_span(url.target, rows[i].target);
    free(copy);
  }
}

static void bad_urls_are_refused_with_a_reason(void **state) {
  static const struct {
    const char *text, *why; /* part of the sentence */
  } rows[] = {
      {"", "ws://"},
      {"ws", "ws://"},
      {"ws:", "ws://"},
      {"ws:/", "ws://"},
      {"ws:/host", "ws://"},
      {"host", "ws://"},
      {"host:80", "ws://"},
      {"//host", "ws://"},
      {"://host", "scheme"},
      {"http://host", "scheme"},
      {"wsss://host", "scheme"},
      {"w://host", "scheme"},
      {"ws://", "no host"},
      {"ws:///path", "no host"},
      {"ws://:80", "no host"},
      {"ws://?q", "no host"},
      {"ws://user@host", "user info"},
      {"ws://user:secret@host/", "user info"},
      {"ws://@host/", "user info"},
      {"ws://host:/", "port"},
      {"ws://host:x", "port"},
      {"ws://host:8x", "port"},
      {"ws://host:-1", "port"},
      {"ws://host:+1", "port"},
      {"ws://host: 1", "port"},
      {"ws://host:65536", "65535"},
      {"ws://host:4294967376", "65535"},
      {"ws://host:99999999999999999999", "65535"},
      {"ws://host/#", "fragment"},
      {"ws://host/a#b", "fragment"},
      {"ws://host#b", "fragment"},
      {"ws://ho st/", "host"},
      {"ws://h\xC3\xB6st/", "host"},
      {"ws://h%20st/", "host"},
      {"ws://host\r\nX: y", "host"},
      {"ws://::1/", "no host"},
      {"ws://fe80::1/", "port"},
      {"ws://[::1", "without ']'"},
      {"ws://[::1/", "without ']'"},
      {"ws://[]/", "IPv6"},
      {"ws://[host]/", "IPv6"},
      {"ws://[1.2.3.4]/", "IPv6"},
      {"ws://[::1]x/", "port"},
      {"ws://[::1]:/", "port"},
      {"ws://host/a b", "percent"},
      {"ws://host/a\r\nX: y", "percent"},
      {"ws://host/\xC3\xA9", "percent"},
      {" ws://host", "scheme"},
      {"ws://host ", "host"},
  };

  (void)state;
  for (size_t i = 0; i < COUNT(rows); i++) {
    size_t len = strlen(rows[i].text);
    char *copy = exact_copy(rows[i].text, len);
    const char *why = NULL;
    aw_http_url url;

    if (aw_http_parse_url(&url, copy, len, &why) != AW_E_INVALID ||
        why == NULL || strstr(why, rows[i].why) == NULL) {
      fail_msg("%s: %s", rows[i].text, why != NULL ? why : "accepted");
    }
    free(copy);
  }
}

static void excerpt_is_one_line_for_people(void **state) {
  static const struct {
    const char *text;
    size_t room;
    const char *shown;
  } rows[] = {
      {"plain", 16, "plain"},
      {" \t\r\n a \r\n\r\n b", 16, "a b"},
      {"caf\xC3\xA9", 16, "caf\xC3\xA9"},
      {"caf\xC3\xA9", 4, "caf"}, /* no part of a character */
      {"cut\x01here", 16, "cut"},
      {"cut\xFFhere", 16, "cut"},
      {"long", 2, "lo"},
      {"", 4, ""},
  };
  (void)state;
  for (size_t i = 0; i < COUNT(rows); i++) {
    char *out = malloc(rows[i].room); /* ASan sees what is beside it */
    size_t len =
        aw_http_excerpt(rows[i].text, strlen(rows[i].text), out, rows[i].room);
    if (len != strlen(rows[i].shown) || memcmp(out, rows[i].shown, len) != 0) {
      fail_msg("row %zu: %.*s", i, (int)len, out);
    }
    free(out);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(excerpt_is_one_line_for_people),
      cmocka_unit_test(parse_gives_the_parts_of_a_request),
      cmocka_unit_test(parse_gives_the_parts_of_a_response),
      cmocka_unit_test(parse_refuses_malformed_heads),
      cmocka_unit_test(a_head_cut_at_any_byte_is_not_complete_yet),
      cmocka_unit_test(parse_keeps_to_its_limits),
      cmocka_unit_test(parse_counts_headers),
      cmocka_unit_test(tokens_are_found_in_all_lines_of_a_list),
      cmocka_unit_test(requests_are_checked),
      cmocka_unit_test(responses_are_checked),
      cmocka_unit_test(protocols_are_picked_in_our_order),
      cmocka_unit_test(hashes_and_base64_are_those_of_the_standards),
      cmocka_unit_test(key_and_accept_are_those_of_the_rfc),
      cmocka_unit_test(urls_are_taken_apart),
      cmocka_unit_test(bad_urls_are_refused_with_a_reason),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
