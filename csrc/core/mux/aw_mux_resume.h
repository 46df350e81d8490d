/* How a session survives its connections: hello and welcome, as both ends say
 * and hear them (docs/wire.md section 7). */
#ifndef AW_MUX_RESUME_H
#define AW_MUX_RESUME_H

#include "aw_mux_hello.h"
#include "aw_mux_impl.h"
#include "aw_mux_link_text.h"

#pragma GCC visibility push(hidden)

/* The client's first word on a connection. */
int mux_say_hello(aw_mux *mux);

/* AW_E_REFUSED: malformed. */
int mux_receive_welcome(aw_mux *mux, const mux_link_reader *in);

#pragma GCC visibility pop

#endif
