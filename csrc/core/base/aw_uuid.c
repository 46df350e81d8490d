#include "aw_uuid.h"

#include "aw_bytes.h"
#include "aw_error.h"
#include <string.h>

static uint64_t rotate(uint64_t x, int bits) {
  return x << bits | x >> (64 - bits);
}

void aw_random_seed(aw_random *random, const uint8_t seed[32]) {
  for (int i = 0; i < 4; i++) {
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

/* The text without its hyphens is two blocks of sixteen digits. */
#ifdef AW_BYTES_SSE2

/* Eight bytes, and whether each of the digits is one. */
static bool pack_block(uint64_t low, uint64_t high, uint8_t out[8]) {
  __m128i digits = _mm_set_epi64x((long long)high, (long long)low);
  __m128i lower = _mm_or_si128(digits, _mm_set1_epi8(0x20));
  __m128i decimal = _mm_sub_epi8(digits, _mm_set1_epi8('0'));
  __m128i letter = _mm_sub_epi8(lower, _mm_set1_epi8('a'));
  /* Unsigned comparisons: at most 9, at most 5. */
  __m128i is_decimal =
      _mm_cmpeq_epi8(_mm_min_epu8(decimal, _mm_set1_epi8(9)), decimal);
  __m128i is_letter =
      _mm_cmpeq_epi8(_mm_min_epu8(letter, _mm_set1_epi8(5)), letter);
  __m128i nibbles = _mm_or_si128(
      _mm_and_si128(is_decimal, decimal),
      _mm_and_si128(is_letter, _mm_add_epi8(letter, _mm_set1_epi8(10))));
  __m128i pairs =
      _mm_or_si128(_mm_slli_epi16(nibbles, 4), _mm_srli_epi16(nibbles, 8));
  pairs = _mm_and_si128(pairs, _mm_set1_epi16(0xFF));
  _mm_storel_epi64((__m128i *)(void *)out, _mm_packus_epi16(pairs, pairs));
  return _mm_movemask_epi8(_mm_or_si128(is_decimal, is_letter)) == 0xFFFF;
}

static void unpack_block(const uint8_t bytes[8], uint64_t out[2]) {
  __m128i block = _mm_loadl_epi64((const __m128i *)(const void *)bytes);
  __m128i high = _mm_and_si128(_mm_srli_epi16(block, 4), _mm_set1_epi8(15));
  __m128i low = _mm_and_si128(block, _mm_set1_epi8(15));
  __m128i nibbles = _mm_unpacklo_epi8(high, low);
  __m128i is_letter = _mm_cmpgt_epi8(nibbles, _mm_set1_epi8(9));
  nibbles = _mm_add_epi8(nibbles, _mm_set1_epi8('0'));
  is_letter = _mm_and_si128(is_letter, _mm_set1_epi8('a' - '0' - 10));
  _mm_storeu_si128((__m128i *)(void *)out, _mm_add_epi8(nibbles, is_letter));
}

#else

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
  pairs = (pairs | pairs << 16) & UINT64_C(0x0000FFFF0000FFFF);
  pairs = (pairs | pairs << 8) & UINT64_C(0x00FF00FF00FF00FF);
  uint64_t nibbles = (pairs >> 4 | pairs << 8) & AW_BYTES_EACH(0x0F);
  uint64_t letters = (nibbles + AW_BYTES_EACH(6)) >> 4 & AW_BYTES_EACH(1);
  return nibbles + AW_BYTES_EACH('0') + letters * ('a' - '0' - 10);
}

static bool pack_block(uint64_t low, uint64_t high, uint8_t out[8]) {
  aw_store_le32(out, pack_hex(low));
  aw_store_le32(out + 4, pack_hex(high));
  return (not_hex(low) | not_hex(high)) == 0;
}

static void unpack_block(const uint8_t bytes[8], uint64_t out[2]) {
  out[0] = unpack_hex(aw_load_le32(bytes));
  out[1] = unpack_hex(aw_load_le32(bytes + 4));
}

#endif

/* The four groups of eight digits that lie between the hyphens. */
static uint64_t load_pair(const char *first, const char *second) {
  return aw_load_le32(first) | (uint64_t)aw_load_le32(second) << 32;
}

int aw_uuid_parse(aw_uuid *out, const char *text, size_t len) {
  uint8_t bytes[16];
  if (len != AW_UUID_TEXT) {
    return AW_E_INVALID;
  }
  bool valid = ((text[8] ^ '-') | (text[13] ^ '-') | (text[18] ^ '-') |
                (text[23] ^ '-')) == 0;
  valid &=
      pack_block(aw_load_le64(text), load_pair(text + 9, text + 14), bytes);
  valid &= pack_block(load_pair(text + 19, text + 24), aw_load_le64(text + 28),
                      bytes + 8);
  if (!valid) {
    return AW_E_INVALID;
  }
  memcpy(out->bytes, bytes, sizeof bytes);
  return AW_OK;
}

void aw_uuid_format(const aw_uuid *id, char out[AW_UUID_TEXT]) {
  uint64_t first[2], last[2];
  unpack_block(id->bytes, first);
  unpack_block(id->bytes + 8, last);
  aw_store_le64(out, first[0]);
  out[8] = '-';
  aw_store_le32(out + 9, (uint32_t)first[1]);
  out[13] = '-';
  aw_store_le32(out + 14, (uint32_t)(first[1] >> 32));
  out[18] = '-';
  aw_store_le32(out + 19, (uint32_t)last[0]);
  out[23] = '-';
  aw_store_le32(out + 24, (uint32_t)(last[0] >> 32));
  aw_store_le64(out + 28, last[1]);
}

bool aw_uuid_equal(const aw_uuid *a, const aw_uuid *b) {
  return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

bool aw_uuid_is_nil(const aw_uuid *id) {
  return (aw_load_le64(id->bytes) | aw_load_le64(id->bytes + 8)) == 0;
}
