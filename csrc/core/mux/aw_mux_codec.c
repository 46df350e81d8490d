#include "aw_mux_codec.h"
#include "aw_bytes.h"

#define SEAL_SIZE 8

static const char ends_early[] = "the bytes end too early";
static const char out_of_range[] = "a number is not what it can be";

void aw_mux_codec_fail(aw_mux_codec *c, int rc, const char *why) {
  if (c->rc == AW_OK) {
    c->rc = rc;
    c->why = why;
  }
}

static void write_bytes(aw_mux_codec *c, const void *bytes, size_t len) {
  if (c->rc == AW_OK) {
    c->rc = aw_buf_append(c->out, bytes, len);
  }
}

/* The next `len` bytes, or NULL. */
static const char *read_bytes(aw_mux_codec *c, size_t len) {
  if (c->rc == AW_OK && len > (size_t)(c->end - c->at)) {
    aw_mux_codec_fail(c, AW_E_INVALID, ends_early);
  }
  if (c->rc != AW_OK) {
    return NULL;
  }
  const char *bytes = c->at;
  c->at += len;
  return bytes;
}

void aw_mux_codec_raw(aw_mux_codec *c, void *bytes, size_t len) {
  if (!aw_mux_codec_loads(c)) {
    write_bytes(c, bytes, len);
    return;
  }
  const char *from = read_bytes(c, len);
  if (from != NULL && len > 0) {
    memcpy(bytes, from, len);
  }
}

static void write_number(aw_mux_codec *c, uint64_t value) {
  char bytes[10];
  size_t len = 0;
  for (; value > 0x7f; value >>= 7) {
    bytes[len++] = (char)(0x80 | (value & 0x7f));
  }
  bytes[len++] = (char)value;
  write_bytes(c, bytes, len);
}

static uint64_t read_number(aw_mux_codec *c) {
  uint64_t value = 0;
  for (unsigned shift = 0; c->rc == AW_OK && shift < 64; shift += 7) {
    const char *byte = read_bytes(c, 1);
    uint64_t bits = byte == NULL ? 0 : (unsigned char)*byte;
    if (shift == 63 && bits > 1) {
      break;
    }
    value |= (bits & 0x7f) << shift;
    if ((bits & 0x80) == 0) {
      return value;
    }
  }
  aw_mux_codec_fail(c, AW_E_INVALID, out_of_range);
  return 0;
}

void aw_mux_codec_u64(aw_mux_codec *c, uint64_t *value, uint64_t most) {
  if (!aw_mux_codec_loads(c)) {
    write_number(c, *value);
    return;
  }
  uint64_t number = read_number(c);
  if (number > most) {
    aw_mux_codec_fail(c, AW_E_INVALID, out_of_range);
  }
  if (c->rc == AW_OK) {
    *value = number;
  }
}

void aw_mux_codec_u32(aw_mux_codec *c, uint32_t *value, uint32_t most) {
  uint64_t number = *value;
  aw_mux_codec_u64(c, &number, most);
  *value = (uint32_t)number;
}

void aw_mux_codec_int(aw_mux_codec *c, int *value, int least, int most) {
  uint64_t number = (uint64_t)((int64_t)*value - least);
  aw_mux_codec_u64(c, &number, (uint64_t)((int64_t)most - least));
  *value = (int)((int64_t)number + least);
}

void aw_mux_codec_i64(aw_mux_codec *c, int64_t *value) {
  uint64_t number = (uint64_t)*value;
  aw_mux_codec_u64(c, &number, UINT64_MAX);
  *value = (int64_t)number;
}

void aw_mux_codec_bool(aw_mux_codec *c, bool *value) {
  uint64_t number = *value;
  aw_mux_codec_u64(c, &number, 1);
  *value = number != 0;
}

void aw_mux_codec_uuid(aw_mux_codec *c, aw_uuid *id) {
  aw_mux_codec_raw(c, id->bytes, sizeof id->bytes);
}

void aw_mux_codec_count(aw_mux_codec *c, size_t *count) {
  uint64_t number = *count;
  aw_mux_codec_u64(c, &number, UINT64_MAX);
  if (aw_mux_codec_loads(c) && number > (uint64_t)(c->end - c->at)) {
    aw_mux_codec_fail(c, AW_E_INVALID, ends_early);
  }
  *count = c->rc == AW_OK ? (size_t)number : 0;
}

void aw_mux_codec_span(aw_mux_codec *c, const char **bytes, size_t *len) {
  aw_mux_codec_count(c, len);
  if (aw_mux_codec_loads(c)) {
    *bytes = read_bytes(c, *len);
  } else {
    write_bytes(c, *bytes, *len);
  }
}

/* FNV-1a. */
static uint64_t hash_bytes(const char *bytes, size_t len) {
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  for (size_t i = 0; i < len; i++) {
    hash = (hash ^ (unsigned char)bytes[i]) * UINT64_C(0x100000001b3);
  }
  return hash;
}

void aw_mux_codec_seal(aw_mux_codec *c, size_t start) {
  if (!aw_mux_codec_loads(c)) {
    if (c->rc == AW_OK) {
      char seal[SEAL_SIZE];
      const char *from = aw_buf_bytes(c->out) + start;
      aw_store_le64(seal, hash_bytes(from, aw_buf_len(c->out) - start));
      write_bytes(c, seal, sizeof seal);
    }
    return;
  }
  size_t len = (size_t)(c->end - c->at);
  if (len < SEAL_SIZE) {
    aw_mux_codec_fail(c, AW_E_INVALID, ends_early);
    return;
  }
  c->end -= SEAL_SIZE;
  if (aw_load_le64(c->end) != hash_bytes(c->at, len - SEAL_SIZE)) {
    aw_mux_codec_fail(c, AW_E_INVALID,
                      "the bytes are damaged, or were never a saved mux");
  }
}
