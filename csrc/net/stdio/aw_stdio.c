#include "aw_stdio.h"
#include "aw_error.h"
#include "aw_pipe.h"
#include <fcntl.h>
#include <unistd.h>

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
  int aside = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  if (aside < 0) {
    return fd;
  }
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (replacement < 0 || dup2(replacement, fd) < 0) {
    dup2(null, fd);
  }
  close(null);
  return aside;
}

static void guard_standard_files(aw_stdio_options *ends) {
  bool one_file = ends->in_fd == ends->out_fd;
  if (ends->out_fd == STDOUT_FILENO) {
    ends->out_fd = take_aside(STDOUT_FILENO, STDERR_FILENO);
  }
  if (one_file) {
    ends->in_fd = ends->out_fd;
  } else if (ends->in_fd == STDIN_FILENO) {
    ends->in_fd = take_aside(STDIN_FILENO, -1);
  }
}

int aw_stdio_new(aw_loop *loop, const aw_stdio_options *options,
                 aw_transport **out) {
  aw_pipe *pipe = aw_mem_zero(aw_loop_mem(loop), 1, sizeof *pipe);
  int rc;

  *out = NULL;
  if (pipe == NULL) {
    close(options->in_fd);
    if (options->out_fd != options->in_fd) {
      close(options->out_fd);
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
