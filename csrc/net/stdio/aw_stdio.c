#include "aw_stdio.h"
#include "aw_error.h"
#include "aw_os_file.h"
#include "aw_pipe.h"

static void stdio_free(aw_transport *t) {
  aw_transport_mute(t);
  aw_pipe_shut((aw_pipe *)t);
  aw_transport_drop(t);
}

static void stdio_release(aw_transport *t) {
  aw_pipe_fini((aw_pipe *)t);
  aw_mem_free(aw_loop_mem(t->loop), t);
}

static const aw_transport_ops stdio_ops = {aw_pipe_send, aw_pipe_pause,
                                           aw_pipe_close, stdio_free, NULL};

/* Takes a standard descriptor aside, and puts another file in its place: what a
 * program's own code, and the children it starts, read and print must not be
 * the link's bytes. */
static int take_aside(int fd, int replacement) {
  int aside = aw_os_copy(fd);
  if (aside < 0) {
    return fd;
  }
  aw_os_replace(fd, replacement);
  return aside;
}

static void guard_standard_files(aw_stdio_options *ends) {
  bool one_file = ends->in_fd == ends->out_fd;
  if (ends->out_fd == AW_OS_STDOUT) {
    ends->out_fd = take_aside(AW_OS_STDOUT, AW_OS_STDERR);
  }
  if (one_file) {
    ends->in_fd = ends->out_fd;
  } else if (ends->in_fd == AW_OS_STDIN) {
    ends->in_fd = take_aside(AW_OS_STDIN, -1);
  }
}

int aw_stdio_new(aw_loop *loop, const aw_stdio_options *options,
                 aw_transport **out) {
  aw_pipe *pipe = aw_mem_zero(aw_loop_mem(loop), 1, sizeof *pipe);
  int rc;

  *out = NULL;
  if (pipe == NULL) {
    aw_os_close(options->in_fd);
    if (options->out_fd != options->in_fd) {
      aw_os_close(options->out_fd);
    }
    return AW_E_NOMEM;
  }
  aw_transport_init(&pipe->base, &stdio_ops, loop, "stdio", stdio_release);
  aw_stdio_options ends = *options;
  guard_standard_files(&ends);
  rc = aw_pipe_init(pipe, &ends);
  if (rc != AW_OK) {
    aw_transport_free(&pipe->base);
    return rc;
  }
  *out = &pipe->base;
  return AW_OK;
}
