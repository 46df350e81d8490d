#include "tls_files.h"
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define DAY 86400L

typedef struct identity identity;

struct identity {
  X509 *cert;
  EVP_PKEY *key;
};

static void add_extension(X509 *cert, int nid, const char *value) {
  X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

  assert_non_null(extension);
  assert_int_equal(X509_add_ext(cert, extension, -1), 1);
  X509_EXTENSION_free(extension);
}

static void set_name(X509_NAME *name, const char *text) {
  assert_int_equal(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                              (const unsigned char *)text, -1,
                                              -1, 0),
                   1);
}

/* issuer NULL: self-signed, an authority. */
static identity issue(const identity *issuer, const char *name,
                      const char *alt_names, long serial, long until) {
  identity made = {X509_new(), EVP_EC_gen("P-256")};
  bool is_ca = issuer == NULL;

  issuer = is_ca ? &made : issuer;
  X509_set_version(made.cert, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(made.cert), serial);
  X509_gmtime_adj(X509_getm_notBefore(made.cert), -30 * DAY);
  X509_gmtime_adj(X509_getm_notAfter(made.cert), until);
  X509_set_pubkey(made.cert, made.key);
  set_name(X509_get_subject_name(made.cert), name);
  X509_set_issuer_name(made.cert, X509_get_subject_name(issuer->cert));
  add_extension(made.cert, NID_basic_constraints,
                is_ca ? "critical,CA:TRUE" : "CA:FALSE");
  if (alt_names != NULL) {
    add_extension(made.cert, NID_subject_alt_name, alt_names);
  }
  assert_true(X509_sign(made.cert, issuer->key, EVP_sha256()) > 0);
  return made;
}

static void forget(identity *id) {
  X509_free(id->cert);
  EVP_PKEY_free(id->key);
}

static void save(const identity *id, bool with_key, const char *folder,
                 const char *name, char path[96]) {
  snprintf(path, 96, "%s/%s.pem", folder, name);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  assert_int_equal(PEM_write_X509(file, id->cert), 1);
  if (with_key) {
    assert_int_equal(
        PEM_write_PrivateKey(file, id->key, NULL, NULL, 0, NULL, NULL), 1);
  }
  fclose(file);
}

static void issue_to(tls_files *files, const identity *ca, const char *name,
                     const char *alt_names, long until, char path[96]) {
  static long serial = 2;
  identity id = issue(ca, name, alt_names, serial++, until);

  save(&id, true, files->folder, name, path);
  forget(&id);
}

void tls_files_make(tls_files *files) {
  const char *here = "DNS:localhost,IP:127.0.0.1";
  identity ca = issue(NULL, "test authority", NULL, 1, 30 * DAY);
  identity stranger = issue(NULL, "another authority", NULL, 1, 30 * DAY);

  snprintf(files->folder, sizeof files->folder, "/tmp/aw-tls-XXXXXX");
  assert_non_null(mkdtemp(files->folder));
  save(&ca, false, files->folder, "ca", files->ca);
  save(&stranger, false, files->folder, "stranger", files->stranger_ca);
  issue_to(files, &ca, "server", here, 30 * DAY, files->server);
  issue_to(files, &ca, "server-two", here, 30 * DAY, files->server_two);
  issue_to(files, &ca, "expired", here, -DAY, files->expired);
  issue_to(files, &ca, "elsewhere", "DNS:example.com", 30 * DAY,
           files->elsewhere);
  issue_to(files, &ca, "robot", NULL, 30 * DAY, files->client);
  forget(&ca);
  forget(&stranger);
}

void tls_files_remove(tls_files *files) {
  const char *paths[] = {files->ca,         files->server,    files->server_two,
                         files->expired,    files->elsewhere, files->client,
                         files->stranger_ca};

  for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
    unlink(paths[i]);
  }
  rmdir(files->folder);
}
