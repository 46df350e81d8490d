/* IP addresses as values: read whole, compared as numbers, never as text. An
 * IPv4 address is kept as its IPv4-mapped IPv6 form (RFC 4291 section 2.5.5.2),
 * so that the two forms are one address. */
#ifndef AW_ADDRESS_H
#define AW_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

typedef struct aw_address aw_address;
typedef struct aw_network aw_network;

struct aw_address {
  uint8_t bytes[16]; /* network order */
};

/* All addresses that begin as `address` does, for so many bits of 128. */
struct aw_network {
  aw_address address;
  unsigned bits;
};

/* "127.0.0.1" or "::1", all of the text: four decimal numbers without leading
 * zeros, or RFC 4291 without brackets and zone. AW_E_INVALID for anything else,
 * the octal, hexadecimal and short forms of inet_aton included. */
int aw_address_parse(aw_address *out, const char *text, size_t len);

/* 127.0.0.0/8 (RFC 1122 section 3.2.1.3) in both forms, and ::1. */
bool aw_address_is_loopback(const aw_address *address);

/* "10.0.0.0/8", "fd00::/8", or one address. AW_E_INVALID for anything else,
 * bits beyond the prefix that are not 0 included. */
int aw_network_parse(aw_network *out, const char *text, size_t len);
bool aw_network_holds(const aw_network *network, const aw_address *address);

/* Is this host, a name or an address without brackets, this machine for
 * certain? Loopback addresses, "localhost" and whatever ends in ".localhost"
 * (RFC 6761 section 6.3), in any case, with or without the root's dot. */
bool aw_address_host_is_loopback(const char *host, size_t len);

#pragma GCC visibility pop

#endif
