#include "aw_sha1.h"

#include <stdint.h>
#include <string.h>

#define BLOCK 64

static uint32_t rotate(uint32_t word, unsigned bits) {
  return word << bits | word >> (32 - bits);
}

/* Section 4.1.1 and 4.2.1: the function and the constant of one round. */
static uint32_t mix(unsigned round, const uint32_t v[5]) {
  uint32_t b = v[1], c = v[2], d = v[3];
  switch (round / 20) {
  case 0:
    return ((b & c) ^ (~b & d)) + 0x5A827999u;
  case 1:
    return (b ^ c ^ d) + 0x6ED9EBA1u;
  case 2:
    return ((b & c) ^ (b & d) ^ (c & d)) + 0x8F1BBCDCu;
  default:
    return (b ^ c ^ d) + 0xCA62C1D6u;
  }
}

/* Section 6.1.2. */
static void add_block(uint32_t hash[5], const unsigned char *block) {
  uint32_t words[80], v[5];
  for (unsigned i = 0; i < 16; i++) {
    const unsigned char *p = block + 4 * i;
    words[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
               (uint32_t)p[2] << 8 | (uint32_t)p[3];
  }
  for (unsigned i = 16; i < 80; i++) {
    words[i] =
        rotate(words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16], 1);
  }
  memcpy(v, hash, sizeof v);
  for (unsigned i = 0; i < 80; i++) {
    uint32_t next = rotate(v[0], 5) + mix(i, v) + v[4] + words[i];
    v[4] = v[3];
    v[3] = v[2];
    v[2] = rotate(v[1], 30);
    v[1] = v[0];
    v[0] = next;
  }
  for (unsigned i = 0; i < 5; i++) {
    hash[i] += v[i];
  }
}

/* Section 5.1.1: a one bit, zeros, the length in bits. */
static void add_last(uint32_t hash[5], const unsigned char *rest, size_t left,
                     uint64_t len) {
  unsigned char block[2 * BLOCK] = {0};
  size_t size = left < BLOCK - 8 ? BLOCK : 2 * BLOCK;
  memcpy(block, rest, left);
  block[left] = 0x80;
  for (unsigned i = 0; i < 8; i++) {
    block[size - 1 - i] = (unsigned char)(len * 8 >> 8 * i);
  }
  for (size_t at = 0; at < size; at += BLOCK) {
    add_block(hash, block + at);
  }
}

void aw_sha1(const void *bytes, size_t len,
             unsigned char digest[AW_SHA1_SIZE]) {
  uint32_t hash[5] = {0x67452301u, 0xEFCDAB89u, 0x98BADCFEu, 0x10325476u,
                      0xC3D2E1F0u};
  const unsigned char *at = bytes;
  size_t left = len;
  for (; left >= BLOCK; left -= BLOCK) {
    add_block(hash, at);
    at += BLOCK;
  }
  add_last(hash, at, left, len);
  for (unsigned i = 0; i < AW_SHA1_SIZE; i++) {
    digest[i] = (unsigned char)(hash[i / 4] >> (24 - 8 * (i % 4)));
  }
}

void aw_base64(const unsigned char *bytes, size_t len, char *out) {
  static const char alphabet[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < len; i += 3) {
    size_t left = len - i;
    uint32_t bits = (uint32_t)bytes[i] << 16;
    bits |= left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0;
    bits |= left > 2 ? (uint32_t)bytes[i + 2] : 0;
    *out++ = alphabet[bits >> 18];
    *out++ = alphabet[bits >> 12 & 63];
    *out++ = left > 1 ? alphabet[bits >> 6 & 63] : '=';
    *out++ = left > 2 ? alphabet[bits & 63] : '=';
  }
}
