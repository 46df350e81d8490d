#include "aw_tls.h"
#include "aw_error.h"
#include <limits.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#if OPENSSL_VERSION_NUMBER < 0x30000000L
#error "agentwire needs OpenSSL 3.0 or later"
#endif

#define SUBJECT_MAX 512 /* a longer name is cut; X.520 allows absurd ones */

struct aw_tls {
  const aw_mem *mem;
  SSL *ssl;
  BIO_METHOD *method;
  aw_buf records;
  const char *in; /* fed, not read yet */
  size_t in_len;
  const char *why;
  char subject[SUBJECT_MAX];
};

static const char *last_reason(const char *otherwise) {
  unsigned long code = ERR_peek_last_error();
  const char *reason = code == 0 ? NULL : ERR_reason_error_string(code);
  ERR_clear_error();
  return reason == NULL ? otherwise : reason;
}

/* Why a file of the options cannot be used: the option's name is told, and what
 * OpenSSL says only where that is more than "no start line". */
static int refuse_file(const char **why, const char *unreadable,
                       const char *malformed) {
  int lib = ERR_GET_LIB(ERR_peek_error());
  const char *reason = last_reason(NULL);
  if (lib == ERR_LIB_SYS || lib == ERR_LIB_BIO) {
    *why = unreadable;
  } else {
    *why = lib == ERR_LIB_SSL && reason != NULL ? reason : malformed;
  }
  return AW_E_INVALID;
}

/* Without this OpenSSL would ask at the terminal, and the host would stand. */
static int no_passphrase(char *buffer, int size, int writing, void *user) {
  (void)buffer;
  (void)size;
  (void)writing;
  (void)user;
  return -1;
}

static SSL_CTX *new_context(const SSL_METHOD *method) {
  SSL_CTX *context = SSL_CTX_new(method);
  if (context == NULL) {
    return NULL;
  }
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_default_passwd_cb(context, no_passphrase);
  /* Renegotiation lets a peer burn our time at will; TLS 1.3 has none. No
   * tickets: a resumed session would outlive a reload of the certificates. */
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET |
                                   SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  /* 34 kB less for each idle connection. */
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  return context;
}

static int load_identity(SSL_CTX *context, const aw_tls_options *options,
                         const char **why) {
  const char *key =
      options->key_file != NULL ? options->key_file : options->cert_file;
  ERR_clear_error();
  if (SSL_CTX_use_certificate_chain_file(context, options->cert_file) != 1) {
    return refuse_file(why, "cert_file cannot be read",
                       "cert_file holds no certificate in PEM form");
  }
  if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
    if (ERR_GET_LIB(ERR_peek_error()) == ERR_LIB_X509) {
      (void)last_reason(NULL);
      *why = "key_file is not the key of cert_file";
      return AW_E_INVALID;
    }
    return refuse_file(why, "key_file cannot be read",
                       "key_file holds no private key in PEM form that needs "
                       "no passphrase");
  }
  return 0;
}

static int load_authorities(SSL_CTX *context, const char *file,
                            const char **why) {
  ERR_clear_error();
  int ok = file == NULL ? SSL_CTX_set_default_verify_paths(context)
                        : SSL_CTX_load_verify_file(context, file);
  if (ok != 1) {
    return refuse_file(why, "ca_file cannot be read",
                       "ca_file holds no certificate in PEM form");
  }
  ERR_clear_error();
  return 0;
}

int aw_tls_client_context(SSL_CTX **out, const aw_tls_options *options,
                          const char **why) {
  static const aw_tls_options defaults;
  const aw_tls_options *o = options == NULL ? &defaults : options;
  *why = "out of memory";
  SSL_CTX *context = new_context(TLS_client_method());
  if (context == NULL) {
    return AW_E_NOMEM;
  }
  int rc = 0;
  if (!o->insecure) {
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    rc = load_authorities(context, o->ca_file, why);
  }
  if (rc == 0 && o->cert_file != NULL) {
    rc = load_identity(context, o, why);
  }
  if (rc != 0) {
    SSL_CTX_free(context);
    return rc;
  }
  *out = context;
  return 0;
}

static int demand_certificate(SSL_CTX *context, const char *ca_file,
                              const char **why) {
  if (ca_file == NULL) {
    /* The system's store would let in whoever owns any web site. */
    *why = "verify_peer needs a ca_file";
    return AW_E_INVALID;
  }
  int rc = load_authorities(context, ca_file, why);
  if (rc != 0) {
    return rc;
  }
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                     NULL);
  SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(ca_file));
  return 0;
}

int aw_tls_server_context(SSL_CTX **out, const aw_tls_options *options,
                          const char **why) {
  if (options == NULL || options->cert_file == NULL) {
    *why = "a TLS server needs a cert_file";
    return AW_E_INVALID;
  }
  *why = "out of memory";
  SSL_CTX *context = new_context(TLS_server_method());
  if (context == NULL) {
    return AW_E_NOMEM;
  }
  SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE |
                                   SSL_OP_PRIORITIZE_CHACHA);
  int rc = load_identity(context, options, why);
  if (rc == 0 && options->verify_peer) {
    rc = demand_certificate(context, options->ca_file, why);
  }
  if (rc != 0) {
    SSL_CTX_free(context);
    return rc;
  }
  *out = context;
  return 0;
}

/* The BIO under OpenSSL: reads from what was fed, writes to the records. */

static int link_read(BIO *bio, char *out, size_t room, size_t *got) {
  aw_tls *tls = BIO_get_data(bio);
  size_t n = room < tls->in_len ? room : tls->in_len;
  BIO_clear_retry_flags(bio);
  if (n == 0) {
    BIO_set_retry_read(bio);
    return 0;
  }
  memcpy(out, tls->in, n);
  tls->in += n;
  tls->in_len -= n;
  *got = n;
  return 1;
}

static int link_write(BIO *bio, const char *bytes, size_t len,
                      size_t *written) {
  aw_tls *tls = BIO_get_data(bio);
  BIO_clear_retry_flags(bio);
  if (aw_buf_append(&tls->records, bytes, len) != 0) {
    return 0;
  }
  *written = len;
  return 1;
}

static long link_control(BIO *bio, int command, long number, void *pointer) {
  (void)bio;
  (void)number;
  (void)pointer;
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static int attach_link(aw_tls *tls) {
  tls->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "agentwire");
  if (tls->method == NULL) {
    return AW_E_NOMEM;
  }
  BIO_meth_set_read_ex(tls->method, link_read);
  BIO_meth_set_write_ex(tls->method, link_write);
  BIO_meth_set_ctrl(tls->method, link_control);
  BIO *bio = BIO_new(tls->method);
  if (bio == NULL) {
    return AW_E_NOMEM;
  }
  BIO_set_data(bio, tls);
  BIO_set_init(bio, 1);
  SSL_set_bio(tls->ssl, bio, bio);
  return 0;
}

static bool is_address(const char *name) {
  unsigned char bytes[16];
  return uv_inet_pton(AF_INET, name, bytes) == 0 ||
         uv_inet_pton(AF_INET6, name, bytes) == 0;
}

static int expect_name(SSL *ssl, const char *name) {
  X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
  if (is_address(name)) {
    /* RFC 6066 section 3: no literal addresses in SNI. */
    return X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1 ? 0 : AW_E_NOMEM;
  }
  X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  bool ok = X509_VERIFY_PARAM_set1_host(param, name, 0) == 1 &&
            SSL_set_tlsext_host_name(ssl, name) == 1;
  return ok ? 0 : AW_E_NOMEM;
}

int aw_tls_new(aw_tls **out, const aw_mem *mem, SSL_CTX *context,
               const char *name) {
  aw_tls *tls = aw_mem_zero(mem, 1, sizeof *tls);
  if (tls == NULL) {
    return AW_E_NOMEM;
  }
  tls->mem = mem;
  tls->why = "TLS failed";
  aw_buf_init(&tls->records, mem);
  tls->ssl = SSL_new(context);
  if (tls->ssl == NULL || attach_link(tls) != 0) {
    goto fail;
  }
  if (name == NULL) {
    SSL_set_accept_state(tls->ssl);
  } else {
    SSL_set_connect_state(tls->ssl);
    if (expect_name(tls->ssl, name) != 0) {
      goto fail;
    }
  }
  *out = tls;
  return 0;
fail:
  ERR_clear_error();
  aw_tls_free(tls);
  return AW_E_NOMEM;
}

void aw_tls_free(aw_tls *tls) {
  if (tls == NULL) {
    return;
  }
  SSL_free(tls->ssl); /* and the BIO, which needs its method until then */
  BIO_meth_free(tls->method);
  aw_buf_fini(&tls->records);
  aw_mem_free(tls->mem, tls);
}

void aw_tls_feed(aw_tls *tls, const char *bytes, size_t len) {
  tls->in = bytes;
  tls->in_len = len;
}

size_t aw_tls_unread(const aw_tls *tls) {
  return tls->in_len;
}

aw_buf *aw_tls_records(aw_tls *tls) {
  return &tls->records;
}

static int judge_certificate(long verdict) {
  switch (verdict) {
  case X509_V_ERR_CERT_NOT_YET_VALID:
  case X509_V_ERR_CERT_HAS_EXPIRED:
    return AW_E_TLS_EXPIRED;
  case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
  case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
  case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
  case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
  case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
  case X509_V_ERR_CERT_UNTRUSTED:
    return AW_E_TLS_ISSUER;
  case X509_V_ERR_HOSTNAME_MISMATCH:
  case X509_V_ERR_IP_ADDRESS_MISMATCH:
    return AW_E_TLS_NAME;
  default:
    return AW_E_TLS;
  }
}

/* Reasons above the offset are alerts that the peer sent. */
static int judge_reason(unsigned long code) {
  int reason = ERR_GET_REASON(code);
  if (code == 0 || ERR_GET_LIB(code) != ERR_LIB_SSL) {
    return AW_E_TLS;
  }
  switch (reason) {
  case SSL_R_WRONG_VERSION_NUMBER: /* of a record, so that it is none */
  case SSL_R_HTTP_REQUEST:
  case SSL_R_HTTPS_PROXY_REQUEST:
    return AW_E_TLS_NONE;
  default:
    return reason >= SSL_AD_REASON_OFFSET ? AW_E_TLS_REFUSED : AW_E_TLS;
  }
}

static int explain(aw_tls *tls, int result) {
  int kind = SSL_get_error(tls->ssl, result);
  if (kind == SSL_ERROR_WANT_READ) {
    return AW_E_AGAIN;
  }
  if (kind == SSL_ERROR_ZERO_RETURN) {
    return AW_E_CLOSED;
  }
  long verdict = SSL_get_verify_result(tls->ssl);
  if (verdict != X509_V_OK && SSL_get_verify_mode(tls->ssl) != 0) {
    tls->why = X509_verify_cert_error_string(verdict);
    ERR_clear_error();
    return judge_certificate(verdict);
  }
  int error = judge_reason(ERR_peek_last_error());
  tls->why = last_reason("TLS failed");
  if (error == AW_E_TLS_NONE) {
    tls->why = "the peer does not speak TLS";
  }
  return error;
}

int aw_tls_handshake(aw_tls *tls) {
  ERR_clear_error();
  int result = SSL_do_handshake(tls->ssl);
  if (result == 1) {
    return 0;
  }
  int rc = explain(tls, result);
  if (rc == AW_E_CLOSED) {
    tls->why = "the peer ended the TLS handshake";
    return AW_E_TLS_REFUSED;
  }
  return rc;
}

int aw_tls_read(aw_tls *tls, char *out, size_t room, size_t *got) {
  ERR_clear_error();
  int result = SSL_read_ex(tls->ssl, out, room, got);
  if (result == 1) {
    return 0;
  }
  *got = 0;
  return explain(tls, result);
}

int aw_tls_write(aw_tls *tls, const char *bytes, size_t len) {
  size_t written = 0;
  ERR_clear_error();
  int result = SSL_write_ex(tls->ssl, bytes, len, &written);
  if (result == 1) {
    return 0;
  }
  return explain(tls, result);
}

void aw_tls_close(aw_tls *tls) {
  ERR_clear_error();
  (void)SSL_shutdown(tls->ssl);
  ERR_clear_error();
}

const char *aw_tls_why(const aw_tls *tls) {
  return tls->why;
}

const char *aw_tls_subject(aw_tls *tls) {
  X509 *peer = SSL_get0_peer_certificate(tls->ssl);
  if (peer == NULL || SSL_get_verify_mode(tls->ssl) == SSL_VERIFY_NONE) {
    return NULL;
  }
  BIO *text = BIO_new(BIO_s_mem());
  if (text == NULL) {
    return NULL;
  }
  X509_NAME_print_ex(text, X509_get_subject_name(peer), 0,
                     XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB);
  int len = BIO_read(text, tls->subject, sizeof tls->subject - 1);
  tls->subject[len > 0 ? len : 0] = '\0';
  BIO_free(text);
  return tls->subject;
}
