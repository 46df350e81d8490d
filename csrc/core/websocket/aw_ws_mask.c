#include "aw_ws_mask.h"
#include <string.h>

static bool mask_words(char *to, const char *from, size_t len,
                       const uint8_t mask[4]) {
  uint64_t key, word, seen = 0;
  size_t i = 0;
  memcpy(&key, mask, 4);
  memcpy((char *)&key + 4, mask, 4);
  for (; len - i >= sizeof word; i += sizeof word) {
    memcpy(&word, from + i, sizeof word);
    word ^= key;
    seen |= word;
    memcpy(to + i, &word, sizeof word);
  }
  for (; i < len; i++) {
    uint8_t byte = (uint8_t)((uint8_t)from[i] ^ mask[i & 3]);
    seen |= byte;
    to[i] = (char)byte;
  }
  return (seen & 0x8080808080808080u) == 0;
}

#if defined(__SSE2__) && !defined(AW_NO_SIMD)
#include <emmintrin.h>

static __m128i load(const char *bytes) {
  return _mm_loadu_si128((const __m128i *)bytes);
}

static __m128i load_key(const uint8_t mask[4], size_t phase) {
  uint8_t twice[8];
  int key;
  memcpy(twice, mask, 4);
  memcpy(twice + 4, mask, 4);
  memcpy(&key, twice + phase, sizeof key);
  return _mm_set1_epi32(key);
}

/* The last 16 bytes are taken before the loop overwrites some of them and
 * written after it: no tail of single bytes. */
static bool mask_blocks(char *to, const char *from, size_t len,
                        const uint8_t mask[4]) {
  __m128i key = load_key(mask, 0);
  __m128i last = _mm_xor_si128(load(from + len - 16), load_key(mask, len & 3));
  __m128i seen = last;
  for (size_t i = 0; i < len - 16; i += 16) {
    __m128i block = _mm_xor_si128(load(from + i), key);
    seen = _mm_or_si128(seen, block);
    _mm_storeu_si128((__m128i *)(to + i), block);
  }
  _mm_storeu_si128((__m128i *)(to + len - 16), last);
  return _mm_movemask_epi8(seen) == 0;
}

bool aw_ws_mask(char *to, const char *from, size_t len, const uint8_t mask[4]) {
  if (len < 16) {
    return mask_words(to, from, len, mask);
  }
  return mask_blocks(to, from, len, mask);
}

#else

bool aw_ws_mask(char *to, const char *from, size_t len, const uint8_t mask[4]) {
  return mask_words(to, from, len, mask);
}

#endif
