#include "aw_share.h"
#include "aw_envelope.h"
#include "aw_error.h"
#include <openssl/sha.h>
#include <string.h>

#define ADDRESS_MAX 64

/* Without the port; of an IPv6 address the first eight bytes. */
static size_t address_of(const char *peer, char out[ADDRESS_MAX]) {
  const char *end = strrchr(peer, ':');
  size_t len = end != NULL ? (size_t)(end - peer) : strlen(peer);
  struct in6_addr v6;
  if (peer[0] == '[' && len > 2 && peer[len - 1] == ']') {
    peer++;
    len -= 2;
  }
  len = len < ADDRESS_MAX ? len : ADDRESS_MAX - 1;
  memcpy(out, peer, len);
  out[len] = '\0';
  if (uv_inet_pton(AF_INET6, out, &v6) == 0 && !IN6_IS_ADDR_V4MAPPED(&v6)) {
    len = 8;
    memcpy(out, &v6, len);
  }
  return len;
}

void aw_share_peer(const aw_transport *transport, aw_uuid *out) {
  const char *id = aw_identity_id(transport->identity);
  uint8_t hash[SHA256_DIGEST_LENGTH];
  char address[ADDRESS_MAX] = "";
  if (id != NULL) {
    SHA256((const uint8_t *)id, strlen(id), hash);
  } else {
    size_t len = transport->info.peer != NULL
                     ? address_of(transport->info.peer, address)
                     : 0;
    SHA256((const uint8_t *)address, len, hash);
  }
  memcpy(out, hash, sizeof *out);
}

aw_share *aw_share_take(aw_map *shares, const aw_uuid *peer) {
  aw_share *share = aw_map_get(shares, AW_KIND_LINK, peer);
  if (share == NULL) {
    share = aw_mem_zero(shares->mem, 1, sizeof *share);
    if (share == NULL) {
      return NULL;
    }
    share->peer = *peer;
    if (aw_map_put(shares, AW_KIND_LINK, peer, share) != AW_OK) {
      aw_mem_free(shares->mem, share);
      return NULL;
    }
  }
  share->count++;
  return share;
}

void aw_share_leave(aw_map *shares, aw_share *share) {
  if (share != NULL && --share->count == 0) {
    aw_map_remove(shares, AW_KIND_LINK, &share->peer);
    aw_mem_free(shares->mem, share);
  }
}

unsigned aw_share_count(aw_map *shares, const aw_uuid *peer) {
  const aw_share *share = aw_map_get(shares, AW_KIND_LINK, peer);
  return share != NULL ? share->count : 0;
}
