/* A loop with a listener, a client and whatever the listener accepts, for the
 * tests of what a WebSocket engine does beyond the transport suite. */
#ifndef STAGE_H
#define STAGE_H

#include "aw_error.h"
#include "aw_websocket.h"
#include "raw_peer.h"

typedef struct stage_end stage_end;
typedef struct test_stage test_stage;

#define STAGE_SERVERS_MAX 8

/* One transport, and what it reported. */
struct stage_end {
  aw_transport *t;
  unsigned opens, messages, closes;
  int error, code;
  char reason[256], last[256], protocol[32];
};

struct test_stage {
  aw_loop *loop;
  aw_listener *listener;
  unsigned port;
  stage_end client, servers[STAGE_SERVERS_MAX];
  unsigned accepted;
  aw_upgrade *upgrade; /* the latest */
  void (*on_request)(test_stage *stage, aw_upgrade *upgrade);
};

/* cmocka fixtures; the state is a test_stage. */
int stage_set_up(void **state);
int stage_tear_down(void **state);
#define STAGED(test)                                                           \
  cmocka_unit_test_setup_teardown(test, stage_set_up, stage_tear_down)

/* On 127.0.0.1 with any port; `ask`: requests wait for an answer. */
void stage_listen_with(test_stage *stage, aw_listener_options options,
                       bool ask);
void stage_listen(test_stage *stage);

/* To stage->port; the transport is stage->client. */
void stage_connect_to(test_stage *stage, const char *scheme, const char *host,
                      aw_websocket_options options);
void stage_connect(test_stage *stage);

void stage_attach(stage_end *end, aw_transport *t);

/* For a listener of one's own; `user` is the stage. */
void stage_accepted(void *user, aw_transport *t);
void stage_requested(void *user, aw_upgrade *upgrade);

/* Turns of the loop until something holds; 10 s at most. */
void stage_until(test_stage *stage, const stage_end *end,
                 bool (*done)(const stage_end *end));
void stage_until_accepted(test_stage *stage, unsigned count);
void stage_until_requested(test_stage *stage);
bool end_is_closed(const stage_end *end);
bool end_is_settled(const stage_end *end); /* open or closed */
bool end_has_message(const stage_end *end);

/* Closed once, with this error and code, and a reason that holds this text. */
void assert_end(const stage_end *end, int error, int code, const char *reason);

/* Waits until a raw client was refused and hung up on, checks the status. */
void assert_refused(raw_peer *raw, const char *status);

#endif
