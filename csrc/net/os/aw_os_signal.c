#include "aw_os_signal.h"
#include "aw_error.h"
#include <pthread.h>
#include <signal.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static sigset_t mask; /* of the thread that holds the lock, as found */
static struct sigaction before[AW_OS_SIGNALS];

void aw_os_signals_lock(void) {
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  pthread_mutex_lock(&lock);
  mask = old;
}

void aw_os_signals_unlock(void) {
  sigset_t old = mask;
  pthread_mutex_unlock(&lock);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
}

int aw_os_signal_take(int number, void (*handler)(int number)) {
  struct sigaction action = {0};
  if (number <= 0 || number >= AW_OS_SIGNALS) {
    return AW_E_INVALID;
  }
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigfillset(&action.sa_mask);
  int rc = sigaction(number, &action, &before[number]);
  return rc == 0 ? AW_OK : AW_E_INVALID;
}

void aw_os_signal_give_back(int number) {
  sigaction(number, &before[number], NULL);
}

bool aw_os_signal_was_ignored(int number) {
  return before[number].sa_handler == SIG_IGN;
}

void aw_os_signal_die(int number) {
  struct sigaction action = {0};
  action.sa_handler = SIG_DFL;
  sigaction(number, &action, NULL);
  raise(number);
}
