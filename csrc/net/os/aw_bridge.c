#include "aw_bridge.h"
#include "aw_error.h"
#include "aw_os_file.h"
#include "aw_tcp.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define FILE_MODE 0600
#define STACK_SIZE (64u << 10) /* the thread calls poll and send */

struct aw_bridge {
  const aw_mem *mem;
  struct sockaddr_storage address;
  int listener, watched, peer; /* peer -1: not begun */
  int control[2];              /* ours, the thread's */
  atomic_bool armed;           /* until the thread has seen it ready */
  uv_thread_t thread;
  pid_t owner;
};

static void send_byte(int fd) {
  size_t sent;
  (void)aw_tcp_send(fd, "!", 1, &sent);
}

/* False: there is nothing left to be done. */
static bool hear(int control) {
  char byte;
  ssize_t n;
  do {
    n = read(control, &byte, 1);
  } while (n < 0 && errno == EINTR);
  return n > 0;
}

static void watch(void *arg) {
  aw_bridge *b = arg;
  struct pollfd polled[2] = {{.fd = b->control[1], .events = POLLIN},
                             {.fd = -1, .events = POLLIN}};
  for (;;) {
    if (poll(polled, 2, -1) < 0) {
      if (errno != EINTR) {
        return;
      }
    } else if (polled[0].revents != 0) {
      if (!hear(b->control[1])) {
        return;
      }
      polled[1].fd = b->watched;
    } else if (polled[1].revents != 0) {
      polled[1].fd = -1;
      atomic_store(&b->armed, false);
      send_byte(b->peer);
    }
  }
}

int aw_bridge_new(aw_bridge **out, const aw_mem *mem, int watched,
                  const char *file, const char **why) {
  const aw_tcp_listening listening = {.backlog = 8, .mode = FILE_MODE};
  aw_bridge *b = aw_mem_zero(mem, 1, sizeof *b);
  *out = NULL;
  if (b == NULL) {
    *why = aw_error_text(AW_E_NOMEM);
    return AW_E_NOMEM;
  }
  b->mem = mem;
  b->watched = watched;
  b->peer = -1;
  b->owner = getpid();
  int rc = aw_tcp_unix(file, strlen(file), &b->address);
  if (rc == 0) {
    rc =
        aw_tcp_listen((struct sockaddr *)&b->address, &listening, &b->listener);
  }
  if (rc != 0) {
    aw_mem_free(mem, b);
    *why = uv_strerror(rc);
    return AW_E_IO;
  }
  *out = b;
  return AW_OK;
}

/* Signals are for the threads that were there before. */
static int start_thread(aw_bridge *b) {
  const uv_thread_options_t options = {.flags = UV_THREAD_HAS_STACK_SIZE,
                                       .stack_size = STACK_SIZE};
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  int rc = uv_thread_create_ex(&b->thread, &options, watch, b);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  return rc;
}

static int begin(aw_bridge *b) {
  struct sockaddr_storage who;
  if (b->peer >= 0) {
    return UV_EALREADY;
  }
  int rc = aw_tcp_accept(b->listener, &who, &b->peer);
  if (rc != 0) {
    return rc;
  }
  if (!aw_os_pair(b->control)) {
    rc = UV_EMFILE;
    goto no_pair;
  }
  rc = start_thread(b);
  if (rc == 0) {
    return 0;
  }
  aw_os_close(b->control[0]);
  aw_os_close(b->control[1]);
no_pair:
  aw_os_close(b->peer);
  b->peer = -1;
  return rc;
}

int aw_bridge_begin(aw_bridge *b, const char **why) {
  int rc = begin(b);
  if (rc != 0) {
    *why = uv_strerror(rc);
  }
  return rc == 0 ? AW_OK : AW_E_IO;
}

void aw_bridge_arm(aw_bridge *b) {
  if (b->peer >= 0 && !atomic_exchange(&b->armed, true)) {
    send_byte(b->control[0]);
  }
}

void aw_bridge_poke(aw_bridge *b) {
  if (b->peer >= 0) {
    send_byte(b->peer);
  }
}

void aw_bridge_free(aw_bridge *b) {
  if (b == NULL) {
    return;
  }
  if (b->owner == getpid()) {
    aw_os_remove(aw_tcp_file((struct sockaddr *)&b->address));
  }
  aw_os_close(b->listener);
  if (b->peer >= 0) {
    aw_os_close(b->control[0]); /* which the thread sees */
    if (b->owner == getpid()) {
      uv_thread_join(&b->thread);
    }
    aw_os_close(b->control[1]);
    aw_os_close(b->peer);
  }
  aw_mem_free(b->mem, b);
}
