/* What a request asks for, and of whom: RFC 9112 section 3.2, RFC 3986. */
#include "aw_address.h"
#include "aw_bytes.h"
#include "aw_error.h"
#include "aw_http_text.h"

static bool holds(const char *set, char c) {
  return c != '\0' && strchr(set, c) != NULL;
}

static bool is_unreserved(char c) {
  return aw_http_is_alnum(c) || holds("-._~", c);
}

/* The byte that stands at `i` as %XX; -1: none does. */
static int coded_byte(aw_http_span text, size_t i) {
  if (text.len - i < 3 || text.bytes[i] != '%' ||
      aw_hex_value(text.bytes[i + 1]) < 0 ||
      aw_hex_value(text.bytes[i + 2]) < 0) {
    return -1;
  }
  return aw_hex_value(text.bytes[i + 1]) * 16 + aw_hex_value(text.bytes[i + 2]);
}

/* Characters of `set`, unreserved ones, sub-delims, and whole %XX. */
static bool is_made_of(aw_http_span text, const char *set) {
  for (size_t i = 0; i < text.len; i++) {
    char c = text.bytes[i];
    if (c == '%') {
      if (coded_byte(text, i) < 0) {
        return false;
      }
      i += 2;
    } else if (!is_unreserved(c) && !holds("!$&'()*+,;=", c) &&
               !holds(set, c)) {
      return false;
    }
  }
  return true;
}

static bool is_port(aw_http_span text) {
  unsigned port = 0;
  for (size_t i = 0; i < text.len; i++) {
    if (text.bytes[i] < '0' || text.bytes[i] > '9' || port > 65535) {
      return false;
    }
    port = port * 10 + (unsigned)(text.bytes[i] - '0');
  }
  return port <= 65535;
}

static size_t find(aw_http_span text, const char *set) {
  size_t i = 0;
  while (i < text.len && !holds(set, text.bytes[i])) {
    i++;
  }
  return i;
}

static aw_http_span from(aw_http_span text, size_t start) {
  return (aw_http_span){text.bytes + start, text.len - start};
}

/* uri-host [ ":" port ]: a host that is not empty (RFC 9110 section 4.2.1), and
 * no user before it. */
bool aw_http_is_authority(aw_http_span text) {
  aw_http_span host = text, rest;
  if (text.len > 0 && text.bytes[0] == '[') {
    aw_address address;
    size_t len = find(text, "]");
    if (len == text.len || memchr(text.bytes, ':', len) == NULL ||
        aw_address_parse(&address, text.bytes + 1, len - 1) != AW_OK) {
      return false;
    }
    rest = from(text, len + 1);
  } else {
    host.len = find(text, ":");
    rest = from(text, host.len);
    if (host.len == 0 || !is_made_of(host, "")) {
      return false;
    }
  }
  return rest.len == 0 || (rest.bytes[0] == ':' && is_port(from(rest, 1)));
}

/* "." or "..", however it is written: whoever compares paths would be walked
 * around, and no client sends one (RFC 3986 section 6.2.2.3). */
static bool is_dots(aw_http_span segment) {
  size_t dots = 0;
  for (size_t i = 0; i < segment.len; i++) {
    bool coded = coded_byte(segment, i) == '.';
    if (!coded && segment.bytes[i] != '.') {
      return false;
    }
    i += coded ? 2 : 0;
    dots++;
  }
  return dots == 1 || dots == 2;
}

static bool has_dots(aw_http_span path) {
  while (path.len > 0) {
    size_t len = find(path, "/");
    if (is_dots((aw_http_span){path.bytes, len})) {
      return true;
    }
    path = from(path, len < path.len ? len + 1 : len);
  }
  return false;
}

/* absolute-form: what is before the path, checked and taken off. */
static const char *drop_authority(aw_http_span *target) {
  size_t len = find(*target, ":");
  aw_http_span scheme = {target->bytes, len}, authority;
  if (target->len - len < 3 || memcmp(target->bytes + len, "://", 3) != 0 ||
      (!aw_http_same(scheme, "http") && !aw_http_same(scheme, "https"))) {
    return "request target is neither a path nor an http:// URL";
  }
  authority = from(*target, len + 3);
  authority.len = find(authority, "/?#");
  if (!aw_http_is_authority(authority)) {
    return "request target has a malformed host";
  }
  *target = from(*target, len + 3 + authority.len);
  return NULL;
}

const char *aw_http_read_target(aw_http_head *head) {
  aw_http_span rest = head->target;
  const char *why = NULL;
  if (rest.len == 0 || rest.bytes[0] != '/') {
    why = drop_authority(&rest);
  }
  if (why != NULL) {
    return why;
  }
  head->path = (aw_http_span){rest.bytes, find(rest, "?#")};
  rest = from(rest, head->path.len);
  head->query = (aw_http_span){NULL, 0};
  if (rest.len > 0 && rest.bytes[0] == '?') {
    head->query = from(rest, 1);
  }
  if (head->path.len == 0) {
    head->path = aw_http_text("/");
  }
  if (find(rest, "#") < rest.len) {
    return "request target has a fragment";
  }
  if (!is_made_of(head->path, ":@/")) {
    return "request target has a malformed path";
  }
  /* Browsers leave some characters of a query as they are that RFC 3986 would
   * have encoded. */
  if (!is_made_of(head->query, ":@/?[]{}|\\^`")) {
    return "request target has a malformed query";
  }
  return has_dots(head->path) ? "request target has a . or .. segment" : NULL;
}

size_t aw_http_normal_path(aw_http_span path, char *out) {
  size_t len = 0;
  for (size_t i = 0; i < path.len; i++) {
    int byte = coded_byte(path, i);
    if (byte < 0) {
      out[len++] = path.bytes[i];
    } else if (is_unreserved((char)byte)) {
      out[len++] = (char)byte;
      i += 2;
    } else {
      out[len++] = '%';
      out[len++] = "0123456789ABCDEF"[byte >> 4];
      out[len++] = "0123456789ABCDEF"[byte & 15];
      i += 2;
    }
  }
  return len;
}
