#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* accept4; harmless elsewhere */
#endif

#include "aw_tcp.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* such systems have SO_NOSIGPIPE instead */
#endif

static int last_error(void) {
  return uv_translate_sys_error(errno);
}

static void prepare(int fd) {
#ifndef SOCK_CLOEXEC
  (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
  (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
#endif
#ifdef SO_NOSIGPIPE
  int on = 1;
  (void)setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
  (void)fd;
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

static socklen_t address_size(const struct sockaddr *address) {
  return address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                        : sizeof(struct sockaddr_in);
}

int aw_tcp_connect(const struct sockaddr *address, int *fd) {
  int made = open_socket(address->sa_family);
  if (made < 0) {
    return last_error();
  }
  int rc = connect(made, address, address_size(address));
  if (rc != 0 && errno != EINPROGRESS && errno != EINTR) {
    rc = last_error();
    close(made);
    return rc;
  }
  *fd = made;
  return 0;
}

int aw_tcp_listen(const struct sockaddr *address, int backlog, int *fd) {
  int on = 1;
  int made = open_socket(address->sa_family);
  if (made < 0) {
    return last_error();
  }
  if (setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      bind(made, address, address_size(address)) != 0 ||
      listen(made, backlog) != 0) {
    int rc = last_error();
    close(made);
    return rc;
  }
  *fd = made;
  return 0;
}

int aw_tcp_accept(int listener, struct sockaddr_storage *peer, int *fd) {
  socklen_t size = sizeof *peer;
  int made;
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
    n = send(fd, bytes, len, MSG_NOSIGNAL);
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
  unsigned number = 0;
  if (address->sa_family == AF_INET6) {
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
    format_v6(v6, name, sizeof name);
    number = ntohs(v6->sin6_port);
  } else if (address->sa_family == AF_INET) {
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
    (void)uv_ip4_name(v4, name, sizeof name);
    number = ntohs(v4->sin_port);
  }
  if (!port) {
    (void)snprintf(text, AW_TCP_ADDRESS_TEXT, "%s", name);
    return;
  }
  bool brackets = strchr(name, ':') != NULL;
  (void)snprintf(text, AW_TCP_ADDRESS_TEXT, brackets ? "[%s]:%u" : "%s:%u",
                 name, number);
}
