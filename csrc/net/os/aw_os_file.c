#include "aw_os_file.h"
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __APPLE__
#define MODIFIED st_mtimespec
#else
#define MODIFIED st_mtim
#endif

bool aw_os_stamp_read(aw_os_stamp *out, const char *name, bool follow) {
  struct stat info;
  *out = (aw_os_stamp){0};
  if (name == NULL || (follow ? stat(name, &info) : lstat(name, &info)) != 0) {
    return false;
  }
  out->seconds = info.MODIFIED.tv_sec;
  out->nanoseconds = info.MODIFIED.tv_nsec;
  out->size = info.st_size;
  out->device = (uint64_t)info.st_dev;
  out->inode = (uint64_t)info.st_ino;
  return true;
}

int aw_os_copy(int fd) {
  return fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
}

int aw_os_null(void) {
  return open("/dev/null", O_RDWR | O_CLOEXEC);
}

void aw_os_replace(int fd, int by) {
  if (by >= 0 && dup2(by, fd) >= 0) {
    return;
  }
  int null = aw_os_null();
  if (null >= 0) {
    dup2(null, fd);
    close(null);
  }
}

bool aw_os_pair(int ends[2]) {
#ifdef SOCK_CLOEXEC
  return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0;
#else
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) {
    return false;
  }
  for (int i = 0; i < 2; i++) {
    fcntl(ends[i], F_SETFD, FD_CLOEXEC);
  }
  return true;
#endif
}

void aw_os_keep_own(int fd) {
  (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

void aw_os_close(int fd) {
  close(fd);
}

void aw_os_remove(const char *name) {
  unlink(name);
}

bool aw_os_is_terminal(int fd) {
  return isatty(fd) == 1;
}
