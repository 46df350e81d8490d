#include "aw_error.h"
#include "aw_websocket.h"

/* No request is ever parked, so that there is nothing these could be given. */

int aw_upgrade_accept(aw_upgrade *upgrade, aw_identity *identity) {
  (void)upgrade;
  (void)identity;
  return AW_E_CLOSED;
}

int aw_upgrade_refuse(aw_upgrade *upgrade, int status, const char *why) {
  (void)upgrade;
  (void)status;
  (void)why;
  return AW_E_CLOSED;
}

void aw_upgrade_free(aw_upgrade *upgrade) {
  (void)upgrade;
}

bool aw_upgrade_waits(const aw_upgrade *upgrade) {
  (void)upgrade;
  return false;
}

void aw_upgrade_set_user(aw_upgrade *upgrade, void *user) {
  (void)upgrade;
  (void)user;
}

void *aw_upgrade_user(const aw_upgrade *upgrade) {
  (void)upgrade;
  return NULL;
}

const char *aw_upgrade_peer(const aw_upgrade *upgrade) {
  (void)upgrade;
  return NULL;
}

const char *aw_upgrade_target(const aw_upgrade *upgrade) {
  (void)upgrade;
  return NULL;
}

const char *aw_upgrade_tls_subject(const aw_upgrade *upgrade) {
  (void)upgrade;
  return NULL;
}

const char *aw_upgrade_header(const aw_upgrade *upgrade, const char *name,
                              size_t *len) {
  (void)upgrade;
  (void)name;
  *len = 0;
  return NULL;
}

bool aw_upgrade_headers(const aw_upgrade *upgrade, unsigned index,
                        aw_upgrade_field *field) {
  (void)upgrade;
  (void)index;
  (void)field;
  return false;
}
