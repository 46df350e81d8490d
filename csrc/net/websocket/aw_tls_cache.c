#include "aw_tls_cache.h"
#include "aw_error.h"
#include "aw_os_file.h"
#include <stdlib.h>
#include <string.h>

/* ca_file, cert_file, key_file; without a ca_file the system's store, which is
 * a file and a folder. */
#define FILES_MAX 5

typedef struct entry entry;
typedef struct cache cache;

struct entry {
  SSL_CTX *context; /* NULL: free */
  char *files[FILES_MAX];
  aw_os_stamp stamps[FILES_MAX];
  bool insecure;
  uint64_t used;
};

struct cache {
  aw_local local;
  const aw_mem *mem;
  uint64_t clock;
  entry entries[AW_TLS_CACHE_MAX];
};

static void drop_entry(cache *c, entry *e) {
  SSL_CTX_free(e->context);
  for (int i = 0; i < FILES_MAX; i++) {
    aw_mem_free(c->mem, e->files[i]);
  }
  *e = (entry){0};
}

static void drop_cache(aw_local *local) {
  cache *c = AW_CONTAINER(local, cache, local);
  for (int i = 0; i < AW_TLS_CACHE_MAX; i++) {
    drop_entry(c, &c->entries[i]);
  }
  aw_mem_free(c->mem, c);
}

static cache *cache_of(aw_loop *loop) {
  static const char key;
  aw_local *kept = aw_loop_find(loop, &key);
  if (kept != NULL) {
    return AW_CONTAINER(kept, cache, local);
  }
  cache *c = aw_mem_zero(aw_loop_mem(loop), 1, sizeof *c);
  if (c != NULL) {
    c->mem = aw_loop_mem(loop);
    c->local = (aw_local){.key = &key, .drop = drop_cache};
    aw_loop_keep(loop, &c->local);
  }
  return c;
}

static const char *from_environment(const char *name, const char *otherwise) {
  const char *value = getenv(name);
  return value != NULL ? value : otherwise;
}

static void name_files(const aw_tls_options *o, const char *files[FILES_MAX]) {
  memset(files, 0, FILES_MAX * sizeof *files);
  files[0] = o->ca_file;
  files[1] = o->cert_file;
  files[2] = o->key_file;
  if (o->ca_file == NULL && !o->insecure) {
    files[3] = from_environment(X509_get_default_cert_file_env(),
                                X509_get_default_cert_file());
    files[4] = from_environment(X509_get_default_cert_dir_env(),
                                X509_get_default_cert_dir());
  }
}

static bool is_same_text(const char *a, const char *b) {
  return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool is_same_stamp(const aw_os_stamp *a, const aw_os_stamp *b) {
  return a->seconds == b->seconds && a->nanoseconds == b->nanoseconds &&
         a->size == b->size && a->device == b->device && a->inode == b->inode;
}

static bool is_for(const entry *e, const char *const files[FILES_MAX],
                   bool insecure) {
  if (e->context == NULL || e->insecure != insecure) {
    return false;
  }
  for (int i = 0; i < FILES_MAX; i++) {
    if (!is_same_text(e->files[i], files[i])) {
      return false;
    }
  }
  return true;
}

static bool is_fresh(const entry *e, const aw_os_stamp stamps[FILES_MAX]) {
  for (int i = 0; i < FILES_MAX; i++) {
    if (!is_same_stamp(&e->stamps[i], &stamps[i])) {
      return false;
    }
  }
  return true;
}

/* The one for this configuration, else a free one, else the oldest. */
static entry *pick_entry(cache *c, const char *const files[FILES_MAX],
                         bool insecure) {
  entry *oldest = &c->entries[0];
  for (int i = 0; i < AW_TLS_CACHE_MAX; i++) {
    entry *e = &c->entries[i];
    if (is_for(e, files, insecure)) {
      return e;
    }
    oldest = e->used < oldest->used ? e : oldest;
  }
  return oldest;
}

/* Without memory for it nothing is kept, and nothing else is amiss. */
static void keep(cache *c, entry *e, SSL_CTX *context,
                 const char *const files[FILES_MAX],
                 const aw_os_stamp stamps[FILES_MAX], bool insecure) {
  drop_entry(c, e);
  for (int i = 0; i < FILES_MAX; i++) {
    if (files[i] == NULL) {
      continue;
    }
    size_t size = strlen(files[i]) + 1;
    e->files[i] = aw_mem_alloc(c->mem, size);
    if (e->files[i] == NULL) {
      drop_entry(c, e);
      return;
    }
    memcpy(e->files[i], files[i], size);
  }
  memcpy(e->stamps, stamps, sizeof e->stamps);
  e->insecure = insecure;
  SSL_CTX_up_ref(context);
  e->context = context;
}

int aw_tls_shared_context(SSL_CTX **out, aw_loop *loop,
                          const aw_tls_options *options, const char **why) {
  static const aw_tls_options defaults;
  const aw_tls_options *o = options == NULL ? &defaults : options;
  const char *files[FILES_MAX];
  aw_os_stamp stamps[FILES_MAX];
  cache *c = cache_of(loop);
  if (c == NULL) {
    *why = "out of memory";
    return AW_E_NOMEM;
  }
  name_files(o, files);
  /* Before the files are read: what changes meanwhile is read again. */
  for (int i = 0; i < FILES_MAX; i++) {
    (void)aw_os_stamp_read(&stamps[i], files[i], true);
  }
  entry *e = pick_entry(c, files, o->insecure);
  if (is_for(e, files, o->insecure) && is_fresh(e, stamps)) {
    SSL_CTX_up_ref(e->context);
    *out = e->context;
  } else {
    int rc = aw_tls_client_context(out, o, why);
    if (rc != AW_OK) {
      return rc;
    }
    keep(c, e, *out, files, stamps, o->insecure);
  }
  e->used = ++c->clock;
  return AW_OK;
}
