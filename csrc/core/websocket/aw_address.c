#include "aw_address.h"

#include "aw_error.h"
#include "aw_http_text.h"

static const uint8_t mapped[12] = {[10] = 0xFF, [11] = 0xFF};

typedef struct cursor cursor;

struct cursor {
  const char *at, *end;
};

static bool take(cursor *in, char c) {
  if (in->at == in->end || *in->at != c) {
    return false;
  }
  in->at++;
  return true;
}

/* Digits of base 10 or 16 up to `most` of them; -1 when there is none. */
static int take_number(cursor *in, int base, int most) {
  int number = 0, count = 0;
  for (; in->at < in->end && count < most; in->at++, count++) {
    char c = aw_http_lower(*in->at);
    int digit = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                       : 16;
    if (digit >= base) {
      break;
    }
    number = number * base + digit;
  }
  return count == 0 ? -1 : number;
}

/* A leading zero means octal to some readers, decimal to others. */
static bool read_v4(cursor in, uint8_t bytes[4]) {
  for (int i = 0; i < 4; i++) {
    const char *start;
    int number;
    if (i > 0 && !take(&in, '.')) {
      return false;
    }
    start = in.at;
    number = take_number(&in, 10, 3);
    if (number < 0 || number > 255 || (*start == '0' && in.at - start > 1)) {
      return false;
    }
    bytes[i] = (uint8_t)number;
  }
  return in.at == in.end;
}

/* The next two bytes, or at the end of the address four in dotted form. */
static bool read_group(cursor *in, uint8_t *bytes, size_t *len) {
  cursor before = *in;
  int number = take_number(in, 16, 4);
  if (number < 0) {
    return false;
  }
  if (in->at < in->end && *in->at == '.') {
    in->at = in->end;
    *len += 4;
    return *len <= 16 && read_v4(before, bytes + *len - 4);
  }
  bytes[(*len)++] = (uint8_t)(number >> 8);
  bytes[(*len)++] = (uint8_t)number;
  return true;
}

/* Groups with a colon between each two, until `::` or the end. */
static bool read_groups(cursor *in, uint8_t *bytes, size_t *len) {
  while (in->at < in->end && *len < 16) {
    if (!read_group(in, bytes, len)) {
      return false;
    }
    if (in->at == in->end || (in->end - in->at > 1 && in->at[1] == ':')) {
      break;
    }
    if (!take(in, ':') || in->at == in->end) {
      return false;
    }
  }
  return true;
}

static bool read_v6(cursor in, uint8_t bytes[16]) {
  uint8_t tail[16 + 4];
  size_t before = 0, after = 0;
  bool gap = in.end - in.at >= 2 && in.at[0] == ':' && in.at[1] == ':';
  if (!gap && !read_groups(&in, bytes, &before)) {
    return false;
  }
  if (in.at < in.end) {
    if (!take(&in, ':') || !take(&in, ':') || !read_groups(&in, tail, &after) ||
        in.at < in.end) {
      return false;
    }
    gap = true;
  }
  if (gap ? before + after > 14 : before != 16) {
    return false;
  }
  memset(bytes + before, 0, 16 - before - after);
  memcpy(bytes + 16 - after, tail, after);
  return true;
}

int aw_address_parse(aw_address *out, const char *text, size_t len) {
  cursor in = {text, text + len};
  uint8_t room[16 + 4];
  if (len == 0) {
    return AW_E_INVALID;
  }
  if (read_v4(in, out->bytes + sizeof mapped)) {
    memcpy(out->bytes, mapped, sizeof mapped);
    return AW_OK;
  }
  if (!read_v6(in, room)) {
    return AW_E_INVALID;
  }
  memcpy(out->bytes, room, sizeof out->bytes);
  return AW_OK;
}

bool aw_address_is_loopback(const aw_address *address) {
  static const uint8_t one[16] = {[15] = 1};
  if (memcmp(address->bytes, mapped, sizeof mapped) == 0) {
    return address->bytes[sizeof mapped] == 127;
  }
  return memcmp(address->bytes, one, sizeof one) == 0;
}

static bool is_bit_set(const aw_address *address, unsigned bit) {
  return (address->bytes[bit / 8] >> (7 - bit % 8) & 1) != 0;
}

int aw_network_parse(aw_network *out, const char *text, size_t len) {
  const char *slash = memchr(text, '/', len);
  size_t address_len = slash != NULL ? (size_t)(slash - text) : len;
  bool v4 = memchr(text, ':', address_len) == NULL;
  unsigned most = v4 ? 32 : 128;
  int bits = (int)most;
  if (aw_address_parse(&out->address, text, address_len) != AW_OK) {
    return AW_E_INVALID;
  }
  if (slash != NULL) {
    cursor in = {slash + 1, text + len};
    bits = take_number(&in, 10, 3);
    if (bits < 0 || (unsigned)bits > most || in.at < in.end) {
      return AW_E_INVALID;
    }
  }
  out->bits = (unsigned)bits + 128 - most;
  for (unsigned bit = out->bits; bit < 128; bit++) {
    if (is_bit_set(&out->address, bit)) {
      return AW_E_INVALID;
    }
  }
  return AW_OK;
}

bool aw_network_holds(const aw_network *network, const aw_address *address) {
  for (unsigned bit = 0; bit < network->bits; bit++) {
    if (is_bit_set(&network->address, bit) != is_bit_set(address, bit)) {
      return false;
    }
  }
  return true;
}

/* Labels of RFC 1123, so that "a@b.localhost" is no name. */
static bool is_name(aw_http_span name) {
  char before = '.';
  for (size_t i = 0; i < name.len; i++) {
    char c = name.bytes[i];
    if (!aw_http_is_alnum(c) && c != '-' && c != '_' &&
        (c != '.' || before == '.')) {
      return false;
    }
    before = c;
  }
  return name.len > 0 && before != '.';
}

static bool names_loopback(aw_http_span name) {
  static const char top[] = "localhost";
  size_t len = sizeof top - 1;
  if (name.len > 0 && name.bytes[name.len - 1] == '.') {
    name.len--;
  }
  if (!is_name(name) || name.len < len) {
    return false;
  }
  aw_http_span last = {name.bytes + name.len - len, len};
  return aw_http_same(last, top) &&
         (name.len == len || name.bytes[name.len - len - 1] == '.');
}

bool aw_address_host_is_loopback(const char *host, size_t len) {
  aw_address address;
  if (aw_address_parse(&address, host, len) == AW_OK) {
    return aw_address_is_loopback(&address);
  }
  return names_loopback((aw_http_span){host, len});
}
