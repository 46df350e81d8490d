#include "aw_uuid.h"

#include "aw_bytes.h"
#include "aw_error.h"
#include <string.h>

static uint64_t rotate(uint64_t x, int bits) {
  return x << bits | x >> (64 - bits);
}

void aw_random_seed(aw_random *random, const uint8_t seed[32]) {
  int i;

  for (i = 0; i < 4; i++) {
    random->state[i] = aw_load_le64(seed + 8 * i);
  }
  /* From an all-zero state the generator gives nothing but zeros. */
  if ((random->state[0] | random->state[1] | random->state[2] |
       random->state[3]) == 0) {
    random->state[0] = UINT64_C(0x9E3779B97F4A7C15);
    random->state[1] = UINT64_C(0xD1B54A32D192ED03);
  }
}

uint64_t aw_random_next(aw_random *random) {
  uint64_t *s = random->state;
  uint64_t result = rotate(s[1] * 5, 7) * 9;
  uint64_t shifted = s[1] << 17;

  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= shifted;
  s[3] = rotate(s[3], 45);
  return result;
}

void aw_uuid_make(aw_uuid *out, aw_random *random) {
  aw_store_le64(out->bytes, aw_random_next(random));
  aw_store_le64(out->bytes + 8, aw_random_next(random));
  out->bytes[6] = (uint8_t)((out->bytes[6] & 0x0F) | 0x40); /* version 4 */
  out->bytes[8] = (uint8_t)((out->bytes[8] & 0x3F) | 0x80); /* RFC variant */
}

/* The top bit of each byte tells whether it is no hex digit. */
static uint64_t not_hex(uint64_t digits) {
  uint64_t low = digits & AW_BYTES_EACH(0x7F);
  uint64_t lower = low | AW_BYTES_EACH(0x20);
  uint64_t decimal = (low + AW_BYTES_EACH(0x80 - '0')) &
                     ~(low + AW_BYTES_EACH(0x80 - ('9' + 1)));
  uint64_t letter = (lower + AW_BYTES_EACH(0x80 - 'a')) &
                    ~(lower + AW_BYTES_EACH(0x80 - ('f' + 1)));

  return (digits | ~(decimal | letter)) & AW_BYTES_EACH(0x80);
}

/* Eight hex digits, the first in the lowest byte, to four bytes likewise. */
static uint32_t pack_hex(uint64_t digits) {
  uint64_t nibbles =
      (digits & AW_BYTES_EACH(0x0F)) + (digits >> 6 & AW_BYTES_EACH(0x01)) * 9;
  uint64_t pairs = (nibbles << 4 | nibbles >> 8) & UINT64_C(0x00FF00FF00FF00FF);

  pairs = (pairs | pairs >> 8) & UINT64_C(0x0000FFFF0000FFFF);
  return (uint32_t)(pairs | pairs >> 16);
}

static uint64_t unpack_hex(uint32_t bytes) {
  uint64_t pairs = bytes;
  uint64_t nibbles, letters;

  pairs = (pairs | pairs << 16) & UINT64_C(0x0000FFFF0000FFFF);
  pairs = (pairs | pairs << 8) & UINT64_C(0x00FF00FF00FF00FF);
  nibbles = (pairs >> 4 | pairs << 8) & AW_BYTES_EACH(0x0F);
  letters = (nibbles + AW_BYTES_EACH(6)) >> 4 & AW_BYTES_EACH(1);
  return nibbles + AW_BYTES_EACH('0') + letters * ('a' - '0' - 10);
}

/* The four groups of eight digits that lie between the hyphens. */
static uint64_t load_pair(const char *first, const char *second) {
  return aw_load_le32(first) | (uint64_t)aw_load_le32(second) << 32;
}

int aw_uuid_parse(aw_uuid *out, const char *text, size_t len) {
  uint64_t a, b, c, d;

  if (len != AW_UUID_TEXT) {
    return AW_E_INVALID;
  }
  a = aw_load_le64(text);
  b = load_pair(text + 9, text + 14);
  c = load_pair(text + 19, text + 24);
  d = aw_load_le64(text + 28);
  if (((text[8] ^ '-') | (text[13] ^ '-') | (text[18] ^ '-') |
       (text[23] ^ '-')) != 0 ||
      (not_hex(a) | not_hex(b) | not_hex(c) | not_hex(d)) != 0) {
    return AW_E_INVALID;
  }
  aw_store_le32(out->bytes, pack_hex(a));
  aw_store_le32(out->bytes + 4, pack_hex(b));
  aw_store_le32(out->bytes + 8, pack_hex(c));
  aw_store_le32(out->bytes + 12, pack_hex(d));
  return 0;
}

void aw_uuid_format(const aw_uuid *id, char out[AW_UUID_TEXT]) {
  uint64_t b = unpack_hex(aw_load_le32(id->bytes + 4));
  uint64_t c = unpack_hex(aw_load_le32(id->bytes + 8));

  aw_store_le64(out, unpack_hex(aw_load_le32(id->bytes)));
  out[8] = '-';
  aw_store_le32(out + 9, (uint32_t)b);
  out[13] = '-';
  aw_store_le32(out + 14, (uint32_t)(b >> 32));
  out[18] = '-';
  aw_store_le32(out + 19, (uint32_t)c);
  out[23] = '-';
  aw_store_le32(out + 24, (uint32_t)(c >> 32));
  aw_store_le64(out + 28, unpack_hex(aw_load_le32(id->bytes + 12)));
}

bool aw_uuid_equal(const aw_uuid *a, const aw_uuid *b) {
  return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

bool aw_uuid_is_nil(const aw_uuid *id) {
  return (aw_load_le64(id->bytes) | aw_load_le64(id->bytes + 8)) == 0;
}
