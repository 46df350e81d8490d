/* The WebSocket opening handshake (RFC 6455 section 4 over RFC 9112), sans I/O:
 * a head of bytes in, spans out. Only what an upgrade needs: no bodies. */
#ifndef AW_HTTP_H
#define AW_HTTP_H

#include "aw_address.h"
#include "aw_buf.h"
#include <stdbool.h>

#pragma GCC visibility push(hidden)

#define AW_HTTP_HEAD_MAX 8192 /* bytes of a request or response head */
#define AW_HTTP_HEADERS_MAX 64
#define AW_HTTP_EXTRA_MAX 56   /* headers of a caller's in a request */
#define AW_HTTP_KEY_TEXT 24    /* base64 of 16 bytes */
#define AW_HTTP_ACCEPT_TEXT 28 /* base64 of a SHA-1 */

typedef struct aw_http_span aw_http_span;
typedef struct aw_http_header aw_http_header;
typedef struct aw_http_head aw_http_head;

struct aw_http_span {
  const char *bytes; /* NULL when absent */
  size_t len;
};

struct aw_http_header {
  aw_http_span name, value; /* value without surrounding white space */
};

/* Spans point into the parsed text. */
struct aw_http_head {
  bool is_request;
  aw_http_span method, target; /* request: "GET", "/path?query" */
  aw_http_span path, query;    /* of the target, once it was checked; path may
                                  be static, query NULL when absent */
  int status;                  /* response */
  aw_http_span reason;
  int major, minor; /* of HTTP/1.1 */
  bool bare_lf;     /* a line ended in LF alone */
  aw_http_header headers[AW_HTTP_HEADERS_MAX];
  unsigned count;
  const char *why; /* static sentence, after a failure */
};

/* Parses a head that ends in an empty line. 0: *used bytes are the head; empty
 * lines before a request belong to it (RFC 9112 section 2.2). AW_E_AGAIN: not
 * complete yet. AW_E_INVALID: no HTTP or malformed (control characters, white
 * space before a colon; a bare LF is accepted as a line end), found as soon as
 * the wrong byte or line is there. Folded lines are malformed in a request; in
 * a response, where RFC 9112 section 5.2 wants them read, they are part of the
 * value, line end included. AW_E_LIMIT: longer than max (0 = AW_HTTP_HEAD_MAX)
 * or too many headers. */
int aw_http_parse(aw_http_head *head, const char *text, size_t len, size_t max,
                  bool is_request, size_t *used);

/* First header of this name (case-insensitive); bytes NULL when absent. */
aw_http_span aw_http_find(const aw_http_head *head, const char *name);

/* Does a comma-separated list header (all its lines together) hold this token,
 * compared without case? */
bool aw_http_has_token(const aw_http_head *head, const char *name,
                       const char *token);

/* Checks a request against section 4.2.1 (GET, HTTP/1.1, a target that is a
 * path or an http:// URL, one valid Host, Upgrade, Connection, Version 13, one
 * Key of 16 base64 bytes, no Key twice, no body), and whether it asks for
 * `path`, in the form of aw_http_normal_path; NULL: any will do. 0, or the HTTP
 * status to answer with (400, 404, 405, 426, 505); head->why says why. */
int aw_http_check_request(aw_http_head *head, const char *path);

/* Checks a request that is no upgrade: HTTP/1.x whose lines all end in CR LF, a
 * target that is a path, an http:// URL or OPTIONS' "*", one valid Host
 * (HTTP/1.0 may have none), one Origin at most, no Expect but 100-continue, not
 * CONNECT. Sets path and query. 0, or the status to answer with (400, 417, 501,
 * 505); head->why says why. What frames its body is
 * aw_http_begin_request_body's to check. */
int aw_http_check_plain(aw_http_head *head);

/* Is it a request for a WebSocket (right or wrong otherwise)? */
bool aw_http_asks_upgrade(const aw_http_head *head);

/* Does the client wait for "100 Continue" before it sends the body? */
bool aw_http_expects_continue(const aw_http_head *head);

/* Sets path and query from the target; NULL, or what is wrong with it (static).
 * Only for requests; both checks call it. */
const char *aw_http_read_target(aw_http_head *head);

/* Writes the one form of all that name the same path (RFC 3986 section 6.2.2):
 * no %XX for what needs none, capital hexadecimals. `out` has room for
 * path.len; gives the length. */
size_t aw_http_normal_path(aw_http_span path, char *out);

/* Is this a host with or without a port, as Host has to be? */
bool aw_http_is_authority(aw_http_span text);

/* Picks the first of `ours` (comma-separated, in order of preference) that the
 * request's Sec-WebSocket-Protocol offers. Span into `ours`; bytes NULL: none.
 */
aw_http_span aw_http_pick_protocol(const aw_http_head *head, const char *ours);

/* Checks a response against section 4.1: 101, Upgrade, Connection, Accept for
 * `key`, no extension (none was offered), a protocol that is among `offered`
 * (comma-separated; NULL: any or none) or none. 0, or AW_E_REFUSED with
 * head->why. *protocol: the agreed one, a span into the head. */
int aw_http_check_response(aw_http_head *head, const char key[AW_HTTP_KEY_TEXT],
                           const char *offered, aw_http_span *protocol);

/* Proxies whose X-Forwarded-For is believed. */
struct aw_http_proxies {
  aw_network *networks;
  size_t count;
};
typedef struct aw_http_proxies aw_http_proxies;

bool aw_http_is_trusted(const aw_http_proxies *proxies,
                        const aw_address *address);

/* Sets *client to who asked, when the request came from `peer` (NULL: from a
 * proxy of ours that has no address): going through X-Forwarded-For from its
 * end, which the nearest proxy wrote, the first that is no proxy of ours; what
 * stands before that anybody may have written. *client stays as it was when
 * `peer` is no proxy, or speaks for nobody. False: a proxy of ours wrote what
 * is no address. */
bool aw_http_client_of(const aw_http_head *head, const aw_http_proxies *proxies,
                       const aw_address *peer, aw_address *client);

/* Copies what is here of a response's body, at most `room` bytes, without its
 * chunks' frames. True: there is no more to wait for; what is malformed ends.
 */
bool aw_http_read_body(const aw_http_head *head, const char *bytes, size_t len,
                       char *out, size_t room, size_t *got);

/* One line for people of bytes that a peer chose: UTF-8 without control
 * characters, white space made single blanks, cut before what is neither. At
 * most `room` bytes; gives the length, no NUL. */
size_t aw_http_excerpt(const char *bytes, size_t len, char *out, size_t room);

/* As above, of a URL, without user, query and fragment. */
size_t aw_http_public_url(aw_http_span url, char *out, size_t room);

/* Sec-WebSocket-Key from 16 random bytes; Sec-WebSocket-Accept from a key
 * (section 4.2.2 item 5.4: SHA-1, FIPS 180-4, and base64, RFC 4648). */
void aw_http_make_key(const unsigned char random[16],
                      char key[AW_HTTP_KEY_TEXT]);
void aw_http_make_accept(const char key[AW_HTTP_KEY_TEXT],
                         char accept[AW_HTTP_ACCEPT_TEXT]);

/* What is wrong with a header that a caller wants to add to a request: a name
 * that is no token (RFC 9110 section 5.6.2) or that the handshake writes itself
 * (Host, Upgrade, Connection, Content-Length, Transfer-Encoding, every
 * Sec-WebSocket one), a value with a control character (CR, LF, NUL). NULL:
 * nothing; else a static sentence, which repeats neither. */
const char *aw_http_check_header(aw_http_span name, aw_http_span value);

/* Builders. `extra` is whole header lines ("Name: value\r\n"...) or NULL;
 * `protocols` may be NULL; a target that starts with '?' gets a "/" before it.
 * AW_E_INVALID when a value holds CR, LF or NUL (header injection), when
 * `extra` is not whole lines or repeats a header that the builder writes, and
 * when aw_http_parse would not read the head back. Failures leave `out` as it
 * was. */
int aw_http_build_request(aw_buf *out, const char *host, const char *target,
                          const char key[AW_HTTP_KEY_TEXT],
                          const char *protocols, const char *extra);
int aw_http_build_accept(aw_buf *out, const char accept[AW_HTTP_ACCEPT_TEXT],
                         aw_http_span protocol, const char *extra);
/* Asks a proxy for a tunnel to `authority`, host and port (RFC 9110 section
 * 9.3.6). `user` is "name:password" as it stands in a URL, percent-encoded, for
 * Basic authentication (RFC 7617); bytes NULL: none. AW_E_INVALID when it holds
 * control characters, or is longer than AW_HTTP_USER_MAX. */
#define AW_HTTP_USER_MAX 512
int aw_http_build_connect(aw_buf *out, const char *authority,
                          aw_http_span user);

/* An HTTP-date (RFC 9110 section 5.6.7), with a NUL. What is before 1970 or
 * after 9999 is 1970. */
#define AW_HTTP_DATE_TEXT 30
#define AW_HTTP_DATE_MAX 253402300799
void aw_http_format_date(int64_t seconds, char text[AW_HTTP_DATE_TEXT]);

/* How long a body is said to be (RFC 9112 section 6). */
enum aw_http_framing {
  AW_HTTP_EMPTY,
  AW_HTTP_COUNTED,     /* Content-Length */
  AW_HTTP_CHUNKED,     /* Transfer-Encoding: chunked */
  AW_HTTP_UNTIL_CLOSED /* a response's alone */
};

typedef struct aw_http_response aw_http_response;
struct aw_http_response {
  int status;          /* 200 to 599 */
  const char *headers; /* as `extra` above */
  enum aw_http_framing framing;
  uint64_t length; /* of COUNTED */
  bool close;      /* says that the connection ends behind it */
  int64_t seconds; /* since 1970, for Date */
};

/* The head of a response, with what frames its body. AW_E_INVALID as above;
 * also when `headers` has one of Date, Connection, Content-Length,
 * Transfer-Encoding, Keep-Alive, Trailer, Upgrade, or there are too many. */
int aw_http_build_response(aw_buf *out, const aw_http_response *response);

/* Bytes (not none) as a chunk of their own; the end of all chunks. */
int aw_http_build_chunk(aw_buf *out, const char *bytes, size_t len);
int aw_http_build_last_chunk(aw_buf *out);

/* A refusal with a text/plain body and Connection: close; 426 names version
 * 13. */
int aw_http_build_refusal(aw_buf *out, int status, const char *why);

typedef struct aw_http_url aw_http_url;

/* ws://host[:port]/path?query and wss://; ws+unix:/file:/path?query, a Unix
 * socket's file, which holds no colon. IPv6 hosts in brackets (host span
 * without them). Path defaults to "/"; a fragment is refused (section 3). Port
 * 0 is accepted: a listener's "any". */
struct aw_http_url {
  bool secure;
  aw_http_span host;
  aw_http_span target; /* path and query, "?query" alone, or "/" (static) */
  aw_http_span path;   /* "/" (static) when absent */
  aw_http_span query;  /* with its "?"; empty when absent */
  unsigned port;       /* 80 or 443 when absent */
  bool port_given, is_ipv6;
  aw_http_span user; /* of a proxy: before the @, bytes NULL when absent */
  aw_http_span file; /* ws+unix: the host is "localhost" then (static) */
};

/* AW_E_INVALID with *why (static sentence) for anything else; user info in the
 * URL is refused (credentials belong in headers). */
int aw_http_parse_url(aw_http_url *url, const char *text, size_t len,
                      const char **why);

/* http://[user[:password]@]host[:port], a proxy. *why repeats no part of it. */
int aw_http_parse_proxy(aw_http_url *url, const char *text, size_t len,
                        const char **why);

#pragma GCC visibility pop

#endif
