/* The opening handshake as RFC 9110, RFC 9112 and RFC 6455 have it: what a
 * client may send and gets for it, what a server may answer and what a client
 * makes of it. One table for each role; the same rows run against the parser
 * and against sockets. */
#ifndef HTTP_CASES_H
#define HTTP_CASES_H

#include <stddef.h>

/* RFC 6455 section 1.3. */
#define HTTP_CASE_KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define HTTP_CASE_ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

typedef struct http_request_case http_request_case;
typedef struct http_response_case http_response_case;

/* For a server at /chat. */
struct http_request_case {
  const char *name, *text;
  size_t len;
  int status;         /* 101, or the refusal's */
  const char *target; /* of 101, as the server's owner sees it */
};

/* For a client that offers "agentwire.v1, makai.v1" with HTTP_CASE_KEY. A `$`
 * in the text stands for the accept value of the key that was really sent. */
struct http_response_case {
  const char *name, *text;
  size_t len;
  int error;       /* 0: open */
  const char *why; /* part of the reason */
};

extern const http_request_case http_request_cases[];
extern const size_t http_request_case_count;
extern const http_response_case http_response_cases[];
extern const size_t http_response_case_count;

#endif
