/* Inline helpers that look at many bytes at once; private to the core. SSE2
 * where the target has it, eight bytes in a register elsewhere or with
 * AW_NO_SIMD. */
#ifndef AW_BYTES_H
#define AW_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__) && !defined(AW_NO_SIMD)
#define AW_BYTES_SSE2 1
#include <emmintrin.h>
#endif

#define AW_BYTES_EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Loads and stores with the first byte lowest. */
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
static inline uint64_t aw_load_le64(const void *from) {
  uint64_t value;
  memcpy(&value, from, sizeof value);
  return value;
}

static inline uint32_t aw_load_le32(const void *from) {
  uint32_t value;
  memcpy(&value, from, sizeof value);
  return value;
}

static inline void aw_store_le32(void *to, uint32_t value) {
  memcpy(to, &value, sizeof value);
}

static inline void aw_store_le64(void *to, uint64_t value) {
  memcpy(to, &value, sizeof value);
}
#else
static inline uint32_t aw_load_le32(const void *from) {
  const unsigned char *p = from;
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
         (uint32_t)p[3] << 24;
}

static inline uint64_t aw_load_le64(const void *from) {
  return aw_load_le32(from) | (uint64_t)aw_load_le32((const char *)from + 4)
                                  << 32;
}

static inline void aw_store_le32(void *to, uint32_t value) {
  unsigned char *p = to;
  p[0] = (unsigned char)value;
  p[1] = (unsigned char)(value >> 8);
  p[2] = (unsigned char)(value >> 16);
  p[3] = (unsigned char)(value >> 24);
}

static inline void aw_store_le64(void *to, uint64_t value) {
  aw_store_le32(to, (uint32_t)value);
  aw_store_le32((char *)to + 4, (uint32_t)(value >> 32));
}
#endif

static inline unsigned aw_lowest_bit(uint64_t mask) {
#if defined(__GNUC__)
  return (unsigned)__builtin_ctzll(mask);
#else
  unsigned bit = 0;
  while ((mask >> bit & 1) == 0) {
    bit++;
  }
  return bit;
#endif
}

/* A hex digit's value, -1 when it is none. */
static inline int aw_hex_value(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  c = (char)(c | 0x20);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The digit of the value's low four bits, in lower case. */
static inline char aw_hex_digit(unsigned value) {
  return "0123456789abcdef"[value & 15];
}

/* One block: a mask whose lowest set bit names the first byte that is special.
 * AW_BLOCK bytes, AW_BLOCK_BITS mask bits for each. */
#ifdef AW_BYTES_SSE2
#define AW_BLOCK 16
#define AW_BLOCK_BITS 1

static inline uint64_t aw_block_not_ascii(const char *p) {
  return (unsigned)_mm_movemask_epi8(_mm_loadu_si128((const __m128i *)p));
}

static inline uint64_t aw_block_special(const char *p) {
  __m128i block = _mm_loadu_si128((const __m128i *)p);
  __m128i quote = _mm_cmpeq_epi8(block, _mm_set1_epi8('"'));
  __m128i slash = _mm_cmpeq_epi8(block, _mm_set1_epi8('\\'));
  /* Signed: bytes from 0x80 on are negative, so they come along. */
  __m128i low = _mm_cmplt_epi8(block, _mm_set1_epi8(0x20));
  low = _mm_or_si128(low, _mm_or_si128(quote, slash));
  return (unsigned)_mm_movemask_epi8(low);
}
#else
#define AW_BLOCK 8
#define AW_BLOCK_BITS 8

static inline uint64_t aw_block_not_ascii(const char *p) {
  return aw_load_le64(p) & AW_BYTES_EACH(0x80);
}

/* Borrows of the subtractions spoil only bytes above a true hit. */
static inline uint64_t aw_block_special(const char *p) {
  uint64_t block = aw_load_le64(p);
  uint64_t quote = block ^ AW_BYTES_EACH('"');
  uint64_t slash = block ^ AW_BYTES_EACH('\\');
  uint64_t hits = (quote - AW_BYTES_EACH(1)) & ~quote;
  hits |= (slash - AW_BYTES_EACH(1)) & ~slash;
  hits |= (block - AW_BYTES_EACH(0x20)) & ~block;
  return (hits | block) & AW_BYTES_EACH(0x80);
}
#endif

/* The first byte in [p, end) that cannot stand for itself in a JSON string or
 * is not ASCII; end when there is none. Bytes from `begin` <= p on may be
 * read: a short tail is taken from a block that ends at `end`. */
static inline const char *
aw_bytes_find_special(const char *begin, const char *p, const char *end) {
  while (end - p >= AW_BLOCK) {
    uint64_t mask = aw_block_special(p);
    if (mask != 0) {
      return p + aw_lowest_bit(mask) / AW_BLOCK_BITS;
    }
    p += AW_BLOCK;
  }
  if (p < end && end - begin >= AW_BLOCK) {
    unsigned seen = (unsigned)(AW_BLOCK - (end - p));
    uint64_t mask = aw_block_special(end - AW_BLOCK) >> seen * AW_BLOCK_BITS;
    /* A hit that was shifted out may have marked the byte above it wrongly
     * (borrows); the loop below walks on from such a byte. */
    p = mask == 0 ? end : p + aw_lowest_bit(mask) / AW_BLOCK_BITS;
  }
  while (p < end && (unsigned char)(*p - 0x20) < 0x60 && *p != '"' &&
         *p != '\\') {
    p++;
  }
  return p;
}

/* The first byte in [p, end) that is not ASCII, or end. */
static inline const char *aw_bytes_find_not_ascii(const char *p,
                                                  const char *end) {
  while (end - p >= AW_BLOCK) {
    uint64_t mask = aw_block_not_ascii(p);
    if (mask != 0) {
      return p + aw_lowest_bit(mask) / AW_BLOCK_BITS;
    }
    p += AW_BLOCK;
  }
  while (p < end && (unsigned char)*p < 0x80) {
    p++;
  }
  return p;
}

/* The UTF-8 sequence at p (RFC 3629 section 4): its length, 0 when it is
 * invalid, -1 when the text ends inside a sequence that is valid so far. */
static inline int aw_utf8_step(const char *text, const char *end) {
  const unsigned char *p = (const unsigned char *)text;
  unsigned lead = p[0], low = 0x80, high = 0xBF;
  if (lead < 0x80) {
    return 1;
  }
  if (lead < 0xC2 || lead > 0xF4) {
    return 0;
  }
  int len = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (lead == 0xE0 || lead == 0xF0) { /* overlong */
    low = lead == 0xE0 ? 0xA0 : 0x90;
  } else if (lead == 0xED || lead == 0xF4) { /* surrogate, above U+10FFFF */
    high = lead == 0xED ? 0x9F : 0x8F;
  }
  for (int i = 1; i < len; i++) {
    if (text + i == end) {
      return -1;
    }
    if (p[i] < low || p[i] > high) {
      return 0;
    }
    low = 0x80;
    high = 0xBF;
  }
  return len;
}

#endif
