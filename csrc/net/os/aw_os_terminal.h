/* Terminals: how wide one is, and their modes; one at a time is raw. */
#ifndef AW_OS_TERMINAL_H
#define AW_OS_TERMINAL_H

#pragma GCC visibility push(hidden)

/* Columns of the terminal behind a descriptor; 0 where none is known. */
int aw_os_terminal_columns(int fd);

/* Each key at once and unechoed; its signals stay. AW_E_IO. */
int aw_os_terminal_raw(int fd);

/* Puts the one that is raw back as it was found. Async-signal-safe. */
void aw_os_terminal_restore(void);

#pragma GCC visibility pop

#endif
