#include "aw_os_child.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

/* Elsewhere /dev/fd is that list too; on some systems of the standard files
 * alone, which does no harm. */
#ifdef __linux__
#define OPEN_FILES "/proc/self/fd"
#else
#define OPEN_FILES "/dev/fd"
#endif

static void keep(aw_os_kept *kept, const aw_mem *mem, int fd) {
  int flags = fcntl(fd, F_GETFD);
  if (flags < 0 || (flags & FD_CLOEXEC) != 0) {
    return;
  }
  if (kept->count == kept->size) {
    size_t size = kept->size == 0 ? 16 : 2 * kept->size;
    int *fds = aw_mem_realloc(mem, kept->fds, size * sizeof *fds);
    if (fds == NULL) {
      return;
    }
    kept->fds = fds;
    kept->size = size;
  }
  kept->fds[kept->count++] = fd;
  fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
}

void aw_os_keep_files(aw_os_kept *kept, const aw_mem *mem) {
  DIR *folder = opendir(OPEN_FILES);
  const struct dirent *entry;
  while (folder != NULL && (entry = readdir(folder)) != NULL) {
    int fd = atoi(entry->d_name);
    if (fd > STDERR_FILENO) {
      keep(kept, mem, fd);
    }
  }
  if (folder != NULL) {
    closedir(folder);
  }
}

void aw_os_share_files(aw_os_kept *kept, const aw_mem *mem) {
  for (size_t i = 0; i < kept->count; i++) {
    fcntl(kept->fds[i], F_SETFD, 0);
  }
  aw_mem_free(mem, kept->fds);
  *kept = (aw_os_kept){0};
}

void aw_os_reap(int pid) {
  kill(pid, SIGKILL);
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
  }
}
