/* The public functions of the libwebsockets engine under the names that
 * tests/CMakeLists.txt gives them. */
#ifndef LWS_PEER_H
#define LWS_PEER_H

#include "aw_websocket.h"

int lws_websocket_connect(aw_loop *loop, const aw_websocket_options *options,
                          aw_transport **out, const char **why);
int lws_listener_new(aw_loop *loop, const aw_listener_options *options,
                     const aw_listener_sink *sink, void *user,
                     aw_listener **out, const char **why);
unsigned lws_listener_port(const aw_listener *listener);
void lws_listener_free(aw_listener *listener);

#endif
