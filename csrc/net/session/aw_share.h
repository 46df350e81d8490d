/* How many sessions each peer of a server has. A peer is its identity where it
 * has one, else the address it comes from (IPv6: its /64, which is what one
 * subscriber has). */
#ifndef AW_SHARE_H
#define AW_SHARE_H

#include "aw_map.h"
#include "aw_transport.h"

#pragma GCC visibility push(hidden)

typedef struct aw_share aw_share;

struct aw_share {
  aw_uuid peer; /* a digest of who it is */
  unsigned count;
};

/* Who is at the other end. */
void aw_share_peer(const aw_transport *transport, aw_uuid *out);

/* One more, one less of this peer. NULL when out of memory; the share is freed
 * with its last session. */
aw_share *aw_share_take(aw_map *shares, const aw_uuid *peer);
void aw_share_leave(aw_map *shares, aw_share *share);

unsigned aw_share_count(aw_map *shares, const aw_uuid *peer);

#pragma GCC visibility pop

#endif
