/* Descriptors, and files by their name. What is made here is close-on-exec. */
#ifndef AW_OS_FILE_H
#define AW_OS_FILE_H

#include <stdbool.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/* Which file it is, and of when: two stamps that are equal are of the same
 * file, unchanged in between. */
typedef struct aw_os_stamp {
  int64_t seconds, nanoseconds, size;
  uint64_t device, inode;
} aw_os_stamp;

/* All zero and false when there is no such file, or no name. `follow`: of what
 * a symbolic link leads to. */
bool aw_os_stamp_read(aw_os_stamp *out, const char *name, bool follow);

enum { AW_OS_STDIN, AW_OS_STDOUT, AW_OS_STDERR };

/* A second descriptor of the same open file, above the standard ones; -1. */
int aw_os_copy(int fd);

/* /dev/null, to read and to write; -1. */
int aw_os_null(void);

/* `fd` becomes `by`, or nothing if `by` is -1 or cannot be; one that children
 * are given. `by` itself stays as it is. */
void aw_os_replace(int fd, int by);

/* Two sockets of this machine that are each other's peer, blocking. False: none
 * are to be had. */
bool aw_os_pair(int ends[2]);

/* No child is given it. */
void aw_os_keep_own(int fd);

void aw_os_close(int fd);
void aw_os_remove(const char *name);
bool aw_os_is_terminal(int fd);

#pragma GCC visibility pop

#endif
