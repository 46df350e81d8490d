#include "aw_input.h"
#include "aw_error.h"
#include "aw_fd.h"
#include "aw_os_file.h"
#include "aw_os_terminal.h"
#include "aw_signal.h"
#include <stdlib.h>

struct aw_input {
  aw_source source;
  aw_loop *loop;
  aw_fd end;
  bool raw;
};

static void on_readable(uv_poll_t *poll, int status, int events) {
  aw_input *input = poll->data;
  (void)status;
  (void)events;
  uv_poll_stop(poll);
  aw_source_raise(&input->source, AW_INPUT_READY);
}

int aw_input_new(aw_input **out, aw_loop *loop, int fd, void *user) {
  const aw_mem *mem = aw_loop_mem(loop);
  int own = aw_os_copy(fd);
  if (own < 0) {
    return AW_E_INVALID;
  }
  aw_input *input = aw_mem_zero(mem, 1, sizeof *input);
  if (input == NULL) {
    aw_os_close(own);
    return AW_E_NOMEM;
  }
  input->loop = loop;
  int rc = aw_fd_open(&input->end, own, false);
  if (rc == AW_OK) {
    rc = aw_fd_watch(&input->end, aw_loop_uv(loop), input);
  }
  if (rc != AW_OK) {
    aw_fd_close(&input->end);
    aw_mem_free(mem, input);
    return rc;
  }
  aw_source_init(&input->source, loop, user);
  *out = input;
  return AW_OK;
}

static void free_input(uv_handle_t *handle) {
  aw_input *input = handle->data;
  aw_fd_close(&input->end);
  aw_mem_free(aw_loop_mem(input->loop), input);
}

void aw_input_free(aw_input *input) {
  if (input == NULL) {
    return;
  }
  (void)aw_input_set_raw(input, false);
  aw_source_fini(&input->source);
  if (input->end.has_poll) {
    uv_close((uv_handle_t *)&input->end.poll, free_input);
  } else {
    aw_fd_close(&input->end);
    aw_mem_free(aw_loop_mem(input->loop), input);
  }
}

aw_source *aw_input_source(aw_input *input) {
  return &input->source;
}

int aw_input_read(aw_input *input, char *bytes, size_t size, size_t *got) {
  int rc = aw_fd_read(&input->end, bytes, size, got);
  if (rc == AW_E_AGAIN && input->end.has_poll) {
    uv_poll_start(&input->end.poll, UV_READABLE, on_readable);
  }
  return rc;
}

/* For exits that nobody sees. */
static void restore_at_exit(void) {
  static bool registered;
  if (!registered) {
    registered = true;
    atexit(aw_os_terminal_restore);
    aw_signal_at_last(aw_os_terminal_restore);
  }
}

int aw_input_set_raw(aw_input *input, bool raw) {
  if (!aw_os_is_terminal(input->end.fd) || input->raw == raw) {
    return AW_OK;
  }
  input->raw = raw;
  if (raw) {
    restore_at_exit();
    return aw_os_terminal_raw(input->end.fd);
  }
  aw_os_terminal_restore();
  return AW_OK;
}
