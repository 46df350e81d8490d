#include "aw_stdio.h"
#include "aw_error.h"
#include "aw_greeters.h"

int aw_stdio_new(aw_loop *loop, const aw_stdio_options *options,
                 aw_transport **out) {
  bool serves = options->is_server;
  aw_line_pipe *lines = NULL;
  *out = NULL;
  int rc = aw_line_pipe_new(&lines, loop, options->in_fd, options->out_fd, NULL,
                            options->line_max);
  if (rc == AW_OK) {
    rc = aw_pipe_new(out, loop, lines, "stdio",
                     serves ? &aw_greeter_server : &aw_greeter_client,
                     options->extended);
  }
  if (rc == AW_OK) {
    (*out)->info.is_server = serves;
    (*out)->info.extended = serves && options->extended;
  }
  return rc;
}
