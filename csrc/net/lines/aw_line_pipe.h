/* Lines over two descriptors, one for each direction, bounded both ways: what
 * our stdio, a child's and a pair in this process have in common. What the
 * lines say is not known here.
 *
 *   OPEN       lines go both ways; if the input has ended, sends still work
 *   FINISHING  nothing more is sent: what waits goes out, then the output is
 *              closed; lines still come
 *   FAILING    nobody reads what we write, or the child has ended: lines still
 *              come until the input ends or is silent for AW_LINE_LINGER_MS
 *   CLOSING    we closed: what waits goes out, what comes is dropped
 *   ENDED      that has been told, or the owner has let go
 *
 * A state never goes back. Once both directions are closed, and the child is
 * reaped, `ended` says why, exactly once. */
#ifndef AW_LINE_PIPE_H
#define AW_LINE_PIPE_H

#include "aw_child.h"
#include "aw_lines.h"
#include "aw_loop.h"

#pragma GCC visibility push(hidden)

typedef struct aw_line_pipe aw_line_pipe;
typedef struct aw_line_end aw_line_end;
typedef struct aw_line_sink aw_line_sink;

/* Of one line without its end. */
#define AW_LINE_BYTES_MAX (16u << 20)

/* What has not been flushed, or not come, by then is given up. */
#define AW_LINE_LINGER_MS 2000

/* How often that time may begin anew because there was something to read. Who
 * holds the other side open after a child's end may write for ever. */
#define AW_LINE_LINGER_ROUNDS 30

/* What is read at once of a peer that floods. */
#define AW_LINE_SIP 2048

#define AW_LINE_REASON_MAX 128

enum aw_line_state {
  AW_LINE_OPEN,
  AW_LINE_FINISHING,
  AW_LINE_FAILING,
  AW_LINE_CLOSING,
  AW_LINE_ENDED
};

enum aw_line_cause {
  AW_LINE_EOF,        /* the input ended */
  AW_LINE_CLOSED,     /* we closed */
  AW_LINE_EXITED,     /* the child did, with `status` */
  AW_LINE_KILLED,     /* the child was, by the signal `status` */
  AW_LINE_TERMINATED, /* the child had to be: it outlived its stdin */
  AW_LINE_TOO_LONG,   /* a line was, and its reader does not skip such */
  AW_LINE_LOST,       /* reading or writing failed, or there is no memory */
  AW_LINE_STUCK       /* output could not be flushed in time */
};

struct aw_line_end {
  enum aw_line_cause cause;
  int error;  /* AW_OK: in order */
  int status; /* of EXITED and KILLED */
  char reason[AW_LINE_REASON_MAX];
};

/* Upcalls, made only from inside the loop. Each may free the pipe, and each but
 * `line`, `dropped` and `ended` may be NULL. */
struct aw_line_sink {
  /* The bytes may be changed, and live for the call. */
  void (*line)(void *user, char *bytes, size_t len);
  /* A line that could not be given. AW_E_LIMIT: it was too long, `line` has its
   * start and its length. AW_E_NOMEM: it could not be stored. */
  void (*dropped)(void *user, int error, const aw_line *line);
  /* So many bytes came, of which the lines follow. */
  void (*received)(void *user, size_t len);
  /* They have been cut. `full`: they were as many as a read may give. */
  void (*cut)(void *user, bool full);
  /* The system took so many bytes of the output. */
  void (*sent)(void *user, size_t len);
  /* No more lines come, but not because we closed. */
  void (*eof)(void *user);
  /* The state has become FAILING: what waited to be sent is lost. */
  void (*failing)(void *user);
  void (*ended)(void *user, const aw_line_end *end);
};

/* Takes the descriptors and the child (NULL: none), also on failure. Both may
 * be one socket. Of the standard files among them a copy is used: a program's
 * own prints, and the children it starts, must not get at the lines; they find
 * stderr and nothing in their places. line_max 0: AW_LINE_BYTES_MAX.
 * AW_E_INVALID: not open, AW_E_IO, AW_E_NOMEM. */
int aw_line_pipe_new(aw_line_pipe **out, aw_loop *loop, int in_fd, int out_fd,
                     aw_child *child, size_t line_max);

/* To a child that is started by this. Errors and *why as of aw_child_new. */
int aw_line_pipe_spawn(aw_line_pipe **out, aw_loop *loop,
                       const aw_child_options *options, size_t line_max,
                       const char **why);

/* Two that are each other's peer. */
int aw_line_pipe_pair(aw_line_pipe *ends[2], aw_loop *loop, size_t line_max);

/* Lets go: closes at once, nothing is called any more. A child that runs is
 * terminated. NULL is accepted. */
void aw_line_pipe_free(aw_line_pipe *pipe);

/* Begins, with the loop's next turn. The sink is copied. */
void aw_line_pipe_start(aw_line_pipe *pipe, const aw_line_sink *sink,
                        void *user);

/* Adds a line, which must not hold a line feed, to the output, which goes out
 * at the end of the turn. Never refuses for lack of room: that is for the
 * caller to see by aw_line_pipe_pending. AW_E_CLOSED when the state is not
 * OPEN; AW_E_NOMEM (nothing was added). */
int aw_line_pipe_send(aw_line_pipe *pipe, const char *bytes, size_t len);

/* Bytes that a line may have. */
size_t aw_line_pipe_line_max(const aw_line_pipe *pipe);

/* Bytes of output that the system has not taken yet. */
size_t aw_line_pipe_pending(const aw_line_pipe *pipe);

/* No line comes while it is paused: what has been read already waits, too. */
void aw_line_pipe_pause(aw_line_pipe *pipe, bool paused);

/* Reads little at a time from now on, or not. */
void aw_line_pipe_sip(aw_line_pipe *pipe, bool sipping);

/* Bytes that are held of lines which are not complete or not given yet. */
size_t aw_line_pipe_held(const aw_line_pipe *pipe);

void aw_line_pipe_finish(aw_line_pipe *pipe);

/* The first call decides what `ended` says, unless the child's end has, or the
 * output cannot be flushed. */
void aw_line_pipe_close(aw_line_pipe *pipe, enum aw_line_cause cause, int error,
                        const char *reason);

enum aw_line_state aw_line_pipe_state(const aw_line_pipe *pipe);

/* Why the input has ended, as far as it is known; of use after `eof`. */
const aw_line_end *aw_line_pipe_end(const aw_line_pipe *pipe);

/* NULL: none. */
aw_child *aw_line_pipe_child(const aw_line_pipe *pipe);

#pragma GCC visibility pop

#endif
