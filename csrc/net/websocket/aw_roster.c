#include "aw_roster.h"
#include <string.h>

/* Ten thousand connections give chains of forty; peers hardly choose their
 * addresses, so that no seed is needed. */
#define BUCKETS 256

struct aw_roster {
  const aw_mem *mem;
  unsigned refs, count;
  aw_queue buckets[BUCKETS];
};

aw_roster *aw_roster_new(const aw_mem *mem) {
  aw_roster *roster = aw_mem_zero(mem, 1, sizeof *roster);
  if (roster == NULL) {
    return NULL;
  }
  roster->mem = mem;
  roster->refs = 1;
  for (unsigned i = 0; i < BUCKETS; i++) {
    aw_queue_init(&roster->buckets[i]);
  }
  return roster;
}

void aw_roster_drop(aw_roster *roster) {
  if (--roster->refs == 0) {
    aw_mem_free(roster->mem, roster);
  }
}

static uint64_t address_of(const struct sockaddr *peer) {
  static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
  uint64_t prefix = 0;
  uint32_t v4 = 0;
  if (peer->sa_family == AF_INET) {
    v4 = ((const struct sockaddr_in *)peer)->sin_addr.s_addr;
  } else if (peer->sa_family == AF_INET6) {
    const unsigned char *bytes =
        ((const struct sockaddr_in6 *)peer)->sin6_addr.s6_addr;
    if (memcmp(bytes, mapped, sizeof mapped) != 0) {
      memcpy(&prefix, bytes, sizeof prefix);
      return prefix;
    }
    memcpy(&v4, bytes + sizeof mapped, sizeof v4);
  }
  return v4;
}

static unsigned bucket_of(uint64_t address) {
  return (unsigned)((address * 0x9e3779b97f4a7c15u) >> 56);
}

unsigned aw_roster_count(const aw_roster *roster) {
  return roster->count;
}

unsigned aw_roster_count_from(const aw_roster *roster,
                              const struct sockaddr *peer) {
  uint64_t address = address_of(peer);
  const aw_queue *bucket = &roster->buckets[bucket_of(address)];
  unsigned count = 0;
  for (aw_node *node = aw_queue_first(bucket); node != NULL;
       node = aw_queue_next(bucket, node)) {
    count += AW_CONTAINER(node, aw_seat, node)->address == address;
  }
  return count;
}

void aw_seat_take(aw_seat *seat, aw_roster *roster,
                  const struct sockaddr *peer) {
  seat->roster = roster;
  seat->address = address_of(peer);
  aw_queue_push(&roster->buckets[bucket_of(seat->address)], &seat->node);
  roster->refs++;
  roster->count++;
}

void aw_seat_move(aw_seat *seat, const struct sockaddr *peer) {
  aw_roster *roster = seat->roster;
  aw_node_remove(&seat->node);
  seat->address = address_of(peer);
  aw_queue_push(&roster->buckets[bucket_of(seat->address)], &seat->node);
}

void aw_seat_pass(aw_seat *seat, aw_seat *to) {
  aw_roster *roster = seat->roster;
  if (roster == NULL) {
    return;
  }
  aw_node_remove(&seat->node);
  seat->roster = NULL;
  to->roster = roster;
  to->address = seat->address;
  aw_queue_push(&roster->buckets[bucket_of(to->address)], &to->node);
}

void aw_seat_leave(aw_seat *seat) {
  aw_roster *roster = seat->roster;
  if (roster == NULL) {
    return;
  }
  seat->roster = NULL;
  aw_node_remove(&seat->node);
  roster->count--;
  aw_roster_drop(roster);
}
