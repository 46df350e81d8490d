#include "aw_error.h"
#include "aw_http_text.h"

static aw_http_span drop(aw_http_span span, size_t len) {
  return (aw_http_span){span.bytes + len, span.len - len};
}

/* The length of the part before the first of `stops`, or all of it. */
static size_t find_any(aw_http_span span, const char *stops) {
  for (size_t i = 0; i < span.len; i++) {
    if (span.bytes[i] != '\0' && strchr(stops, span.bytes[i]) != NULL) {
      return i;
    }
  }
  return span.len;
}

static const char *read_scheme(aw_http_url *url, aw_http_span *rest) {
  size_t len = find_any(*rest, ":");
  aw_http_span scheme = {rest->bytes, len};
  if (rest->len - len < 3 || memcmp(rest->bytes + len, "://", 3) != 0) {
    return "URL does not start with ws:// or wss://";
  }
  url->secure = aw_http_same(scheme, "wss");
  if (!url->secure && !aw_http_same(scheme, "ws")) {
    return "URL scheme is not ws or wss";
  }
  *rest = drop(*rest, len + 3);
  return NULL;
}

static const char *read_ipv6(aw_http_url *url, aw_http_span *rest) {
  size_t len = find_any(*rest, "]"), colons = 0;
  if (len == rest->len) {
    return "URL has '[' without ']'";
  }
  url->host = (aw_http_span){rest->bytes + 1, len - 1};
  for (size_t i = 0; i < url->host.len; i++) {
    char c = url->host.bytes[i];
    colons += c == ':';
    if (c == '\0' || strchr("0123456789abcdefABCDEF:.", c) == NULL) {
      return "URL has a malformed IPv6 address";
    }
  }
  if (colons < 2) {
    return "URL has a malformed IPv6 address";
  }
  url->is_ipv6 = true;
  *rest = drop(*rest, len + 1);
  return NULL;
}

static const char *read_host(aw_http_url *url, aw_http_span *rest) {
  size_t len = find_any(*rest, ":");
  if (rest->len > 0 && rest->bytes[0] == '[') {
    return read_ipv6(url, rest);
  }
  url->host = (aw_http_span){rest->bytes, len};
  if (len == 0) {
    return "URL has no host";
  }
  for (size_t i = 0; i < len; i++) {
    char c = rest->bytes[i];
    if (!aw_http_is_alnum(c) && c != '.' && c != '-' && c != '_') {
      return "URL has a malformed host";
    }
  }
  *rest = drop(*rest, len);
  return NULL;
}

static const char *read_port(aw_http_url *url, aw_http_span rest) {
  url->port = url->secure ? 443 : 80;
  if (rest.len == 0) {
    return NULL;
  }
  if (rest.bytes[0] != ':' || rest.len == 1) {
    return "URL has a malformed port";
  }
  url->port_given = true;
  url->port = 0;
  for (size_t i = 1; i < rest.len; i++) {
    if (rest.bytes[i] < '0' || rest.bytes[i] > '9') {
      return "URL has a malformed port";
    }
    url->port = url->port * 10 + (unsigned)(rest.bytes[i] - '0');
    if (url->port > 65535) {
      return "URL has a port above 65535";
    }
  }
  return NULL;
}

static const char *read_target(aw_http_url *url, aw_http_span rest) {
  aw_http_head head = {.is_request = true};
  size_t len = find_any(rest, "?");
  url->target = rest.len > 0 ? rest : aw_http_text("/");
  if (!aw_http_is_visible(url->target)) {
    return "URL has a character that needs percent-encoding";
  }
  if (find_any(rest, "#") < rest.len) {
    return "URL has a fragment";
  }
  head.target = url->target;
  if (len == 0) {
    head.target = aw_http_text("/");
  }
  if (aw_http_read_target(&head) != NULL) {
    return "URL has a path with a . or .. segment, or a character that needs "
           "percent-encoding";
  }
  url->path = head.path;
  url->query = drop(rest, len);
  return NULL;
}

static bool begins(aw_http_span text, const char *prefix) {
  aw_http_span start = {text.bytes, strlen(prefix)};
  return text.len >= start.len && aw_http_same(start, prefix);
}

/* The form of the ws package of Node.js; the slashes of an empty authority may
 * be there. */
static const char *read_unix(aw_http_url *url, aw_http_span rest) {
  if (begins(rest, "///")) {
    rest = drop(rest, 2);
  }
  url->file = (aw_http_span){rest.bytes, find_any(rest, ":")};
  rest = drop(rest, url->file.len);
  if (!aw_http_is_visible(url->file)) {
    return "URL has no file of a Unix socket, or one with a blank or a control "
           "character";
  }
  if (begins(url->file, "//")) {
    return "URL of a Unix socket has a host; ws+unix:/file:/path has none";
  }
  if (rest.len > 0) {
    rest = drop(rest, 1);
  }
  if (rest.len > 0 && rest.bytes[0] != '/' && rest.bytes[0] != '?') {
    return "URL of a Unix socket has a path that does not begin with /";
  }
  url->host = aw_http_text("localhost");
  url->port = 80;
  return read_target(url, rest);
}

static const char *read_url(aw_http_url *url, aw_http_span rest) {
  if (begins(rest, "ws+unix:")) {
    return read_unix(url, drop(rest, 8));
  }
  const char *why = read_scheme(url, &rest);
  size_t len = find_any(rest, "/?#");
  aw_http_span authority = {rest.bytes, len};
  if (why == NULL && find_any(authority, "@") < len) {
    why = "URL has user info";
  }
  if (why == NULL) {
    why = read_host(url, &authority);
  }
  if (why == NULL) {
    why = read_port(url, authority);
  }
  return why != NULL ? why : read_target(url, drop(rest, len));
}

int aw_http_parse_url(aw_http_url *url, const char *text, size_t len,
                      const char **why) {
  *url = (aw_http_url){.secure = false};
  *why = read_url(url, (aw_http_span){text, len});
  return *why == NULL ? 0 : AW_E_INVALID;
}

static const char *read_proxy(aw_http_url *url, aw_http_span rest) {
  size_t at;
  if (!begins(rest, "http://")) {
    return "proxy does not start with http://";
  }
  rest = drop(rest, 7);
  if (rest.len > 0 && rest.bytes[rest.len - 1] == '/') {
    rest.len--;
  }
  for (at = rest.len; at > 0 && rest.bytes[at - 1] != '@'; at--) {
  }
  if (at > 0) {
    url->user = (aw_http_span){rest.bytes, at - 1};
    rest = drop(rest, at);
  }
  const char *why = read_host(url, &rest);
  if (why == NULL) {
    why = read_port(url, rest);
  }
  return why == NULL ? NULL
                     : "proxy is not http://host:port, with user:password@ "
                       "before the host where it asks for them";
}

int aw_http_parse_proxy(aw_http_url *url, const char *text, size_t len,
                        const char **why) {
  *url = (aw_http_url){.secure = false};
  *why = read_proxy(url, (aw_http_span){text, len});
  return *why == NULL ? 0 : AW_E_INVALID;
}
