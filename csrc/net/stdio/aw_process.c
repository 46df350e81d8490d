#include "aw_process.h"
#include "aw_error.h"
#include "aw_greeters.h"

int aw_process_new(aw_loop *loop, const aw_process_options *options,
                   aw_transport **out, const char **why) {
  aw_line_pipe *lines = NULL;
  *out = NULL;
  int rc =
      aw_line_pipe_spawn(&lines, loop, &options->child, options->line_max, why);
  if (rc != AW_OK) {
    return rc;
  }
  rc = aw_pipe_new(out, loop, lines, "process", &aw_greeter_client,
                   options->extended);
  if (rc != AW_OK) {
    *why = aw_error_text(rc);
    return rc;
  }
  (*out)->info.peer = aw_child_command(aw_line_pipe_child(lines));
  return AW_OK;
}
