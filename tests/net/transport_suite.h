/* The one suite that every transport passes. A kind of transport provides a
 * factory, and its test program is this:
 *
 *   static void make(suite_pair *pair) {
 *     aw_transport *client, *server;
 *     assert_int_equal(aw_x_pair(pair->loop, &client, &server), 0);
 *     suite_attach(&pair->client, client);
 *     suite_attach(&pair->server, server);
 *   }
 *   int main(void) {
 *     static const suite_factory factory = {.name = "x", .make = make};
 *     return suite_run(&factory);
 *   }
 *
 * `make` is called once for each test, on a fresh loop. It gives each end its
 * transport with suite_attach as soon as the transport exists, because that is
 * what sets the sink: at once for a client, inside `accepted` for a server. It
 * may run the loop with suite_turn until both ends are there; neither needs to
 * be open when it returns. What else it makes (a listener) it keeps in
 * pair->extra for `unmake`, which is called after both transports were freed.
 */
#ifndef TRANSPORT_SUITE_H
#define TRANSPORT_SUITE_H

#include "aw_error.h"
#include "aw_transport.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

typedef struct suite_factory suite_factory;
typedef struct suite_pair suite_pair;
typedef struct suite_end suite_end;

enum suite_upcall {
  SUITE_NONE,
  SUITE_OPEN,
  SUITE_MESSAGE,
  SUITE_WRITABLE,
  SUITE_CLOSED,
  SUITE_GARBAGE
};

struct suite_factory {
  const char *name;
  void (*make)(suite_pair *pair);
  void (*unmake)(suite_pair *pair); /* may be NULL */
  bool has_codes;          /* code and reason of a close reach the other end */
  bool silent_server;      /* the server end is open when it is attached and
                              makes no `open` upcall */
  bool keeps_handles;      /* something stays on the loop until aw_loop_free:
                              leave out the check for open handles */
  bool free_looks_orderly; /* freeing one end looks like an orderly close from
                            the other: do not expect an error */
};

/* One end and what happened to it. Fields below the line may be set by a test
 * before or while it runs. */
struct suite_end {
  suite_pair *pair;
  aw_transport *t; /* NULL once freed */
  aw_transport_info info;
  unsigned opens, closes, writables, garbage;
  int closed_error, closed_code, garbage_error;
  char closed_reason[128], garbage_what[128];
  size_t messages, bytes;  /* received */
  size_t wrong;            /* messages that were not the expected one */
  size_t writable_room;    /* aw_transport_room inside `writable` */
  size_t sent, send_total; /* driven by suite_pump */
  /* --- */
  size_t (*size_of)(size_t index); /* sizes of the messages to come */
  enum suite_upcall free_in;       /* free the transport in this upcall */
  void (*on_message)(suite_end *end, char *bytes, size_t len);
};

struct suite_pair {
  const suite_factory *factory;
  aw_loop *loop;
  suite_end client, server;
  void *extra;
  bool in_loop; /* upcalls are legal now */
};

/* Runs all tests; the number of those that failed. */
int suite_run(const suite_factory *factory);

/* The helpers of the suite, for the further tests of one kind. */

/* A fresh loop, no transports. */
void suite_start(suite_pair *pair, const suite_factory *factory);
/* Frees what is left, checks that no libuv handle stays open. */
void suite_stop(suite_pair *pair);

void suite_attach(suite_end *end, aw_transport *t);
void suite_free(suite_end *end);

/* One aw_loop_wait. Upcalls outside of it fail the test. */
void suite_turn(suite_pair *pair, int timeout_ms);

/* Turns until `done` holds; fails the test after 20 s. */
void suite_until(suite_pair *pair, bool (*done)(suite_pair *pair));
bool suite_both_open(suite_pair *pair);
bool suite_both_closed(suite_pair *pair);

/* Message number `index` of a given size: letters, so that it is a line and a
 * text message; lives for the whole program. */
const char *suite_message(size_t index, size_t len);

/* Sends as many of end's messages (size_of, send_total) as there is room for.
 * Is called again by `writable` and by suite_until. */
void suite_pump(suite_end *end);

#endif
