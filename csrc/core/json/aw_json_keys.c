#include "aw_json_keys.h"
#include "aw_json_impl.h"

#include "aw_error.h"

/* Up to this many keys without escapes are compared pair by pair. */
#define FEW_KEYS 32

static int compare_bytes(const char *a, size_t a_len, const char *b,
                         size_t b_len) {
  int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
  return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

/* Byte order of two strings' values. */
static int compare_strings(const aw_json_token *a, const aw_json_token *b,
                           const char *text) {
  aw_json_walk wa, wb;
  int ca, cb;
  if (!a->escaped && !b->escaped) {
    return compare_bytes(text + a->start, a->len, text + b->start, b->len);
  }
  aw_json_walk_init(&wa, a, text);
  aw_json_walk_init(&wb, b, text);
  do {
    ca = aw_json_walk_next(&wa);
    cb = aw_json_walk_next(&wb);
  } while (ca == cb && ca >= 0);
  return ca - cb;
}

typedef struct entry entry;

/* A key to be sorted, kept in the unused end of the tape. */
struct entry {
  uint64_t hash; /* of the unescaped bytes */
  uint32_t token;
};

_Static_assert(sizeof(entry) <= sizeof(aw_json_token), "");

typedef struct key_sort key_sort;

struct key_sort {
  entry *entries;
  const aw_json_token *tokens;
  const char *text;
};

/* FNV-1a. Keys made to collide only cost more comparisons: the sort stays
 * n log n. */
static uint64_t hash_string(const aw_json_token *token, const char *text) {
  uint64_t hash = UINT64_C(0xCBF29CE484222325);
  aw_json_walk w;
  int c;
  aw_json_walk_init(&w, token, text);
  while ((c = aw_json_walk_next(&w)) >= 0) {
    hash = (hash ^ (unsigned)c) * UINT64_C(0x100000001B3);
  }
  return hash;
}

/* Equal keys stand in the order of the text. */
static bool entry_less(const key_sort *k, const entry *a, const entry *b) {
  if (a->hash != b->hash) {
    return a->hash < b->hash;
  }
  int order =
      compare_strings(&k->tokens[a->token], &k->tokens[b->token], k->text);
  return order != 0 ? order < 0 : a->token < b->token;
}

static void sift_down(const key_sort *k, uint32_t root, uint32_t count) {
  entry moved = k->entries[root];
  for (;;) {
    uint32_t child = root * 2 + 1;
    if (child >= count) {
      break;
    }
    if (child + 1 < count &&
        entry_less(k, &k->entries[child], &k->entries[child + 1])) {
      child++;
    }
    if (!entry_less(k, &moved, &k->entries[child])) {
      break;
    }
    k->entries[root] = k->entries[child];
    root = child;
  }
  k->entries[root] = moved;
}

static void sort_entries(const key_sort *k, uint32_t count) {
  for (uint32_t i = count / 2; i-- > 0;) {
    sift_down(k, i, count);
  }
  for (uint32_t i = count; i-- > 1;) {
    entry last = k->entries[i];
    k->entries[i] = k->entries[0];
    k->entries[0] = last;
    sift_down(k, 0, i);
  }
}

/* Any number of keys: sorted, equal ones are neighbours. */
static int find_among_many(aw_json_tape *tape, const char *text, uint32_t count,
                           uint32_t *found) {
  key_sort k;
  if (aw_json_tape_reserve(tape, count) != AW_OK) {
    return AW_E_NOMEM;
  }
  k.tokens = tape->tokens;
  k.text = text;
  k.entries = (void *)(tape->tokens + tape->count);
  for (uint32_t i = 0, key = 1; i < count; i++) {
    k.entries[i].hash = hash_string(&k.tokens[key], text);
    k.entries[i].token = key;
    key = k.tokens[key + 1].next;
  }
  sort_entries(&k, count);
  for (uint32_t i = 1; i < count; i++) {
    const entry *a = &k.entries[i - 1], *b = &k.entries[i];
    if (a->hash == b->hash && (*found == 0 || b->token < *found) &&
        compare_strings(&k.tokens[a->token], &k.tokens[b->token], text) == 0) {
      *found = b->token;
    }
  }
  return AW_OK;
}

/* A few plain keys are compared directly, and only where a 64-bit filter of
 * length and ends says that one may have been there before. */
int aw_json_duplicate_key(aw_json_tape *tape, const char *text, uint32_t *key) {
  const aw_json_token *tokens = tape->tokens;
  uint32_t seen[FEW_KEYS];
  uint64_t filter = 0;
  uint32_t at, i, count = 0;
  bool few = true;
  *key = 0;
  for (at = 1; at < tokens[0].next; at = tokens[at + 1].next, count++) {
    const unsigned char *bytes = (const unsigned char *)text + tokens[at].start;
    uint32_t len = tokens[at].len;
    uint64_t bit;
    if (!few || count == FEW_KEYS || tokens[at].escaped) {
      few = false;
      continue;
    }
    bit = len == 0 ? 0 : len * 7 + bytes[0] + 3u * bytes[len - 1];
    bit = UINT64_C(1) << (bit & 63);
    for (i = 0; (filter & bit) != 0 && i < count; i++) {
      if (tokens[seen[i]].len == len &&
          memcmp(text + tokens[seen[i]].start, bytes, len) == 0) {
        *key = at;
        return 0;
      }
    }
    filter |= bit;
    seen[count] = at;
  }
  return few ? 0 : find_among_many(tape, text, count, key);
}
