#include "aw_error.h"
#include "aw_websocket.h"

/* No exchange is ever made: for the linker alone. */

aw_source *aw_exchange_source(aw_exchange *exchange) {
  (void)exchange;
  return NULL;
}

const char *aw_exchange_method(const aw_exchange *exchange, size_t *len) {
  (void)exchange;
  (void)len;
  return NULL;
}

const char *aw_exchange_target(const aw_exchange *exchange) {
  (void)exchange;
  return NULL;
}

int aw_exchange_minor(const aw_exchange *exchange) {
  (void)exchange;
  return AW_E_CLOSED;
}

const char *aw_exchange_peer(const aw_exchange *exchange) {
  (void)exchange;
  return NULL;
}

const char *aw_exchange_tls_subject(const aw_exchange *exchange) {
  (void)exchange;
  return NULL;
}

const char *aw_exchange_header(const aw_exchange *exchange, const char *name,
                               size_t *len) {
  (void)exchange;
  (void)name;
  (void)len;
  return NULL;
}

bool aw_exchange_headers(const aw_exchange *exchange, unsigned index,
                         struct aw_upgrade_field *field) {
  (void)exchange;
  (void)index;
  (void)field;
  return false;
}

uint64_t aw_exchange_length(const aw_exchange *exchange) {
  (void)exchange;
  return 0;
}

int aw_exchange_peek(aw_exchange *exchange, const char **bytes, size_t *len) {
  (void)exchange;
  (void)bytes;
  (void)len;
  return AW_E_CLOSED;
}

void aw_exchange_consume(aw_exchange *exchange, size_t len) {
  (void)exchange;
  (void)len;
}

int aw_exchange_respond(aw_exchange *exchange, int status, const char *headers,
                        uint64_t length) {
  (void)exchange;
  (void)status;
  (void)headers;
  (void)length;
  return AW_E_CLOSED;
}

int aw_exchange_write(aw_exchange *exchange, const char *bytes, size_t len) {
  (void)exchange;
  (void)bytes;
  (void)len;
  return AW_E_CLOSED;
}

size_t aw_exchange_room(const aw_exchange *exchange) {
  (void)exchange;
  return 0;
}

int aw_exchange_finish(aw_exchange *exchange) {
  (void)exchange;
  return AW_E_CLOSED;
}

const aw_exchange_end *aw_exchange_end_of(const aw_exchange *exchange) {
  (void)exchange;
  return NULL;
}

void aw_exchange_free(aw_exchange *exchange) {
  (void)exchange;
}
