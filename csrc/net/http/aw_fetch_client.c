#include "aw_fetch_client.h"

#ifdef AW_WITH_CURL

#include "aw_error.h"
#include "aw_os_library.h"

struct aw_fetch_client {
  aw_local local;
  aw_loop *loop;
  CURLM *multi;
  uv_timer_t timer;
};

/* Polls one of libcurl's sockets for as long as it wants that. */
typedef struct watch {
  uv_poll_t poll;
  aw_fetch_client *client;
  const aw_mem *mem;
  curl_socket_t fd;
  int events;
} watch;

static void take_ended(aw_fetch_client *client) {
  CURLMsg *message;
  int left;
  while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
    if (message->msg != CURLMSG_DONE) {
      continue;
    }
    CURL *easy = message->easy_handle;
    CURLcode result = message->data.result;
    char *transfer = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer);
    curl_multi_remove_handle(client->multi, easy);
    ((aw_fetch_transfer *)(void *)transfer)
        ->done((aw_fetch_transfer *)(void *)transfer, result);
  }
}

static void act(aw_fetch_client *client, curl_socket_t fd, int flags) {
  int running;
  curl_multi_socket_action(client->multi, fd, flags, &running);
  take_ended(client);
}

static void on_timer(uv_timer_t *timer) {
  act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  watch *w = AW_CONTAINER(poll, watch, poll);
  if (status < 0) { /* libuv has stopped: the socket itself knows what it is */
    events = UV_READABLE | UV_WRITABLE;
    uv_poll_start(poll, w->events, on_poll);
  }
  int flags = events & UV_READABLE ? CURL_CSELECT_IN : 0;
  flags |= events & UV_WRITABLE ? CURL_CSELECT_OUT : 0;
  act(w->client, w->fd, flags);
}

static void on_watch_closed(uv_handle_t *handle) {
  watch *w = AW_CONTAINER((uv_poll_t *)handle, watch, poll);
  aw_mem_free(w->mem, w);
}

static watch *new_watch(aw_fetch_client *client, curl_socket_t fd) {
  const aw_mem *mem = aw_loop_mem(client->loop);
  watch *w = aw_mem_zero(mem, 1, sizeof *w);
  if (w == NULL) {
    return NULL;
  }
  w->client = client;
  w->mem = mem;
  w->fd = fd;
  if (uv_poll_init_socket(aw_loop_uv(client->loop), &w->poll, fd) != 0) {
    aw_mem_free(mem, w);
    return NULL;
  }
  curl_multi_assign(client->multi, fd, w);
  return w;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *user,
                     void *of_socket) {
  aw_fetch_client *client = user;
  watch *w = of_socket;
  (void)easy;
  if (what == CURL_POLL_REMOVE) {
    if (w != NULL) {
      curl_multi_assign(client->multi, fd, NULL);
      uv_close((uv_handle_t *)&w->poll, on_watch_closed);
    }
    return 0;
  }
  if (w == NULL) {
    w = new_watch(client, fd);
  }
  if (w == NULL) {
    return -1;
  }
  w->events = what != CURL_POLL_OUT ? UV_READABLE : 0;
  w->events |= what != CURL_POLL_IN ? UV_WRITABLE : 0;
  return uv_poll_start(&w->poll, w->events, on_poll) == 0 ? 0 : -1;
}

static int on_timeout(CURLM *multi, long ms, void *user) {
  aw_fetch_client *client = user;
  (void)multi;
  if (ms < 0) {
    uv_timer_stop(&client->timer);
  } else {
    aw_loop_arm(client->loop, &client->timer, on_timer, (uint64_t)ms);
  }
  return 0;
}

static void on_closed(uv_handle_t *handle) {
  aw_fetch_client *client = handle->data;
  aw_mem_free(aw_loop_mem(client->loop), client);
}

/* Every request has been freed; what is left are idle connections. */
static void drop(aw_local *local) {
  aw_fetch_client *client = AW_CONTAINER(local, aw_fetch_client, local);
  curl_multi_cleanup(client->multi);
  curl_global_cleanup();
  uv_close((uv_handle_t *)&client->timer, on_closed);
}

int aw_fetch_client_limit(aw_fetch_client *client,
                          const aw_fetch_limits *limits) {
  long per_host =
      limits->per_host > 0 ? (long)limits->per_host : AW_FETCH_PER_HOST_MAX;
  long total = limits->total > 0 ? (long)limits->total : AW_FETCH_TOTAL_MAX;
  long kept = limits->kept > 0 ? (long)limits->kept : AW_FETCH_KEPT_MAX;
  curl_multi_setopt(client->multi, CURLMOPT_MAX_HOST_CONNECTIONS, per_host);
  curl_multi_setopt(client->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, total);
  curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, kept);
  return AW_OK;
}

static int make(aw_fetch_client **out, aw_loop *loop) {
  static const aw_fetch_limits defaults;
  aw_fetch_client *client = aw_mem_zero(aw_loop_mem(loop), 1, sizeof *client);
  if (client == NULL) {
    return AW_E_NOMEM;
  }
  client->loop = loop;
  client->multi = curl_multi_init();
  if (client->multi == NULL) {
    aw_mem_free(aw_loop_mem(loop), client);
    return AW_E_NOMEM;
  }
  uv_timer_init(aw_loop_uv(loop), &client->timer);
  client->timer.data = client;
  curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
  curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
  curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
  curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
  curl_multi_setopt(client->multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
  aw_fetch_client_limit(client, &defaults);
  *out = client;
  return AW_OK;
}

/* A name that is being looked up when its request ends is given up, and its
 * thread runs on for a moment: the library must still be there then. */
static int start_library(const char **why) {
  const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);
  if ((info->features & CURL_VERSION_ASYNCHDNS) == 0) {
    *why = "libcurl looks up names in its caller's time here; it has to be "
           "built with threads or c-ares";
    return AW_E_UNSUPPORTED;
  } else if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
    *why = "libcurl cannot be started";
    return AW_E_UNSUPPORTED;
  }
  aw_os_pin(info);
  return AW_OK;
}

int aw_fetch_client_of(aw_fetch_client **out, aw_loop *loop, const char **why) {
  static const char key;
  aw_local *kept = aw_loop_find(loop, &key);
  *why = NULL;
  if (kept != NULL) {
    *out = AW_CONTAINER(kept, aw_fetch_client, local);
    return AW_OK;
  }
  int rc = start_library(why);
  if (rc != AW_OK) {
    return rc;
  }
  rc = make(out, loop);
  if (rc != AW_OK) {
    curl_global_cleanup();
    return rc;
  }
  (*out)->local = (aw_local){.key = &key, .drop = drop};
  aw_loop_keep(loop, &(*out)->local);
  return AW_OK;
}

int aw_fetch_client_add(aw_fetch_client *client, CURL *easy) {
  return curl_multi_add_handle(client->multi, easy) == CURLM_OK ? AW_OK
                                                                : AW_E_NOMEM;
}

void aw_fetch_client_remove(aw_fetch_client *client, CURL *easy) {
  curl_multi_remove_handle(client->multi, easy);
  aw_loop_ring(client->loop);
}

void aw_fetch_client_resume(aw_fetch_client *client, CURL *easy) {
  curl_easy_pause(easy, CURLPAUSE_CONT);
  aw_loop_ring(client->loop);
}

#endif
