#include "lws_context.h"
#include "aw_error.h"
#include "lws_tls.h"
#include <signal.h>
#include <stdlib.h>

/* A context's destruction needs a few turns of the loop; one that is not done
 * after this many never will be. */
#define DRAIN_TURNS 1000

typedef struct walk walk;

struct walk {
  aw_lws_context *context;
  const struct lws *wsi;
  unsigned skip, seen;
};

static void count_handle(uv_handle_t *handle, void *arg) {
  walk *w = arg;

  (void)handle;
  w->seen++;
}

/* uv_walk goes in order of creation: what comes after the first `skip` handles
 * was made by lws_create_context. They must not keep the loop alive. */
static void claim_handle(uv_handle_t *handle, void *arg) {
  walk *w = arg;
  aw_lws_context *c = w->context;

  if (w->seen++ < w->skip) {
    return;
  }
  uv_unref(handle);
  if (c->own_count < sizeof c->own / sizeof c->own[0]) {
    c->own[c->own_count++] = handle;
  }
}

static void find_own(uv_handle_t *handle, void *arg) {
  walk *w = arg;
  unsigned i;

  for (i = 0; i < w->context->own_count; i++) {
    w->seen += w->context->own[i] == handle;
  }
}

static void free_poll(uv_handle_t *handle) {
  free(handle); /* libwebsockets' allocator is the C library's */
}

static void reap_poll(uv_handle_t *handle, void *arg) {
  walk *w = arg;

  if (handle->type == UV_POLL && handle->data == w->wsi &&
      !uv_is_closing(handle)) {
    uv_close(handle, free_poll);
  }
}

void aw_lws_reap(aw_lws *lws, struct lws *wsi) {
  walk w = {.wsi = wsi};

  uv_walk(aw_loop_uv(lws->loop), reap_poll, &w);
}

static void fill_info(aw_lws *lws, struct lws_context_creation_info *info) {
  /* The name is changed for each upgrade, see lws_server.c. */
  static const struct lws_protocols protocols[] = {
      {"x", aw_lws_callback, sizeof(void *), AW_LWS_BUFFER, 0, NULL, 1u << 20},
      {NULL, NULL, 0, 0, 0, NULL, 0}};

  memset(info, 0, sizeof *info);
  info->port = CONTEXT_PORT_NO_LISTEN_SERVER;
  info->protocols = protocols;
  info->options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
                  LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT |
                  LWS_SERVER_OPTION_CREATE_VHOST_SSL_CTX |
                  LWS_SERVER_OPTION_DISABLE_OS_CA_CERTS |
                  LWS_SERVER_OPTION_SKIP_SERVER_CANONICAL_NAME;
  info->provided_client_ssl_ctx = lws->client_ctx;
  info->alpn = "http/1.1";
  info->http_proxy_address = "";
  info->vhost_name = "agentwire";
  info->connect_timeout_secs = AW_LWS_NEVER_S;
  info->timeout_secs = AW_LWS_NEVER_S;
  info->uid = (uid_t)-1;
  info->gid = (gid_t)-1;
}

static struct lws_context *create(aw_lws *lws, aw_lws_context *c) {
  static const lws_retry_bo_t no_pings = {.secs_since_valid_ping = 65000,
                                          .secs_since_valid_hangup = 65001};
  void *loops[] = {aw_loop_uv(lws->loop)};
  struct lws_context_creation_info info;
  struct lws_context *context;
  struct sigaction sigpipe;

  fill_info(lws, &info);
  info.foreign_loops = loops;
  info.user = c;
  info.pt_serv_buf_size = AW_LWS_BUFFER;
  info.max_http_header_data2 = AW_LWS_HEAD_MAX;
  info.retry_and_idle_policy = &no_pings;
  info.fd_limit_per_thread = c == &lws->small ? AW_LWS_SMALL : 0;
  lws_set_log_level(0, NULL);
  sigaction(SIGPIPE, NULL, &sigpipe);
  context = lws_create_context(&info);
  sigaction(SIGPIPE, &sigpipe, NULL);
  return context;
}

static bool make_context(aw_lws *lws, aw_lws_context *c) {
  struct lws_context_creation_info info;
  walk w = {.context = c};

  if (lws->client_ctx == NULL && aw_lws_tls_start(lws) != AW_OK) {
    return false;
  }
  uv_walk(aw_loop_uv(lws->loop), count_handle, &w);
  w.skip = w.seen;
  w.seen = 0;
  c->lws = lws;
  c->context = create(lws, c);
  if (c->context == NULL) {
    return false;
  }
  uv_walk(aw_loop_uv(lws->loop), claim_handle, &w);
  fill_info(lws, &info);
  c->vhost = lws_create_vhost(c->context, &info);
  return c->vhost != NULL;
}

aw_lws_context *aw_lws_pick(aw_lws *lws, bool server) {
  aw_lws_context *c = &lws->small;

  if (server || lws->full.context != NULL || c->used >= AW_LWS_SMALL - 2) {
    c = &lws->full;
  }
  if (c->context == NULL) {
    make_context(lws, c);
  }
  return c->vhost != NULL ? c : NULL;
}

/* Destroys in two steps with turns of the loop between them. A context that
 * does not come to rest is leaked: the second step would free memory that
 * libuv still uses. */
static void destroy_context(aw_lws *lws, aw_lws_context *c) {
  walk w = {.context = c, .seen = 1};
  unsigned turns;

  if (c->context == NULL) {
    return;
  }
  lws_context_destroy(c->context);
  for (turns = 0; turns < DRAIN_TURNS && w.seen > 0; turns++) {
    uv_run(aw_loop_uv(lws->loop), UV_RUN_NOWAIT);
    w.seen = 0;
    uv_walk(aw_loop_uv(lws->loop), find_own, &w);
  }
  if (w.seen == 0) {
    lws_context_destroy(c->context);
  }
}

static void on_loop_free(aw_local *local) {
  aw_lws *lws = AW_CONTAINER(local, aw_lws, local);

  aw_node_remove(&lws->flush.node);
  destroy_context(lws, &lws->small);
  destroy_context(lws, &lws->full);
  aw_node_remove(&lws->flush.node);
  SSL_CTX_free(lws->client_ctx);
  BIO_meth_free(lws->bio);
  aw_mem_free(lws->mem, lws);
}

static void run_flush(aw_flush *flush) {
  aw_lws *lws = AW_CONTAINER(flush, aw_lws, flush);

  if (lws->kicks > 0 && --lws->kicks > 0) {
    aw_loop_mark(lws->loop, flush);
  }
}

/* What is marked makes the loop turn once more. Two rounds, because the first
 * may be the flush that is running now. */
void aw_lws_kick(aw_lws *lws) {
  lws->kicks = 2;
  aw_loop_mark(lws->loop, &lws->flush);
}

int aw_lws_get(aw_loop *loop, aw_lws **out) {
  static const char key;
  aw_local *kept = aw_loop_find(loop, &key);
  if (kept != NULL) {
    *out = AW_CONTAINER(kept, aw_lws, local);
    return AW_OK;
  }
  aw_lws *lws = aw_mem_zero(aw_loop_mem(loop), 1, sizeof *lws);
  if (lws == NULL) {
    return AW_E_NOMEM;
  }
  lws->loop = loop;
  lws->mem = aw_loop_mem(loop);
  lws->flush.run = run_flush;
  lws->local = (aw_local){.key = &key, .drop = on_loop_free};
  aw_queue_init(&lws->securing);
  aw_loop_keep(loop, &lws->local);
  *out = lws;
  return AW_OK;
}

int aw_lws_mask(aw_lws *lws, uint8_t mask[4]) {
  if (lws->entropy_left < 4) {
    if (aw_loop_entropy(lws->entropy, sizeof lws->entropy) != AW_OK) {
      return AW_E_IO;
    }
    lws->entropy_left = sizeof lws->entropy;
  }
  lws->entropy_left -= 4;
  memcpy(mask, lws->entropy + lws->entropy_left, 4);
  return AW_OK;
}
