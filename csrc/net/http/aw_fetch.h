/* HTTP requests: one answer each, whose body is read as it comes. libcurl does
 * HTTP, TLS and proxies; the one loop drives it, nothing blocks and nothing
 * polls. A build without libcurl has these functions too, and says what it
 * lacks. */
#ifndef AW_FETCH_H
#define AW_FETCH_H

#include "aw_loop.h"

#pragma GCC visibility push(hidden)

typedef struct aw_fetch aw_fetch;
typedef struct aw_fetch_options aw_fetch_options;
typedef struct aw_fetch_limits aw_fetch_limits;
typedef struct aw_fetch_head aw_fetch_head;
typedef struct aw_fetch_about aw_fetch_about;

/* Connections of a loop. What waits for one waits for no longer than its
 * connect_ms. */
#define AW_FETCH_PER_HOST_MAX 256
#define AW_FETCH_TOTAL_MAX 512 /* half of the usual limit of descriptors */
#define AW_FETCH_KEPT_MAX 32   /* idle ones, to be used again */

/* Body that waits to be read. With so much of it the peer is not read from
 * until half of it is gone. May be passed by what libcurl reads at once, and by
 * what that unpacks to. */
#define AW_FETCH_BUFFER (256u << 10)
#define AW_FETCH_HEAD_MAX (64u << 10) /* bytes of the answer's header */

#define AW_FETCH_CONNECT_MS 10000
/* Models that reason may say nothing for minutes before their first word. */
#define AW_FETCH_FIRST_BYTE_MS 300000
#define AW_FETCH_IDLE_MS 120000

/* Everything is copied. Numbers: 0 is none, without a default. */
struct aw_fetch_options {
  const char *method;  /* "GET" */
  const char *url;     /* http:// or https:// */
  const char *headers; /* whole lines, each with its CR LF, of names and values
                          that were checked */
  const char *body;    /* NULL: none */
  size_t body_len;
  const char *proxy; /* "": none */
  const char *ca_file, *cert_file, *key_file;
  bool insecure;          /* the server is not checked */
  bool compressed;        /* asks for gzip and unpacks it */
  bool http1;             /* no HTTP/2 */
  uint64_t connect_ms;    /* until the request can be written */
  uint64_t first_byte_ms; /* from what was written of it until an answer */
  uint64_t idle_ms; /* between two bytes of it, as long as they are read */
  uint64_t whole_ms;
  uint64_t body_max;
  size_t buffer, head_max; /* 0: the default */
};

/* 0: the default. */
struct aw_fetch_limits {
  unsigned per_host, total, kept;
};

struct aw_fetch_head {
  int status;
  const char *lines; /* of the header, without the status line; no NUL */
  size_t len;
  const char *redirect; /* whole URL that a Location leads to, or NULL */
};

struct aw_fetch_about {
  const char *version;  /* "7.88.1" */
  const char *resolver; /* "threads", "c-ares", "blocking" */
  const char *tls;      /* "OpenSSL/3.0.15", or NULL */
  bool http2, gzip;
};

/* Events of its source. */
enum aw_fetch_event {
  AW_FETCH_HEAD = 1,
  AW_FETCH_BODY = 2, /* more of it, or its end */
  AW_FETCH_DONE = 4  /* in whatever way: the last event */
};

/* Begins a request. AW_E_INVALID: an option cannot be sent. AW_E_UNSUPPORTED:
 * libcurl is not in this build, or cannot be used. *why is static or NULL. */
int aw_fetch_new(aw_fetch **out, aw_loop *loop, const aw_fetch_options *options,
                 void *user, const char **why);

/* Ends what has not ended, its connection at once. NULL is accepted. */
void aw_fetch_free(aw_fetch *fetch);

aw_source *aw_fetch_source(aw_fetch *fetch);

/* AW_E_AGAIN: it has not come. Else, as of aw_fetch_peek, no answer came.
 * Valid until the fetch is freed. */
int aw_fetch_head_of(const aw_fetch *fetch, aw_fetch_head *out);

/* What of the body is here, at least a byte. AW_E_AGAIN: nothing. AW_E_CLOSED:
 * that was all of it. Else it has failed, after what came before the failure:
 * AW_E_RESOLVE, AW_E_CONNECT, a code of TLS, one of the four AW_E_TIMEOUT,
 * AW_E_INCOMPLETE, AW_E_HTTP_PROTOCOL, AW_E_LIMIT, AW_E_IO, AW_E_NOMEM; see
 * aw_fetch_why. Valid until the next call. */
int aw_fetch_peek(const aw_fetch *fetch, const char **bytes, size_t *len);
void aw_fetch_consume(aw_fetch *fetch, size_t len);

/* One sentence of a failure, without anything secret; "" for none. */
const char *aw_fetch_why(const aw_fetch *fetch);

/* For all requests of this loop, from now on. Failures as of aw_fetch_new. */
int aw_fetch_limit(aw_loop *loop, const aw_fetch_limits *limits,
                   const char **why);

/* What HTTP stands on here. AW_E_UNSUPPORTED with *why: nothing. */
int aw_fetch_about_of(aw_fetch_about *out, const char **why);

#pragma GCC visibility pop

#endif
