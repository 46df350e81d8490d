/* A transport of lines over two file descriptors: all of stdio, and what a
 * child process has besides the child. Private to these two. */
#ifndef AW_PIPE_H
#define AW_PIPE_H

#include "aw_fd.h"
#include "aw_lines.h"
#include "aw_stdio.h"
#include "aw_transport_impl.h"

#define AW_PIPE_REASON_MAX 128
/* A client gives up on a server that has not said "ready" by then: lines of a
 * shell's start-up files are normal, a log that never ends is not. */
#define AW_PIPE_READY_LINES 64
#define AW_PIPE_READY_MS 10000

typedef struct aw_pipe aw_pipe;

/* Embedded first. */
struct aw_pipe {
  aw_transport base;
  aw_flush flush;
  aw_fd in, out;
  aw_lines lines;
  aw_buf output;
  uv_timer_t timer; /* the handshake's, then the lingering's */
  bool has_timer, lingering;
  bool extended; /* wanted by us */
  bool was_open, paused;
  bool sipping;          /* reads little at a time: the peer floods */
  bool reading, blocked; /* what the poll handles wait for */
  bool in_done, out_done;
  bool discarding; /* we closed: input is read to its end and dropped */
  bool decided;    /* the verdict is final */
  int error, code; /* the verdict: what `closed` will say */
  char reason[AW_PIPE_REASON_MAX];
  unsigned strange_lines; /* before the ready line */
  /* Asked whenever the output has been closed: may the end be reported as soon
   * as the input has ended, too? NULL: yes. */
  bool (*may_finish)(aw_pipe *pipe);
};

/* Fills a zeroed pipe whose base was initialised, and takes the descriptors,
 * also on failure. in_fd and out_fd may be the same socket. After a failure
 * (AW_E_INVALID, AW_E_IO, AW_E_NOMEM) free the transport as usual. */
int aw_pipe_init(aw_pipe *pipe, const aw_stdio_options *options);

/* What the kinds' vtables are made of. */
int aw_pipe_send(aw_transport *t, const char *bytes, size_t len);
void aw_pipe_pause(aw_transport *t, bool paused);
void aw_pipe_close(aw_transport *t, int code, const char *reason);

/* Closes descriptors and handles at once. For `free`, after aw_transport_mute.
 */
void aw_pipe_shut(aw_pipe *pipe);

/* Frees the buffers. For `release`. */
void aw_pipe_fini(aw_pipe *pipe);

/* The end is near, for this reason unless a final one was given before. Only
 * from inside the loop, followed by aw_pipe_update. */
void aw_pipe_decide(aw_pipe *pipe, int error, int code, const char *reason);

/* Output has nowhere to go any more: drops it. */
void aw_pipe_drop_output(aw_pipe *pipe);

/* Does what the state asks for: polls, lingers, closes, reports the end. Ends
 * every callback; the caller holds the transport. */
void aw_pipe_update(aw_pipe *pipe);

#endif
