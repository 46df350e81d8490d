/* A descriptor that is read by whoever wants to wait for it: standard input as
 * a pipe, a terminal, a socket or a file. Nothing is read before it is asked
 * for, so what a program leaves unread stays for the next one. */
#ifndef AW_INPUT_H
#define AW_INPUT_H

#include "aw_loop.h"

#pragma GCC visibility push(hidden)

typedef struct aw_input aw_input;

/* The event of its source: there is something to read, or the end. */
#define AW_INPUT_READY 1

/* A copy of `fd` is made, `fd` itself is left alone. AW_E_INVALID: not open. */
int aw_input_new(aw_input **out, aw_loop *loop, int fd, void *user);

/* A terminal is put back as it was. */
void aw_input_free(aw_input *input);
aw_source *aw_input_source(aw_input *input);

/* At most `size` bytes; *got 0 is the end. AW_E_AGAIN: nothing is there yet;
 * AW_INPUT_READY is raised once when there is. AW_E_IO. */
int aw_input_read(aw_input *input, char *bytes, size_t size, size_t *got);

/* A terminal gives each key at once and unechoed; its signals stay. Put back
 * when the process ends, however it does but by SIGKILL. Does nothing to what
 * is no terminal. AW_E_IO. */
int aw_input_set_raw(aw_input *input, bool raw);

#pragma GCC visibility pop

#endif
