/* The few socket calls that the engine makes itself. libuv only watches the
 * descriptors: its own stream writes raise SIGPIPE, which belongs to the host,
 * and report progress only when a whole request is out. Results are 0 or a
 * libuv error number (UV_ECONNRESET, ...). */
#ifndef AW_TCP_H
#define AW_TCP_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#pragma GCC visibility push(hidden)

/* Why options of TLS beside a ws:// URL are refused. */
#define AW_TCP_PLAIN_TLS "ws:// is plain text: tls needs a wss:// URL"

/* "[" IPv6 "%" scope "]:" port, or "unix:" path; with a NUL. */
#define AW_TCP_ADDRESS_TEXT 128

/* Non-blocking, close-on-exec. Success may mean "in progress": wait until the
 * socket is writable, then ask aw_tcp_error. */
int aw_tcp_connect(const struct sockaddr *address, int *fd);

/* The part of a sockaddr_storage that counts. */
size_t aw_tcp_size(const struct sockaddr *address);

/* The address of a Unix socket's file. UV_ENAMETOOLONG. */
int aw_tcp_unix(const char *file, size_t len, struct sockaddr_storage *address);

struct aw_tcp_listening {
  int backlog;
  bool reuse_port; /* several processes share the port */
  int mode;        /* of a Unix socket's file */
};
typedef struct aw_tcp_listening aw_tcp_listening;

/* Bound and listening; SO_REUSEADDR, so that a restart need not wait. The file
 * of a Unix socket at which nobody listens any more is replaced. */
int aw_tcp_listen(const struct sockaddr *address,
                  const aw_tcp_listening *options, int *fd);

/* UV_EAGAIN when nobody waits. */
int aw_tcp_accept(int listener, struct sockaddr_storage *peer, int *fd);

/* A descriptor that can be closed to make room when all others are in use. */
int aw_tcp_reserve(void);

/* What the system made of an address that was listened at. */
int aw_tcp_bound(int fd, struct sockaddr_storage *address);

/* 0 for a Unix socket; NULL for anything else. */
unsigned aw_tcp_port(const struct sockaddr *address);
const char *aw_tcp_file(const struct sockaddr *address);

/* The error that waits on a socket, 0 when none does; clears it. */
int aw_tcp_error(int fd);

/* UV_EAGAIN when the socket is full or empty. got 0 is the end of input. */
int aw_tcp_send(int fd, const char *bytes, size_t len, size_t *sent);
int aw_tcp_receive(int fd, char *bytes, size_t len, size_t *got);

/* FIN: nothing more will be sent. */
void aw_tcp_end_output(int fd);

/* TCP_NODELAY: a loop turn writes once and waits for nothing more. */
void aw_tcp_tune(int fd);

/* TCP_USER_TIMEOUT where there is one: output that is not acknowledged for so
 * long ends the connection; 0: the system's default. Beware: a peer that keeps
 * its window shut, because it has paused, counts as one that does not answer.
 */
void aw_tcp_give_up_after(int fd, unsigned ms);

/* "127.0.0.1:80", "[::1]:80"; without the port and brackets when !port. An
 * IPv4 peer of a dual-stack socket is shown as IPv4. A Unix socket is
 * "unix:/file", or "unix" without a name. */
void aw_tcp_format(const struct sockaddr *address, bool port,
                   char text[AW_TCP_ADDRESS_TEXT]);

#pragma GCC visibility pop

#endif
