/* A server of agentwire.v1 for tests: a listener and a hub on one side, bare
 * sockets as its clients on the other. One house at a time. */
#ifndef HOUSE_H
#define HOUSE_H

#include "aw_error.h"
#include "aw_hub.h"
#include "aw_websocket.h"
#include "raw_peer.h"

#define HOUSE_CONNS_MAX 64
#define HOUSE_KEY "00112233445566778899aabbccddeeff"
#define HOUSE_OTHER_KEY "ffeeddccbbaa99887766554433221100"

struct house {
  aw_loop *loop;
  aw_listener *listener;
  aw_hub *hub;
  aw_types types;
  aw_conn *conns[HOUSE_CONNS_MAX]; /* in the order of their coming */
  unsigned accepted;
};
extern struct house house;

/* Whom those who come now are said to be; NULL: nobody. The test's. */
extern aw_identity *house_identity;

/* cmocka fixtures. What is in `conns` is freed, unless it was set to NULL. */
int house_set_up(void **state);
int house_tear_down(void **state);

void house_open(aw_hub_options options);

/* A client that has its upgrade, and says nothing yet. */
void house_come(raw_peer *raw);
void house_say(raw_peer *raw, const char *text);

/* A hello of session `number`. `scopes` and what may follow: the rest of the
 * payload, HOUSE_NO_SCOPES for none. */
void house_greet_as(raw_peer *raw, unsigned number, const char *key,
                    unsigned attempt, const char *scopes);
void house_greet(raw_peer *raw, const char *key, unsigned attempt,
                 const char *scopes);
#define HOUSE_NO_SCOPES "[],\"more\":false"

/* The next frame is a welcome to this generation; a close frame with this
 * code and a reason that holds `why`. */
void assert_welcomed(raw_peer *raw, unsigned generation);
void assert_farewell(raw_peer *raw, unsigned code, const char *why);

/* Turns of the loop until something holds; 10 s at most. */
void house_until(bool (*done)(void));

#endif
