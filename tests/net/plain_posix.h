/* What macOS has not, or names otherwise, taken away from Linux: for compiling
 * net/os and running the tests along the ways that are never gone here. Taken
 * in before anything else of a file. Linux has no SO_NOSIGPIPE in place of
 * MSG_NOSIGNAL, so what is to run keeps that. */
#ifndef AW_PLAIN_POSIX_H
#define AW_PLAIN_POSIX_H

#include <dirent.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <uv.h>

#undef __linux__
#undef CLOCK_REALTIME_COARSE
#ifdef AW_PLAIN_COMPILES
#undef MSG_NOSIGNAL
#endif
#undef SOCK_CLOEXEC
#undef SOCK_NONBLOCK
#undef TCP_USER_TIMEOUT
#define __APPLE__ 1
#define st_mtimespec st_mtim

#endif
