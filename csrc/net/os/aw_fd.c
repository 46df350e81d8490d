#include "aw_fd.h"
#include "aw_error.h"
#include "aw_os_quiet.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* MSG_DONTWAIT: when both ends are one socket, closing the first has put its
 * flags back already. */
#define SEND_FLAGS (AW_OS_QUIET | MSG_DONTWAIT)

/* O_NONBLOCK belongs to the open file, which a terminal or an inherited pipe
 * shares with other processes (a shell, our own stderr). A second open file of
 * our own does not. Sockets cannot be opened again; without /proc terminals
 * alone can. */
static int reopen(const aw_fd *end) {
  char path[128];
  int flags =
      (end->writing ? O_WRONLY : O_RDONLY) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  snprintf(path, sizeof path, "/proc/self/fd/%d", end->given);
  int own = open(path, flags);
  if (own < 0 && ttyname_r(end->given, path, sizeof path) == 0) {
    own = open(path, flags);
  }
  return own;
}

static void close_given(aw_fd *end) {
  int null = end->given <= STDERR_FILENO ? open("/dev/null", O_RDWR) : -1;
  if (null < 0) {
    close(end->given);
  } else if (null != end->given) {
    dup2(null, end->given);
    close(null);
  }
  end->given = -1;
}

int aw_fd_open(aw_fd *end, int fd, bool writing) {
  struct stat info;
  *end = (aw_fd){.fd = fd, .given = fd, .flags = -1, .writing = writing};
  if (fd < 0 || fstat(fd, &info) != 0) {
    end->fd = end->given = -1;
    return AW_E_INVALID;
  }
  if (fd > STDERR_FILENO) {
    fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  end->is_socket = S_ISSOCK(info.st_mode);
  if (end->is_socket) {
    aw_os_quiet(fd);
  }
  end->has_peer = end->is_socket || S_ISFIFO(info.st_mode);
  if (S_ISDIR(info.st_mode)) {
    aw_fd_close(end);
    return AW_E_INVALID;
  }
  if (S_ISFIFO(info.st_mode) || S_ISCHR(info.st_mode)) {
    int own = reopen(end);
    end->fd = own >= 0 ? own : fd;
  }
  if (end->fd == end->given) {
    end->flags = fcntl(fd, F_GETFL);
  }
  return AW_OK;
}

/* libuv makes the descriptor non-blocking, and refuses what epoll refuses:
 * regular files, /dev/null. */
int aw_fd_watch(aw_fd *end, uv_loop_t *uv, void *data) {
  int rc = uv_poll_init(uv, &end->poll, end->fd);
  if (rc == UV_EPERM) {
    return AW_OK;
  }
  if (rc != 0) {
    return AW_E_IO;
  }
  end->poll.data = data;
  end->has_poll = true;
  return AW_OK;
}

void aw_fd_close(aw_fd *end) {
  if (end->fd < 0) {
    return;
  }
  /* Closing does not end a socket that has a second descriptor. */
  if (end->is_socket && end->writing) {
    shutdown(end->fd, SHUT_WR);
  }
  if (end->fd != end->given) {
    close(end->fd);
  } else if (end->flags >= 0) {
    fcntl(end->given, F_SETFL, end->flags);
  }
  close_given(end);
  end->fd = -1;
}

static int error_of_errno(void) {
  if (errno == EAGAIN || errno == EWOULDBLOCK) {
    return AW_E_AGAIN;
  }
  return errno == EPIPE ? AW_E_CLOSED : AW_E_IO;
}

int aw_fd_read(aw_fd *end, char *bytes, size_t size, size_t *got) {
  ssize_t n;
  do {
    n = end->is_socket ? recv(end->fd, bytes, size, MSG_DONTWAIT)
                       : read(end->fd, bytes, size);
  } while (n < 0 && errno == EINTR);
  if (n < 0) {
    /* A terminal's other side hung up: that is its end of file. */
    if (errno == EIO && isatty(end->fd)) {
      n = 0;
    } else {
      return error_of_errno();
    }
  }
  *got = (size_t)n;
  return AW_OK;
}

/* Takes away the signal that the write just made pending for this thread, but
 * not one that the host had kept pending before. */
static void forget_sigpipe(const sigset_t *only_pipe) {
#ifdef __APPLE__
  sigset_t pending;
  int number;
  if (sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE)) {
    sigwait(only_pipe, &number);
  }
#else
  static const struct timespec at_once = {0, 0};
  while (sigtimedwait(only_pipe, NULL, &at_once) < 0 && errno == EINTR) {
  }
#endif
}

/* write() has no MSG_NOSIGNAL, and SIGPIPE's disposition is the host's. */
static ssize_t write_without_signal(int fd, const char *bytes, size_t len) {
  sigset_t only_pipe, before, pending;
  bool was_pending = false;
  sigemptyset(&only_pipe);
  sigaddset(&only_pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &only_pipe, &before);
  if (sigismember(&before, SIGPIPE)) {
    was_pending = sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE);
  }
  ssize_t n = write(fd, bytes, len);
  int failure = errno;
  if (n < 0 && failure == EPIPE && !was_pending) {
    forget_sigpipe(&only_pipe);
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  errno = failure;
  return n;
}

int aw_fd_write(aw_fd *end, const char *bytes, size_t len, size_t *put) {
  ssize_t n;
  do {
    n = end->is_socket ? send(end->fd, bytes, len, SEND_FLAGS)
                       : write_without_signal(end->fd, bytes, len);
  } while (n < 0 && errno == EINTR);
  if (n < 0) {
    return errno == ECONNRESET ? AW_E_CLOSED : error_of_errno();
  }
  *put = (size_t)n;
  return AW_OK;
}
