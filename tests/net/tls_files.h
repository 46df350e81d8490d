/* Certificates for tests, made afresh in a temporary folder: keys in a
 * repository would expire, or worse, be trusted by someone. */
#ifndef TLS_FILES_H
#define TLS_FILES_H

typedef struct tls_files tls_files;

struct tls_files {
  char folder[64];
  char ca[96];         /* the authority of all below */
  char server[96];     /* for localhost and 127.0.0.1; key in the same file */
  char server_two[96]; /* the same, another serial and subject */
  char expired[96];
  char elsewhere[96]; /* for example.com only */
  char client[96];    /* subject CN=robot */
  char stranger_ca[96];
};

/* Fails the running test on any error. */
void tls_files_make(tls_files *files);
void tls_files_remove(tls_files *files);

#endif
