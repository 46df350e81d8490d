/* A listener and a client over WebSocket, as the transport suite's pair: what
 * the engine-neutral tests share. */
#ifndef WS_PAIR_H
#define WS_PAIR_H

#include "aw_websocket.h"
#include "raw_peer.h"
#include "tls_files.h"
#include "transport_suite.h"

/* Made by the program's main, when it has tests that need certificates. */
extern tls_files ws_files;

/* The factories of the transport suite; set keeps_handles first. */
extern suite_factory ws_plain, ws_secure;

extern const aw_listener_sink ws_listener_sink;
extern suite_pair ws_the_pair; /* the one that ws_setup makes */

/* The listener is kept in pair->extra. url NULL: loopback, any port. */
unsigned ws_listen_with(suite_pair *pair, aw_listener_options options);
const char *ws_url_of(const char *scheme, const char *host, unsigned port);
aw_transport *ws_connect_with(suite_pair *pair, aw_websocket_options options);
bool ws_keeps_handles(void);
int ws_setup(void **state);
int ws_teardown(void **state);
bool ws_client_closed(suite_pair *pair);
bool ws_server_closed(suite_pair *pair);
bool ws_server_open(suite_pair *pair);
bool ws_client_open(suite_pair *pair);
bool ws_server_heard(suite_pair *pair);
void ws_assert_contains(const char *text, const char *part);
void ws_assert_client_fails(suite_pair *pair, int error, const char *part);
void ws_turn_raw(suite_pair *pair, raw_peer *raw);
bool ws_take_frame(suite_pair *pair, raw_peer *raw, raw_frame *frame);
void ws_make_plain(suite_pair *pair);
void ws_stop_listening(suite_pair *pair);

#define WS_TEST(test)                                                          \
  { #test, test, ws_setup, ws_teardown, NULL }

#endif
