/* An arrival is one connection of a listener until it is a WebSocket: it owns
 * the stream, reads what is asked for, and hands the stream on or refuses. What
 * is no upgrade is an exchange, which is lent the stream for as long as it
 * lasts; then comes the next request. */
#ifndef AW_ARRIVAL_H
#define AW_ARRIVAL_H

#include "aw_exchange_impl.h"
#include "aw_socket.h"

#pragma GCC visibility push(hidden)

typedef struct aw_arrival aw_arrival;
typedef struct aw_arrival_host aw_arrival_host;

/* Frames that come behind a request's head, before the answer went out. RFC
 * 6455 section 4.1 forbids them; a socket's worth is forgiven. */
#define AW_ARRIVAL_EARLY_MAX (64u << 10)

/* What arrivals need of their listener; embedded in it. */
struct aw_arrival_host {
  aw_loop *loop;
  aw_listener_sink sink;
  void *user;
  aw_socket_settings settings;
  aw_exchange_settings exchange;
  unsigned handshake_ms, keep_alive_ms;
  size_t head_max;
  char *protocols;
  aw_http_proxies proxies;
  bool trusts_unix;
  unsigned per_address_max; /* 0: no limit */
  char *path; /* the one that is served, normal; NULL: every path */
  aw_queue arrivals;
  unsigned refusals; /* arrivals that are only told why not */
};

/* Takes an accepted socket. `context` NULL: plain. `refusal` is the status to
 * answer with whatever is asked for, or 0. `roster` NULL: counted by nobody.
 * Upcalls may come before this returns. On failure fd is closed. */
int aw_arrival_new(aw_arrival_host *host, int fd, const struct sockaddr *peer,
                   SSL_CTX *context, aw_roster *roster, int refusal);

/* Is this a proxy whose word counts? Then whom it speaks for is told by its
 * request. */
bool aw_arrival_trusts(const aw_arrival_host *host,
                       const struct sockaddr *peer);

/* Drops all arrivals without a word, but those whose request is answered right
 * now: they end behind the response. */
void aw_arrival_end_all(aw_arrival_host *host);

#pragma GCC visibility pop

#endif
