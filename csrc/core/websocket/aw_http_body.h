/* The body of a request or a response (RFC 9112 sections 6 and 7), sans I/O:
 * how long it is, by its head, and its content without what frames it. */
#ifndef AW_HTTP_BODY_H
#define AW_HTTP_BODY_H

#include "aw_http.h"

#pragma GCC visibility push(hidden)

typedef struct aw_http_body aw_http_body;

/* A chunk's line: its size, and extensions that nobody reads. */
#define AW_HTTP_CHUNK_LINE_MAX 256
/* All extensions of one body: without this a byte of content could cost a line
 * each time. */
#define AW_HTTP_EXTENSIONS_MAX 4096
#define AW_HTTP_TRAILERS_MAX 4096 /* bytes; they are checked and forgotten */

struct aw_http_body {
  enum aw_http_framing framing;
  uint64_t left; /* of COUNTED, and of the chunk */
  int state;     /* of CHUNKED; private */
  size_t line, extensions, trailers;
  const char *why; /* static sentence, after a failure */
};

/* Of a request. 0, or the status to answer with, which ends the connection,
 * because nobody can tell where the next request begins; head->why says why.
 * 400: Content-Length twice, malformed, or beside Transfer-Encoding, which in
 * turn is HTTP/1.0's or does not end in chunked. 501: a coding besides chunked.
 * 413: more than can be counted. */
int aw_http_begin_request_body(aw_http_body *body, aw_http_head *head);

/* Of a response; what cannot be understood ends with the connection. */
void aw_http_begin_response_body(aw_http_body *body, const aw_http_head *head);

/* Goes through bytes up to the end of a span of content, the body's end, or
 * theirs: *used of them are done with, *content is among them (it may be
 * empty). To be called again while bytes are left and the body is not whole.
 * AW_E_INVALID: malformed; AW_E_LIMIT: one of the limits above. Both are for
 * good. */
int aw_http_take_body(aw_http_body *body, const char *bytes, size_t len,
                      size_t *used, aw_http_span *content);

/* Is there nothing more to come? */
bool aw_http_is_body_whole(const aw_http_body *body);

#pragma GCC visibility pop

#endif
