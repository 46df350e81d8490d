/* What an arrival needs of an exchange: it lends it the stream until the
 * response is out. */
#ifndef AW_EXCHANGE_IMPL_H
#define AW_EXCHANGE_IMPL_H

#include "aw_exchange.h"
#include "aw_http_body.h"
#include "aw_request.h"
#include "aw_stream.h"

#pragma GCC visibility push(hidden)

typedef struct aw_exchange_settings aw_exchange_settings;
typedef struct aw_exchange_keeper aw_exchange_keeper;

struct aw_exchange_settings {
  uint64_t body_max;
  unsigned stall_ms;
};

/* What happens to a stream that is given back. Anything else is the status to
 * refuse with. */
enum { AW_EXCHANGE_NEXT, AW_EXCHANGE_LAST };

struct aw_exchange_keeper {
  void *user;
  /* Once: the stream is given back, NULL when it has ended. `rest` is what came
   * behind the request, owned from now on. */
  void (*back)(void *user, aw_stream *stream, aw_buf *rest, int status,
               const char *why);
};

/* Owns the request's parts, also on failure (AW_E_NOMEM). `framing` as of
 * aw_http_begin_request_body. */
int aw_exchange_new(aw_exchange **out, aw_loop *loop,
                    const aw_exchange_settings *settings, aw_request *request,
                    const aw_http_body *framing);

/* Takes the stream and what came behind the head. May give it back at once. */
void aw_exchange_begin(aw_exchange *exchange, aw_stream *stream, aw_buf *in,
                       const aw_exchange_keeper *keeper);

/* The connection ends behind this response. */
void aw_exchange_let_end(aw_exchange *exchange);

/* Ends the connection now. */
void aw_exchange_cut(aw_exchange *exchange);

#pragma GCC visibility pop

#endif
