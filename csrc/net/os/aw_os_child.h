/* What starting and ending a child takes beside libuv. */
#ifndef AW_OS_CHILD_H
#define AW_OS_CHILD_H

#include "aw_mem.h"

#pragma GCC visibility push(hidden)

/* Descriptors that were made close-on-exec for a moment. Zero is empty. */
typedef struct aw_os_kept {
  int *fds;
  size_t count, size;
} aw_os_kept;

/* Between these two a child that is started is given nothing but its standard
 * files: what the host has opened without FD_CLOEXEC is not the child's. Only
 * between them, for other children of the host may want it. Where the system
 * has no list of open descriptors it is left to the host. */
void aw_os_keep_files(aw_os_kept *kept, const aw_mem *mem);
void aw_os_share_files(aw_os_kept *kept, const aw_mem *mem);

/* Kills the child and waits for its end, which is near. */
void aw_os_reap(int pid);

#pragma GCC visibility pop

#endif
