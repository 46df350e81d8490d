#include "aw_error.h"
#include "aw_pipe.h"
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
  rc = aw_pipe_init(pipe, options);
  if (rc != AW_OK) {
    aw_transport_free(&pipe->base);
    return rc;
  }
  *out = &pipe->base;
  return AW_OK;
}
