/* The transport of lines: each is a message, once a greeter has opened the
 * link. What stdio is, and a child process. Private to these two. */
#ifndef AW_PIPE_H
#define AW_PIPE_H

#include "aw_line_pipe.h"
#include "aw_transport_impl.h"

#pragma GCC visibility push(hidden)

typedef struct aw_pipe aw_pipe;
typedef struct aw_greeter aw_greeter;

/* Has the lines until it calls aw_pipe_open. */
struct aw_greeter {
  /* Once, in the first turn, before anything is read. */
  void (*begin)(aw_pipe *pipe);
  void (*line)(aw_pipe *pipe, const aw_line *line);
  /* A line that could not be given, as of aw_line_sink. */
  void (*dropped)(aw_pipe *pipe, int error);
  /* The time that it had asked for with aw_pipe_expect is over. */
  void (*late)(aw_pipe *pipe);
  /* Why a link that has ended before it was open has. */
  const char *missing;
};

struct aw_pipe {
  aw_transport base;
  aw_flush flush; /* of the beginning */
  aw_line_pipe *lines;
  const aw_greeter *greeter; /* NULL: the link is open */
  uv_timer_t timer;          /* the greeter's */
  bool has_timer;
  bool extended;          /* wanted by us */
  bool sipping;           /* the peer floods */
  unsigned strange_lines; /* that the greeter has seen */
  int code;               /* with which we closed */
};

/* A transport over `lines`, which it owns from now on, also on failure (then
 * AW_E_NOMEM). */
int aw_pipe_new(aw_transport **out, aw_loop *loop, aw_line_pipe *lines,
                const char *kind, const aw_greeter *greeter, bool extended);

/* A line past the transport, which is not open yet. AW_E_NOMEM. */
int aw_pipe_say(aw_pipe *pipe, const char *bytes, size_t len);

/* Calls the greeter's `late` after so long. */
void aw_pipe_expect(aw_pipe *pipe, unsigned ms);

/* The link is open: what comes next is a message. */
void aw_pipe_open(aw_pipe *pipe, bool extended);

/* Ends, with this as what `closed` says. */
void aw_pipe_refuse(aw_pipe *pipe, int error, const char *why);

#pragma GCC visibility pop

#endif
