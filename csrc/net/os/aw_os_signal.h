/* Handlers of signals, which belong to the whole process: taken, and given back
 * as they were found. */
#ifndef AW_OS_SIGNAL_H
#define AW_OS_SIGNAL_H

#include <stdbool.h>

#pragma GCC visibility push(hidden)

/* Below this all numbers of signals are. */
#define AW_OS_SIGNALS 129

/* Blocks all signals of this thread and keeps other threads out. What follows
 * is called between the two, but for aw_os_signal_die. */
void aw_os_signals_lock(void);
void aw_os_signals_unlock(void);

/* System calls go on after it, and no other signal interrupts it. AW_E_INVALID:
 * no signal, or one that nobody can take. */
int aw_os_signal_take(int number, void (*handler)(int number));
void aw_os_signal_give_back(int number);

/* Of one that is taken: was it ignored before? */
bool aw_os_signal_was_ignored(int number);

/* Ends the process by the signal's default action: at once, or when the handler
 * that calls this returns. Async-signal-safe. */
void aw_os_signal_die(int number);

#pragma GCC visibility pop

#endif
