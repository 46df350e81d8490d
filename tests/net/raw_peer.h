/* The other end of a WebSocket connection, as a bare socket in the same
 * process: what is sent is exactly what a test says, and nothing is answered
 * by itself. Whatever waits runs the loop of the end under test. */
#ifndef RAW_PEER_H
#define RAW_PEER_H

#include "aw_loop.h"
#include "aw_ws.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

typedef struct raw_peer raw_peer;
typedef struct raw_frame raw_frame;

struct raw_peer {
  aw_loop *loop;
  int fd;
  char *in; /* received and not consumed; NUL-terminated */
  size_t len, size;
  bool ended; /* end of input, or an error */
  int error;  /* errno of it */
  void *tls;  /* an SSL, after raw_secure */
};

struct raw_frame {
  uint8_t opcode;
  bool final, masked;
  size_t len;
  char bytes[256]; /* the first of them, unmasked */
  uint16_t code;   /* of a close frame; 1005: none */
};

/* Connects to a listener on 127.0.0.1. */
void raw_dial(raw_peer *raw, aw_loop *loop, unsigned port);

/* A socket that listens on 127.0.0.1, and its next connection. */
int raw_listen(unsigned *port);
void raw_accept(raw_peer *raw, aw_loop *loop, int listener);

/* From here on over TLS: as the server with this certificate and key (PEM in
 * one file), or, with NULL, as a client that trusts everybody. What is written
 * to a connection that has gone raises SIGPIPE: ignore it. */
void raw_secure(raw_peer *raw, const char *certificate);

/* Says that no more will be sent. */
void raw_hang_up(raw_peer *raw);

void raw_free(raw_peer *raw);

/* One turn of the loop, and whatever came. */
void raw_turn(raw_peer *raw);

/* Turns until `done` holds; fails the test after 10 s. */
void raw_until(raw_peer *raw, bool (*done)(raw_peer *raw));
void raw_until_ended(raw_peer *raw);

void raw_put(raw_peer *raw, const void *bytes, size_t len);
void raw_say(raw_peer *raw, const char *text);
void raw_consume(raw_peer *raw, size_t len);

/* One frame, masked with zeros when `masked`. */
void raw_put_frame(raw_peer *raw, uint8_t first, bool masked, const char *bytes,
                   size_t len);

/* The opening handshake as a client, and as a server that answers with this
 * subprotocol (NULL: none). */
void raw_upgrade(raw_peer *raw);
void raw_upgrade_to(raw_peer *raw, const char *protocol);
void raw_ask_upgrade(raw_peer *raw, const char *protocol); /* no more */
void raw_answer_upgrade(raw_peer *raw, const char *protocol);

/* Waits for a whole head and returns its length. */
size_t raw_head(raw_peer *raw);

/* Takes the next frame. False when none comes before the end of input. */
bool raw_take_frame(raw_peer *raw, raw_frame *frame);

/* As above, but does not wait. */
bool raw_poll_frame(raw_peer *raw, raw_frame *frame);

#endif
