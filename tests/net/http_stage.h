/* A listener that is given requests, and bare sockets as its clients. Whoever
 * waits turns the loop. */
#ifndef HTTP_STAGE_H
#define HTTP_STAGE_H

#include "aw_error.h"
#include "aw_websocket.h"
#include "raw_peer.h"

typedef struct http_stage http_stage;

#define HTTP_STAGE_MAX 64
#define HTTP_BODY_MAX (1u << 20)

struct http_stage {
  aw_mem mem; /* counts */
  size_t live, peak;
  size_t calls, fail_at; /* allocations; 0: none fails */
  aw_loop *loop;
  aw_listener *listener;
  unsigned port;
  aw_exchange *x[HTTP_STAGE_MAX]; /* in the order of their coming */
  unsigned count;
  aw_transport *socket; /* of an upgrade */
  /* Set: called with each request in place of keeping it. */
  void (*on_request)(http_stage *stage, aw_exchange *x);
  void *extra; /* the test's */
};

/* cmocka fixtures; the state is an http_stage. What is in `x` is freed. */
int http_set_up(void **state);
int http_tear_down(void **state);
#define HTTP_TEST(test)                                                        \
  cmocka_unit_test_setup_teardown(test, http_set_up, http_tear_down)

/* On 127.0.0.1 with any port. */
void http_listen(http_stage *stage, aw_listener_options options);

/* A client that says this. */
void http_dial(http_stage *stage, raw_peer *raw, const char *text);

/* Turns until something holds; fails after 10 s. */
#define HTTP_UNTIL(raw, what)                                                  \
  do {                                                                         \
    uint64_t until_ = uv_hrtime() + 10000000000u;                              \
    while (!(what)) {                                                          \
      if (uv_hrtime() >= until_) {                                             \
        fail_msg("%s never held; last read: %.300s", #what, (raw)->in);        \
      }                                                                        \
      raw_turn(raw);                                                           \
    }                                                                          \
  } while (0)

/* Some turns in which something would happen if it were to. */
void http_idle(raw_peer *raw, unsigned turns);

/* The exchange of this number, from 0, once it is there. */
aw_exchange *http_request(http_stage *stage, raw_peer *raw, unsigned number);
/* As above, of a client that is dialled for it. */
aw_exchange *http_come(http_stage *stage, raw_peer *raw, const char *text);

/* Frees an exchange of the stage's. */
void http_let_go(http_stage *stage, aw_exchange *x);

/* Reads what is there; true once the body is whole. `text` is NUL-terminated,
 * and has HTTP_BODY_MAX + 1 bytes. */
bool http_read(aw_exchange *x, char *text, size_t *len, int *error);

/* A whole response. */
void http_answer(aw_exchange *x, int status, const char *body);

/* How often a text is in what came. */
unsigned http_count(const raw_peer *raw, const char *text);

/* Is it over, and then with this error? */
bool http_is_over(const aw_exchange *x, int error);
void http_until_over(http_stage *stage, aw_exchange *x, int error);

/* All events that the exchange's source has had since the last call. */
unsigned http_events(http_stage *stage, aw_exchange *x);

#endif
