#include "aw_input.h"
#include "aw_error.h"
#include "aw_fd.h"
#include "aw_signal.h"
#include <fcntl.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

struct aw_input {
  aw_source source;
  aw_loop *loop;
  aw_fd end;
  bool raw;
};

/* The one terminal that is raw, and how it was: for exits that nobody sees. */
static struct {
  volatile int fd;
  struct termios as_found;
} terminal = {.fd = -1};

static void restore_terminal(void) {
  int fd = terminal.fd;
  if (fd >= 0) {
    tcsetattr(fd, TCSANOW, &terminal.as_found);
    terminal.fd = -1;
  }
}

static void on_readable(uv_poll_t *poll, int status, int events) {
  aw_input *input = poll->data;
  (void)status;
  (void)events;
  uv_poll_stop(poll);
  aw_source_raise(&input->source, AW_INPUT_READY);
}

int aw_input_new(aw_input **out, aw_loop *loop, int fd, void *user) {
  const aw_mem *mem = aw_loop_mem(loop);
  int own = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  if (own < 0) {
    return AW_E_INVALID;
  }
  aw_input *input = aw_mem_zero(mem, 1, sizeof *input);
  if (input == NULL) {
    close(own);
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

static int make_raw(const aw_input *input) {
  static bool registered;
  struct termios raw;
  if (tcgetattr(input->end.fd, &terminal.as_found) != 0) {
    return AW_E_IO;
  }
  raw = terminal.as_found;
  raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
  raw.c_iflag &= ~(tcflag_t)ICRNL;
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  if (!registered) {
    registered = true;
    atexit(restore_terminal);
    aw_signal_at_last(restore_terminal);
  }
  terminal.fd = input->end.fd;
  return tcsetattr(input->end.fd, TCSANOW, &raw) == 0 ? AW_OK : AW_E_IO;
}

int aw_input_set_raw(aw_input *input, bool raw) {
  if (!isatty(input->end.fd) || input->raw == raw) {
    return AW_OK;
  }
  input->raw = raw;
  if (raw) {
    return make_raw(input);
  }
  restore_terminal();
  return AW_OK;
}
