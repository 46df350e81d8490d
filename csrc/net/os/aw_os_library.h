/* The shared libraries of this process. */
#ifndef AW_OS_LIBRARY_H
#define AW_OS_LIBRARY_H

#pragma GCC visibility push(hidden)

/* Keeps the library that has `address` until the process ends: for one whose
 * threads may outlive what has loaded it. */
void aw_os_pin(const void *address);

#pragma GCC visibility pop

#endif
