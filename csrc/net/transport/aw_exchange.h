/* One request that is no upgrade, and its response (RFC 9110, RFC 9112): a body
 * comes in and a response goes out, each no faster than the other side takes
 * it. A listener whose sink has `request` gives them.
 *
 * Whoever is given one owns it, and has to call aw_exchange_free exactly once,
 * before the loop is freed; the listener may be gone before. Its source tells
 * what has happened. The connection is over for it once OVER was raised: the
 * response has gone out, or the client has. Everything that came can still be
 * read then.
 *
 * A client that ends its side of the connection has gone: who only ends what it
 * sends cannot be told apart from that. */
#ifndef AW_EXCHANGE_H
#define AW_EXCHANGE_H

#include "aw_loop.h"

#pragma GCC visibility push(hidden)

typedef struct aw_exchange aw_exchange;
typedef struct aw_exchange_end aw_exchange_end;

/* Defaults of the listener's options. */
#define AW_EXCHANGE_BODY_MAX (32u << 20) /* of a request; then 413 */
/* Nothing of a body that is waited for, or nothing taken of a response. */
#define AW_EXCHANGE_STALL_MS 30000
#define AW_EXCHANGE_KEEP_ALIVE_MS 60000 /* between two requests */

/* Of the body, content that waits to be read; of what a client sends behind it,
 * bytes that wait for their turn. With so much nothing more is read, so that
 * each may be passed by one read, which is as long at most. */
#define AW_EXCHANGE_IN_BYTES (64u << 10)

/* Output that waits; with so much a write is refused, and WRITABLE follows when
 * half of it has gone. May be passed by one write. */
#define AW_EXCHANGE_OUT_BYTES (256u << 10)

/* Of a body that is not read to its end, what is taken all the same once the
 * response has ended, for the sake of the next request. With more to come the
 * connection ends. */
#define AW_EXCHANGE_DRAIN_BYTES (256u << 10)

/* A length that nobody knows yet. */
#define AW_EXCHANGE_UNKNOWN UINT64_MAX

enum aw_exchange_event {
  AW_EXCHANGE_READABLE = 1, /* content of the body, or its end */
  AW_EXCHANGE_WRITABLE = 2, /* after a write was refused for lack of room */
  AW_EXCHANGE_OVER = 4      /* the last */
};

/* error: AW_OK: the response has gone out. AW_E_CLOSED: the client has gone, or
 * we have cut it off. AW_E_TIMEOUT: it has stalled. AW_E_INVALID, AW_E_LIMIT:
 * what it sent as a body is malformed, or too long; it was told, unless the
 * response had begun. AW_E_NOMEM, AW_E_TLS. */
struct aw_exchange_end {
  int error;
  const char *reason;
};

aw_source *aw_exchange_source(aw_exchange *exchange);

/* The request. Strings live as long as the exchange. */
const char *aw_exchange_method(const aw_exchange *exchange, size_t *len);
/* "/path?query" as of an upgrade, or OPTIONS' "*". */
const char *aw_exchange_target(const aw_exchange *exchange);
int aw_exchange_minor(const aw_exchange *exchange);        /* of HTTP/1.x */
const char *aw_exchange_peer(const aw_exchange *exchange); /* without port */
/* Subject of the verified client certificate (RFC 4514), or NULL. */
const char *aw_exchange_tls_subject(const aw_exchange *exchange);
/* As aw_upgrade_header and aw_upgrade_headers. */
const char *aw_exchange_header(const aw_exchange *exchange, const char *name,
                               size_t *len);
struct aw_upgrade_field;
bool aw_exchange_headers(const aw_exchange *exchange, unsigned index,
                         struct aw_upgrade_field *field);
/* Of the whole body, or AW_EXCHANGE_UNKNOWN. */
uint64_t aw_exchange_length(const aw_exchange *exchange);

/* What is here of the body, until the next call for this exchange; *len 0: it
 * is whole, and all of it was consumed. AW_E_AGAIN: nothing is here yet; who
 * asks for the first time lets a client go on that waits for that (RFC 9110
 * section 10.1.1). AW_E_CLOSED: no more will come, because the response has
 * ended, or begun while the client waited to be asked. Else how the connection
 * has ended. */
int aw_exchange_peek(aw_exchange *exchange, const char **bytes, size_t *len);
void aw_exchange_consume(aw_exchange *exchange, size_t len);

/* Begins the response, with a status of 200 to 599 and header lines as of
 * aw_http_build_response. Its body has `length` bytes, or as many as are
 * written: in chunks, or up to the end of the connection for HTTP/1.0. What a
 * response to HEAD, a 204 or a 304 writes is counted and not sent.
 * AW_E_INVALID: such headers cannot be sent, or the response has begun.
 * AW_E_CLOSED, AW_E_NOMEM. */
int aw_exchange_respond(aw_exchange *exchange, int status, const char *headers,
                        uint64_t length);

/* All of it or nothing. AW_E_AGAIN: no room, WRITABLE follows. AW_E_INVALID:
 * the response has not begun, or has ended, or would get longer than was said.
 * AW_E_CLOSED, AW_E_NOMEM. */
int aw_exchange_write(aw_exchange *exchange, const char *bytes, size_t len);

/* Bytes until a write is refused. */
size_t aw_exchange_room(const aw_exchange *exchange);

/* Ends the response. AW_E_INVALID: as above, or it is shorter than was said. */
int aw_exchange_finish(aw_exchange *exchange);

/* NULL while it is not over. */
const aw_exchange_end *aw_exchange_end_of(const aw_exchange *exchange);

/* A response that has ended goes out all the same. Without one the client gets
 * 503; in the middle of one the connection is cut, which is the only way to
 * tell that it is not whole. NULL is accepted. */
void aw_exchange_free(aw_exchange *exchange);

#pragma GCC visibility pop

#endif
