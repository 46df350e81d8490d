/* One direction of a byte stream on a file descriptor of any kind: pipe,
 * socket, terminal, regular file. Never blocks on the first three, raises no
 * SIGPIPE whatever its disposition is, and leaves a descriptor that others
 * share as it was. */
#ifndef AW_FD_H
#define AW_FD_H

#include "aw_mem.h"
#include <stdbool.h>
#include <uv.h>

#pragma GCC visibility push(hidden)

typedef struct aw_fd aw_fd;

/* Embedded; fields are private except has_peer, has_poll, poll. */
struct aw_fd {
  int fd;    /* what is read and written; -1: closed */
  int given; /* the descriptor that came in; may be the same */
  int flags; /* of `given`, to be put back; -1: untouched */
  bool is_socket, writing;
  bool has_peer; /* a pipe or a socket: somebody can close the other side */
  bool has_poll; /* false: always ready, as files are */
  uv_poll_t poll;
};

/* Takes `fd` over, also on failure (it is closed then). AW_E_IO, AW_E_INVALID
 * when it is not open. */
int aw_fd_open(aw_fd *end, int fd, bool writing);

/* Starts the uv_poll handle where the kind has one; `end` has to stay where it
 * is until that was closed. AW_E_IO. */
int aw_fd_watch(aw_fd *end, uv_loop_t *uv, void *data);

/* Closes. A poll handle must have been closed before (uv_close suffices, its
 * callback need not have come). Standard descriptors are replaced by /dev/null
 * instead, so that no later file becomes somebody's stdout. */
void aw_fd_close(aw_fd *end);

/* At most size bytes; *got 0 is the end. AW_E_AGAIN, AW_E_IO. */
int aw_fd_read(aw_fd *end, char *bytes, size_t size, size_t *got);

/* *put may be less than len. AW_E_AGAIN, AW_E_CLOSED: nobody reads any more,
 * AW_E_IO. */
int aw_fd_write(aw_fd *end, const char *bytes, size_t len, size_t *put);

#pragma GCC visibility pop

#endif
