#include "aw_tcp.h"
#include "aw_os_quiet.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int last_error(void) {
  return uv_translate_sys_error(errno);
}

static void prepare(int fd) {
#ifndef SOCK_CLOEXEC
  (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
  (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
#endif
  aw_os_quiet(fd);
}

static int open_socket(int family) {
#ifdef SOCK_CLOEXEC
  int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
#else
  int fd = socket(family, SOCK_STREAM, 0);
#endif
  if (fd >= 0) {
    prepare(fd);
  }
  return fd;
}

size_t aw_tcp_size(const struct sockaddr *address) {
  switch (address->sa_family) {
  case AF_UNIX:
    return sizeof(struct sockaddr_un);
  case AF_INET6:
    return sizeof(struct sockaddr_in6);
  default:
    return sizeof(struct sockaddr_in);
  }
}

int aw_tcp_unix(const char *file, size_t len,
                struct sockaddr_storage *address) {
  struct sockaddr_un *un = (struct sockaddr_un *)address;
  if (len >= sizeof un->sun_path) {
    return UV_ENAMETOOLONG;
  }
  memset(address, 0, sizeof *address);
  un->sun_family = AF_UNIX;
  memcpy(un->sun_path, file, len);
  return 0;
}

int aw_tcp_connect(const struct sockaddr *address, int *fd) {
  int made = open_socket(address->sa_family);
  if (made < 0) {
    return last_error();
  }
  int rc = connect(made, address, (socklen_t)aw_tcp_size(address));
  if (rc != 0 && errno != EINPROGRESS && errno != EINTR) {
    rc = last_error();
    close(made);
    return rc;
  }
  *fd = made;
  return 0;
}

/* A file that a process left behind when it died refuses whoever connects; one
 * at which somebody listens does not, and what is no socket is not ours. */
static bool is_stale(const struct sockaddr *address) {
  const char *file = ((const struct sockaddr_un *)address)->sun_path;
  struct stat info;
  int probe = -1;
  if (lstat(file, &info) != 0 || !S_ISSOCK(info.st_mode)) {
    return false;
  }
  int rc = aw_tcp_connect(address, &probe);
  if (rc == 0) {
    close(probe);
  }
  return rc == UV_ECONNREFUSED;
}

/* The file is there with what the mask leaves of its mode, then with all. */
static int bind_unix(int fd, const struct sockaddr *address, int mode) {
  const char *file = ((const struct sockaddr_un *)address)->sun_path;
  socklen_t size = (socklen_t)aw_tcp_size(address);
  (void)fchmod(fd, (mode_t)mode);
  int rc = bind(fd, address, size);
  if (rc != 0 && errno == EADDRINUSE) {
    if (!is_stale(address)) {
      errno = EADDRINUSE; /* not what looking at it has left */
      return -1;
    }
    rc = unlink(file) == 0 ? bind(fd, address, size) : -1;
  }
  if (rc == 0 && chmod(file, (mode_t)mode) != 0) {
    rc = -1;
  }
  return rc;
}

static int bind_ip(int fd, const struct sockaddr *address, bool shared) {
  int on = 1;
  if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) {
    return -1;
  }
#ifdef SO_REUSEPORT
  if (shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) {
    return -1;
  }
#else
  if (shared) {
    errno = ENOTSUP;
    return -1;
  }
#endif
  return bind(fd, address, (socklen_t)aw_tcp_size(address));
}

int aw_tcp_listen(const struct sockaddr *address,
                  const aw_tcp_listening *options, int *fd) {
  int made = open_socket(address->sa_family);
  if (made < 0) {
    return last_error();
  }
  int rc = address->sa_family == AF_UNIX
               ? bind_unix(made, address, options->mode)
               : bind_ip(made, address, options->reuse_port);
  if (rc != 0 || listen(made, options->backlog) != 0) {
    rc = last_error();
    close(made);
    return rc;
  }
  *fd = made;
  return 0;
}

int aw_tcp_accept(int listener, struct sockaddr_storage *peer, int *fd) {
  socklen_t size = sizeof *peer;
  int made;
  memset(peer, 0, sizeof *peer); /* a Unix peer has a family and no name */
  do {
#ifdef SOCK_CLOEXEC
    made = accept4(listener, (struct sockaddr *)peer, &size,
                   SOCK_CLOEXEC | SOCK_NONBLOCK);
#else
    made = accept(listener, (struct sockaddr *)peer, &size);
#endif
  } while (made < 0 && errno == EINTR);
  if (made < 0) {
    return errno == EWOULDBLOCK ? UV_EAGAIN : last_error();
  }
  prepare(made);
  *fd = made;
  return 0;
}

int aw_tcp_reserve(void) {
  return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

int aw_tcp_bound(int fd, struct sockaddr_storage *address) {
  socklen_t size = sizeof *address;
  memset(address, 0, sizeof *address);
  return getsockname(fd, (struct sockaddr *)address, &size) == 0 ? 0
                                                                 : last_error();
}

unsigned aw_tcp_port(const struct sockaddr *address) {
  switch (address->sa_family) {
  case AF_INET6:
    return ntohs(((const struct sockaddr_in6 *)address)->sin6_port);
  case AF_INET:
    return ntohs(((const struct sockaddr_in *)address)->sin_port);
  default:
    return 0;
  }
}

const char *aw_tcp_file(const struct sockaddr *address) {
  return address->sa_family == AF_UNIX
             ? ((const struct sockaddr_un *)address)->sun_path
             : NULL;
}

int aw_tcp_error(int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
    return last_error();
  }
  return error == 0 ? 0 : uv_translate_sys_error(error);
}

int aw_tcp_send(int fd, const char *bytes, size_t len, size_t *sent) {
  ssize_t n;
  do {
    n = send(fd, bytes, len, AW_OS_QUIET);
  } while (n < 0 && errno == EINTR);
  *sent = n > 0 ? (size_t)n : 0;
  if (n < 0) {
    return errno == EWOULDBLOCK ? UV_EAGAIN : last_error();
  }
  return 0;
}

int aw_tcp_receive(int fd, char *bytes, size_t len, size_t *got) {
  ssize_t n;
  do {
    n = recv(fd, bytes, len, 0);
  } while (n < 0 && errno == EINTR);
  *got = n > 0 ? (size_t)n : 0;
  if (n < 0) {
    return errno == EWOULDBLOCK ? UV_EAGAIN : last_error();
  }
  return 0;
}

void aw_tcp_end_output(int fd) {
  (void)shutdown(fd, SHUT_WR);
}

void aw_tcp_tune(int fd) {
  int on = 1;
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void aw_tcp_give_up_after(int fd, unsigned ms) {
#ifdef TCP_USER_TIMEOUT
  (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
#else
  (void)fd;
  (void)ms;
#endif
}

static void format_v6(const struct sockaddr_in6 *address, char *text,
                      size_t size) {
  const unsigned char *bytes = address->sin6_addr.s6_addr;
  static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
  if (memcmp(bytes, mapped, sizeof mapped) == 0) {
    (void)uv_inet_ntop(AF_INET, bytes + sizeof mapped, text, size);
    return;
  }
  (void)uv_ip6_name(address, text, size);
}

void aw_tcp_format(const struct sockaddr *address, bool port,
                   char text[AW_TCP_ADDRESS_TEXT]) {
  char name[AW_TCP_ADDRESS_TEXT - 10] = "?";
  const char *file = aw_tcp_file(address);
  if (file != NULL) {
    (void)snprintf(text, AW_TCP_ADDRESS_TEXT, "unix%s%.108s",
                   file[0] != '\0' ? ":" : "", file);
    return;
  }
  if (address->sa_family == AF_INET6) {
    format_v6((const struct sockaddr_in6 *)address, name, sizeof name);
  } else if (address->sa_family == AF_INET) {
    (void)uv_ip4_name((const struct sockaddr_in *)address, name, sizeof name);
  }
  if (!port) {
    (void)snprintf(text, AW_TCP_ADDRESS_TEXT, "%s", name);
    return;
  }
  bool brackets = strchr(name, ':') != NULL;
  (void)snprintf(text, AW_TCP_ADDRESS_TEXT, brackets ? "[%s]:%u" : "%s:%u",
                 name, aw_tcp_port(address));
}
