/* Sends that raise no SIGPIPE, whose disposition is the host's: by a flag of
 * each, or by an option of the socket. Private to this folder. */
#ifndef AW_OS_QUIET_H
#define AW_OS_QUIET_H

#include <sys/socket.h>

#ifdef MSG_NOSIGNAL
#define AW_OS_QUIET MSG_NOSIGNAL
#else
#define AW_OS_QUIET 0
#endif

static inline void aw_os_quiet(int fd) {
#ifdef SO_NOSIGPIPE
  int on = 1;
  (void)setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#else
  (void)fd;
#endif
}

#endif
