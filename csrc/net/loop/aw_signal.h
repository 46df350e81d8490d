/* Signals of the process as sources of a loop.
 *
 * A signal's disposition belongs to the whole process, and so does the table
 * behind this; it is taken when the first watch of a signal is made, and given
 * back as it was found when the last one is freed. Watches of several loops,
 * also of several threads, may live side by side: each is told. */
#ifndef AW_SIGNAL_H
#define AW_SIGNAL_H

#include "aw_loop.h"

#pragma GCC visibility push(hidden)

typedef struct aw_signal aw_signal;

/* The event of its source; several signals between two looks are one. */
#define AW_SIGNAL_CAME 1

/* Watches at once, in the whole process: the handler looks through them. */
#define AW_SIGNALS_MAX 64

enum aw_signal_mode {
  /* Somebody waits for it: it keeps the loop alive, and last resorts wait. */
  AW_SIGNAL_WAIT,
  /* The first is told, the second ends the process at once by the signal's
   * default action, from inside the handler: the one that works while the
   * program is stuck. Does not keep the loop alive. Refused (AW_E_REFUSED)
   * where the signal is ignored, as by nohup. */
  AW_SIGNAL_LAST_RESORT
};

/* `user` is the source's. AW_E_INVALID: not a signal, or one that cannot be
 * taken; AW_E_LIMIT; AW_E_NOMEM; AW_E_IO. */
int aw_signal_new(aw_signal **out, aw_loop *loop, int number,
                  enum aw_signal_mode mode, void *user);
void aw_signal_free(aw_signal *signal);
aw_source *aw_signal_source(aw_signal *signal);

/* Has `restore` called before a last resort ends the process; it has to be
 * async-signal-safe. NULL: nobody. */
void aw_signal_at_last(void (*restore)(void));

#pragma GCC visibility pop

#endif
