#include "lws_tls.h"
#include "aw_error.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

static int bio_fd(BIO *bio) {
  return (int)(intptr_t)BIO_get_data(bio);
}

static int bio_result(BIO *bio, ssize_t n, int retry) {
  BIO_clear_retry_flags(bio);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
    BIO_set_flags(bio, retry | BIO_FLAGS_SHOULD_RETRY);
  }
  return (int)n;
}

/* OpenSSL's own socket BIO writes with write(2), which raises SIGPIPE. */
static int bio_write(BIO *bio, const char *bytes, int len) {
  return bio_result(bio, send(bio_fd(bio), bytes, (size_t)len, MSG_NOSIGNAL),
                    BIO_FLAGS_WRITE);
}

static int bio_read(BIO *bio, char *bytes, int len) {
  ssize_t n = recv(bio_fd(bio), bytes, (size_t)len, 0);

  if (n == 0) {
    BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
  }
  return bio_result(bio, n, BIO_FLAGS_READ);
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer) {
  (void)number;
  switch (command) {
  case BIO_CTRL_FLUSH:
    return 1;
  case BIO_CTRL_EOF:
    return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
  case BIO_C_GET_FD: /* libwebsockets closes what SSL_get_fd says */
    if (pointer != NULL) {
      *(int *)pointer = bio_fd(bio);
    }
    return bio_fd(bio);
  default:
    return 0;
  }
}

static BIO_METHOD *new_bio_method(void) {
  BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOCKET, "socket, no SIGPIPE");

  if (method != NULL && (BIO_meth_set_write(method, bio_write) != 1 ||
                         BIO_meth_set_read(method, bio_read) != 1 ||
                         BIO_meth_set_ctrl(method, bio_ctrl) != 1)) {
    BIO_meth_free(method);
    method = NULL;
  }
  return method;
}

static void replace_bio(SSL *ssl, aw_lws *lws) {
  int fd = SSL_get_fd(ssl);
  BIO *bio = BIO_new(lws->bio);

  if (bio == NULL) {
    return; /* SIGPIPE is the lesser evil */
  }
  BIO_set_data(bio, (void *)(intptr_t)fd);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl, bio, bio);
}

static aw_lws_security *find_security(aw_lws *lws, const SSL *ssl) {
  aw_node *node = aw_queue_first(&lws->securing);

  while (node != NULL) {
    aw_lws_security *s = AW_CONTAINER(node, aw_lws_security, node);

    if (*s->wsi != NULL && lws_get_ssl(*s->wsi) == ssl) {
      return s;
    }
    node = aw_queue_next(&lws->securing, node);
  }
  return NULL;
}

/* An address is checked as one and is no server name (RFC 6066 section 3). */
static bool expect_name(SSL *ssl, const char *name) {
  X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

  if (X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1) {
    return SSL_set_tlsext_host_name(ssl, NULL) == 1;
  }
  X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  return X509_VERIFY_PARAM_set1_host(param, name, 0) == 1 &&
         SSL_set_tlsext_host_name(ssl, name) == 1;
}

/* Every failure in here leaves nothing to trust, so that the handshake fails.
 */
static void configure(SSL *ssl, const aw_lws_security *s) {
  bool good = SSL_set1_verify_cert_store(ssl, s->store) == 1;

  if (!s->insecure) {
    good = expect_name(ssl, s->name) && good;
  }
  if (s->cert_file != NULL) {
    good = SSL_use_certificate_chain_file(ssl, s->cert_file) == 1 &&
           SSL_use_PrivateKey_file(ssl, s->key_file, SSL_FILETYPE_PEM) == 1 &&
           good;
  }
  if (!good) {
    SSL_set1_verify_cert_store(ssl, NULL);
  }
}

/* The SSL was made of libwebsockets' own context, which has no certificate.
 * What SSL_set_SSL_CTX leaves as it was has to be copied. */
static void become_listener(SSL *ssl, SSL_CTX *ctx) {
  static const unsigned char id[] = "agentwire";

  SSL_set_SSL_CTX(ssl, ctx);
  SSL_set_verify(ssl, SSL_CTX_get_verify_mode(ctx), NULL);
  SSL_set_session_id_context(ssl, id, sizeof id - 1);
}

static void note_failure(aw_lws_security *s, int where, int ret) {
  unsigned long code = ERR_peek_last_error();

  if (s->why != NULL) {
    return;
  }
  if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT) {
    s->why = SSL_alert_desc_string_long(ret);
  } else if ((where & SSL_CB_EXIT) != 0 && ret < 0 && code != 0) {
    s->why = ERR_reason_error_string(code);
  }
}

static void on_info(const SSL *const_ssl, int where, int ret) {
  SSL *ssl = (SSL *)const_ssl; /* OpenSSL's callbacks have it const */
  aw_lws *lws = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
  bool starts = (where & SSL_CB_HANDSHAKE_START) != 0;
  aw_lws_security *s;

  if (lws == NULL) {
    return;
  }
  if (starts) {
    replace_bio(ssl, lws);
  }
  if (SSL_is_server(ssl)) {
    if (starts && lws->accepting != NULL) {
      become_listener(ssl, lws->accepting);
    }
    return;
  }
  s = find_security(lws, ssl);
  if (s != NULL && starts) {
    configure(ssl, s);
  } else if (s != NULL) {
    note_failure(s, where, ret);
  }
}

/* No renegotiation: TLS 1.3 has none, and it would start a second handshake
 * that on_info would take for the first. No resumption: sessions would be
 * common to all listeners, those that demand a certificate included. */
void aw_lws_tls_adopt(SSL_CTX *ctx, aw_lws *lws) {
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(ctx, 0);
  SSL_CTX_set_tlsext_servername_callback(ctx, NULL);
  SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
  SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                               SSL_OP_NO_TICKET);
  SSL_CTX_set_mode(ctx, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                            SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_app_data(ctx, lws);
  SSL_CTX_set_info_callback(ctx, on_info);
}

int aw_lws_tls_start(aw_lws *lws) {
  if (lws->bio == NULL) {
    lws->bio = new_bio_method();
  }
  lws->client_ctx = SSL_CTX_new(TLS_client_method());
  if (lws->bio == NULL || lws->client_ctx == NULL) {
    SSL_CTX_free(lws->client_ctx);
    lws->client_ctx = NULL;
    return AW_E_NOMEM;
  }
  aw_lws_tls_adopt(lws->client_ctx, lws);
  return AW_OK;
}

void aw_lws_tls_verdict(aw_lws_security *s, X509_STORE_CTX *store, bool good) {
  if (good) {
    return;
  }
  if (s->insecure) {
    X509_STORE_CTX_set_error(store, X509_V_OK);
    return;
  }
  s->refused = true;
  s->why = X509_verify_cert_error_string(X509_STORE_CTX_get_error(store));
}

static const char *last_reason(const char *otherwise) {
  const char *reason = ERR_reason_error_string(ERR_peek_last_error());

  ERR_clear_error();
  return reason != NULL ? reason : otherwise;
}

/* The key may stand in the file of the certificate. */
static int load_identity(SSL_CTX *ctx, const char *cert, const char *key,
                         const char **why) {
  ERR_clear_error();
  key = key != NULL ? key : cert;
  if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1) {
    *why = last_reason("cannot use cert_file");
    return AW_E_INVALID;
  }
  if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1) {
    *why = last_reason("cannot use key_file");
    return AW_E_INVALID;
  }
  return AW_OK;
}

static int load_store(X509_STORE **out, const char *ca_file, const char **why) {
  X509_STORE *store = X509_STORE_new();

  ERR_clear_error();
  if (store == NULL) {
    *why = "out of memory";
    return AW_E_NOMEM;
  }
  if (ca_file != NULL && X509_STORE_load_file(store, ca_file) != 1) {
    *why = last_reason("cannot use ca_file");
    X509_STORE_free(store);
    return AW_E_INVALID;
  }
  if (ca_file == NULL) {
    X509_STORE_set_default_paths(store);
  }
  ERR_clear_error();
  *out = store;
  return AW_OK;
}

static char *copy_string(const aw_mem *mem, const char *text) {
  size_t size = strlen(text) + 1;
  char *copy = aw_mem_alloc(mem, size);

  return copy != NULL ? memcpy(copy, text, size) : NULL;
}

/* The files are loaded again when the handshake starts; this says now what is
 * wrong with them. */
static int check_identity(const aw_tls_options *o, const char **why) {
  SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
  int rc = AW_E_NOMEM;

  *why = "out of memory";
  if (ctx != NULL) {
    rc = load_identity(ctx, o->cert_file, o->key_file, why);
  }
  SSL_CTX_free(ctx);
  return rc;
}

int aw_lws_security_init(aw_lws_security *s, const aw_mem *mem,
                         const aw_tls_options *options, const char *host,
                         const char **why) {
  static const aw_tls_options defaults = {.ca_file = NULL};
  const aw_tls_options *o = options != NULL ? options : &defaults;
  int rc = load_store(&s->store, o->ca_file, why);

  if (rc == AW_OK && o->cert_file != NULL) {
    rc = check_identity(o, why);
  }
  if (rc != AW_OK) {
    return rc;
  }
  s->insecure = o->insecure;
  s->name = copy_string(mem, o->name != NULL ? o->name : host);
  if (o->cert_file != NULL) {
    s->cert_file = copy_string(mem, o->cert_file);
    s->key_file =
        copy_string(mem, o->key_file != NULL ? o->key_file : o->cert_file);
  }
  if (s->name == NULL ||
      (o->cert_file != NULL && (s->cert_file == NULL || s->key_file == NULL))) {
    *why = "out of memory";
    return AW_E_NOMEM;
  }
  return AW_OK;
}

void aw_lws_security_fini(aw_lws_security *s, const aw_mem *mem) {
  aw_node_remove(&s->node);
  X509_STORE_free(s->store);
  s->store = NULL;
  aw_mem_free(mem, s->name);
  aw_mem_free(mem, s->cert_file);
  aw_mem_free(mem, s->key_file);
  s->name = s->cert_file = s->key_file = NULL;
}

static int demand_certificate(SSL_CTX *ctx, const char *ca_file,
                              const char **why) {
  if (ca_file == NULL) {
    *why = "verify_peer needs a ca_file";
    return AW_E_INVALID;
  }
  if (SSL_CTX_load_verify_file(ctx, ca_file) != 1) {
    *why = last_reason("cannot use ca_file");
    return AW_E_INVALID;
  }
  SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                     NULL);
  return AW_OK;
}

int aw_lws_server_ctx(const aw_tls_options *o, SSL_CTX **out,
                      const char **why) {
  SSL_CTX *ctx;
  int rc;

  if (o == NULL || o->cert_file == NULL) {
    *why = "a TLS server needs a cert_file";
    return AW_E_INVALID;
  }
  ctx = SSL_CTX_new(TLS_server_method());
  if (ctx == NULL) {
    *why = "out of memory";
    return AW_E_NOMEM;
  }
  rc = load_identity(ctx, o->cert_file, o->key_file, why);
  if (rc == AW_OK && o->verify_peer) {
    rc = demand_certificate(ctx, o->ca_file, why);
  }
  if (rc != AW_OK) {
    SSL_CTX_free(ctx);
    return rc;
  }
  *out = ctx;
  return AW_OK;
}
