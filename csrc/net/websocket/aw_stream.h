/* A byte stream on one TCP socket, with or without TLS. It ends once, either by
 * `ended` or by aw_stream_free. */
#ifndef AW_STREAM_H
#define AW_STREAM_H

#include "aw_buf.h"
#include "aw_tls.h"
#include <uv.h>

#pragma GCC visibility push(hidden)

typedef struct aw_stream aw_stream;
typedef struct aw_stream_sink aw_stream_sink;

/* Upcalls, only from inside libuv callbacks and aw_stream_flush; each but
 * `arrived` may free the stream, whose memory then lives until libuv has let go
 * of its handle. */
struct aw_stream_sink {
  /* A dial has come to its end: 0 or a libuv error number. After an error
   * nothing follows. */
  void (*connected)(void *user, int uv_error);
  /* The TLS handshake is done. */
  void (*secured)(void *user);
  /* Bytes in the loop's read buffer; they may be changed. */
  void (*input)(void *user, char *bytes, size_t len);
  /* Bytes came on the wire, whatever they will turn out to be; `input` follows,
   * so that this one frees nothing. */
  void (*arrived)(void *user, size_t len);
  /* The system took bytes of the output. */
  void (*sent)(void *user, size_t len);
  /* No more input, no more output. AW_E_CLOSED: the peer ended it. */
  void (*ended)(void *user, int error, const char *why);
};

/* Public fields are read-only but for `out`, to which plain bytes are appended
 * before aw_stream_flush. */
struct aw_stream {
  aw_loop *loop;
  const aw_stream_sink *sink;
  void *user;
  aw_buf out;
  aw_tls *tls; /* NULL: plain */
  uv_poll_t poll;
  int fd, state, watched;
  int broken; /* what a write failed with, while the last input is read */
  bool reading, blocked, shut_wanted, shut;
  bool sipping; /* reads little at a time, until there is nothing left */
  bool minding;
  size_t read_max; /* 0: what the loop's buffer holds */
};

/* Starts a dial. UV_* when it failed at once. */
int aw_stream_dial(aw_stream **out, aw_loop *loop,
                   const struct sockaddr *address, const aw_stream_sink *sink,
                   void *user);

/* Takes an accepted socket; reads from the start. UV_* leaves fd to the
 * caller. */
int aw_stream_adopt(aw_stream **out, aw_loop *loop, int fd,
                    const aw_stream_sink *sink, void *user);

/* Closes at once, without a word to the peer. NULL is accepted. */
void aw_stream_free(aw_stream *stream);

/* Another owner from now on. */
void aw_stream_hand_over(aw_stream *stream, const aw_stream_sink *sink,
                         void *user);

/* Puts TLS on a connected stream (`tls` is owned from now on) and begins the
 * handshake. Makes upcalls. What is put into `out` waits for `secured`. */
void aw_stream_secure(aw_stream *stream, aw_tls *tls);

/* Stopping has no effect on what was read already. */
void aw_stream_read(aw_stream *stream, bool on);

/* The peer floods: its next reads are small ones (AW_TRANSPORT_SIP), until one
 * has taken all there is. */
void aw_stream_sip(aw_stream *stream);

/* Bytes of one read at most, for who keeps what it gets; 0: as many as come. */
void aw_stream_read_at_most(aw_stream *stream, size_t len);

/* Also while nothing is read it is noticed that the peer has gone, or will send
 * no more: `ended`, whatever was still to be read before that. What it has sent
 * before has to have arrived, though, and systems that cannot tell notice it
 * with the next read. */
void aw_stream_mind(aw_stream *stream, bool on);

/* Reads what has arrived, without waiting for the loop to say so. */
void aw_stream_poke(aw_stream *stream);

/* Gives the system as much output as it takes; the rest follows by itself. */
void aw_stream_flush(aw_stream *stream);

/* Ends the output once all of it is out: close_notify, FIN. */
void aw_stream_shutdown(aw_stream *stream);

/* Output that the system has not taken yet. */
size_t aw_stream_pending(const aw_stream *stream);

#pragma GCC visibility pop

#endif
