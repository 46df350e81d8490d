#include "aw_bytes.h"
#include "aw_error.h"
#include "aw_http_body.h"
#include "aw_http_text.h"
#include "aw_sha1.h"
#include <inttypes.h>
#include <stdio.h>

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* section 1.3 */

void aw_http_make_key(const unsigned char random[16],
                      char key[AW_HTTP_KEY_TEXT]) {
  aw_base64(random, 16, key);
}

void aw_http_make_accept(const char key[AW_HTTP_KEY_TEXT],
                         char accept[AW_HTTP_ACCEPT_TEXT]) {
  char text[AW_HTTP_KEY_TEXT + sizeof GUID - 1];
  unsigned char digest[AW_SHA1_SIZE];
  memcpy(text, key, AW_HTTP_KEY_TEXT);
  memcpy(text + AW_HTTP_KEY_TEXT, GUID, sizeof GUID - 1);
  aw_sha1(text, sizeof text, digest);
  aw_base64(digest, sizeof digest, accept);
}

/* What frames the request, and what the handshake is made of. */
static bool is_ours(aw_http_span name) {
  static const char prefix[] = "Sec-WebSocket-";
  static const char *const names[] = {"Host", "Upgrade", "Connection",
                                      "Content-Length", "Transfer-Encoding"};
  aw_http_span start = {name.bytes, sizeof prefix - 1};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (aw_http_same(name, names[i])) {
      return true;
    }
  }
  return name.len >= start.len && aw_http_same(start, prefix);
}

const char *aw_http_check_header(aw_http_span name, aw_http_span value) {
  if (!aw_http_is_token(name)) {
    return "the name is not a token of letters, digits and !#$%&'*+-.^_`|~";
  }
  if (is_ours(name)) {
    return "the handshake itself writes this one";
  }
  return aw_http_all_text(value) ? NULL : "the value holds a control character";
}

/* A bare LF would pass aw_http_parse, which is lenient about what others send,
 * and so would a folded line of a response. */
static bool lines_whole(const char *lines) {
  for (const char *at = lines; *at != '\0'; at++) {
    if ((*at == '\n' && (at == lines || at[-1] != '\r')) ||
        (aw_http_is_blank(*at) && (at == lines || at[-1] == '\n'))) {
      return false;
    }
  }
  return true;
}

/* What we would not read ourselves we do not send: `extra` without its last
 * line end runs into the head's, an empty line in it ends the head early. */
static bool reads_back(const char *text, size_t len, bool is_request) {
  static const char *const single[] = {"Host",
                                       "Upgrade",
                                       "Connection",
                                       "Sec-WebSocket-Key",
                                       "Sec-WebSocket-Accept",
                                       "Sec-WebSocket-Version",
                                       "Sec-WebSocket-Protocol"};
  aw_http_head head;
  size_t used;
  if (aw_http_parse(&head, text, len, len, is_request, &used) != AW_OK ||
      used != len || (is_request && aw_http_read_target(&head) != NULL)) {
    return false;
  }
  for (size_t i = 0; i < sizeof single / sizeof single[0]; i++) {
    unsigned count = 0;
    for (unsigned j = 0; j < head.count; j++) {
      count += aw_http_same(head.headers[j].name, single[i]);
    }
    if (count > 1) {
      return false;
    }
  }
  return true;
}

/* Appends the parts and the line that ends the head, or nothing. */
static int put_head(aw_buf *out, const aw_http_span *parts, size_t count,
                    bool is_request) {
  size_t len = 2;
  char *at;
  for (size_t i = 0; i < count; i++) {
    len += parts[i].len;
  }
  if (aw_buf_reserve(out, len) != 0) {
    return AW_E_NOMEM;
  }
  char *start = at = out->data + out->tail;
  for (size_t i = 0; i < count; i++) {
    if (parts[i].len > 0) {
      memcpy(at, parts[i].bytes, parts[i].len);
      at += parts[i].len;
    }
  }
  memcpy(at, "\r\n", 2);
  if (!reads_back(start, len, is_request)) {
    return AW_E_INVALID;
  }
  out->tail += len;
  return AW_OK;
}

int aw_http_build_request(aw_buf *out, const char *host, const char *target,
                          const char key[AW_HTTP_KEY_TEXT],
                          const char *protocols, const char *extra) {
  const aw_http_span parts[] = {
      aw_http_text(target[0] == '?' ? "GET /" : "GET "),
      aw_http_text(target),
      aw_http_text(" HTTP/1.1\r\nHost: "),
      aw_http_text(host),
      aw_http_text("\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "),
      {key, AW_HTTP_KEY_TEXT},
      aw_http_text(protocols ? "\r\nSec-WebSocket-Protocol: " : ""),
      aw_http_text(protocols ? protocols : ""),
      aw_http_text("\r\n"),
      aw_http_text(extra ? extra : "")};
  if (!aw_http_is_visible(parts[1]) || !aw_http_is_authority(parts[3]) ||
      !aw_http_is_visible(parts[5]) || !aw_http_all_text(parts[7]) ||
      !lines_whole(parts[9].bytes)) {
    return AW_E_INVALID;
  }
  return put_head(out, parts, sizeof parts / sizeof parts[0], true);
}

/* Undoes percent-encoding. The length, or -1: malformed, or a control
 * character, which neither a name nor a password may hold (RFC 7617). */
static int decode_user(aw_http_span user, unsigned char *out) {
  int len = 0;
  for (size_t i = 0; i < user.len; i++) {
    char c = user.bytes[i];
    if (c == '%') {
      if (user.len - i < 3 || aw_hex_value(user.bytes[i + 1]) < 0 ||
          aw_hex_value(user.bytes[i + 2]) < 0) {
        return -1;
      }
      c = (char)(aw_hex_value(user.bytes[i + 1]) * 16 +
                 aw_hex_value(user.bytes[i + 2]));
      i += 2;
    }
    if (c == '\t' || !aw_http_is_text(c)) {
      return -1;
    }
    out[len++] = (unsigned char)c;
  }
  return len;
}

int aw_http_build_connect(aw_buf *out, const char *authority,
                          aw_http_span user) {
  unsigned char plain[AW_HTTP_USER_MAX + 1];
  char coded[(AW_HTTP_USER_MAX + 3) / 3 * 4 + 1] = "";
  const aw_http_span where = aw_http_text(authority);
  int len = user.len > AW_HTTP_USER_MAX ? -1 : decode_user(user, plain);
  if (len < 0 || !aw_http_is_authority(where)) {
    return AW_E_INVALID;
  }
  if (user.bytes != NULL) {
    if (memchr(user.bytes, ':', user.len) == NULL) {
      plain[len++] = ':';
    }
    aw_base64(plain, (size_t)len, coded);
  }
  bool named = user.bytes != NULL;
  const aw_http_span parts[] = {
      aw_http_text("CONNECT "),
      where,
      aw_http_text(" HTTP/1.1\r\nHost: "),
      where,
      aw_http_text(named ? "\r\nProxy-Authorization: Basic " : ""),
      {coded, named ? ((size_t)len + 2) / 3 * 4 : 0},
      aw_http_text("\r\n\r\n")};
  size_t total = 0;
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
    total += parts[i].len;
  }
  if (aw_buf_reserve(out, total) != 0) {
    return AW_E_NOMEM;
  }
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
    aw_buf_append(out, parts[i].bytes, parts[i].len);
  }
  return AW_OK;
}

int aw_http_build_accept(aw_buf *out, const char accept[AW_HTTP_ACCEPT_TEXT],
                         aw_http_span protocol, const char *extra) {
  bool agreed = protocol.bytes != NULL;
  const aw_http_span parts[] = {
      aw_http_text("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                   "Connection: Upgrade\r\nSec-WebSocket-Accept: "),
      {accept, AW_HTTP_ACCEPT_TEXT},
      aw_http_text(agreed ? "\r\nSec-WebSocket-Protocol: " : ""),
      protocol,
      aw_http_text("\r\n"),
      aw_http_text(extra ? extra : "")};
  if (!aw_http_is_visible(parts[1]) ||
      (agreed && !aw_http_is_token(protocol)) || !lines_whole(parts[5].bytes)) {
    return AW_E_INVALID;
  }
  return put_head(out, parts, sizeof parts / sizeof parts[0], false);
}

static const char *status_reason(int status) {
  static const struct {
    int status;
    const char *reason;
  } reasons[] = {{200, "OK"},
                 {201, "Created"},
                 {202, "Accepted"},
                 {204, "No Content"},
                 {206, "Partial Content"},
                 {301, "Moved Permanently"},
                 {302, "Found"},
                 {303, "See Other"},
                 {304, "Not Modified"},
                 {307, "Temporary Redirect"},
                 {308, "Permanent Redirect"},
                 {400, "Bad Request"},
                 {401, "Unauthorized"},
                 {403, "Forbidden"},
                 {404, "Not Found"},
                 {405, "Method Not Allowed"},
                 {406, "Not Acceptable"},
                 {408, "Request Timeout"},
                 {409, "Conflict"},
                 {410, "Gone"},
                 {411, "Length Required"},
                 {413, "Content Too Large"},
                 {415, "Unsupported Media Type"},
                 {417, "Expectation Failed"},
                 {422, "Unprocessable Content"},
                 {426, "Upgrade Required"},
                 {429, "Too Many Requests"},
                 {431, "Request Header Fields Too Large"},
                 {500, "Internal Server Error"},
                 {501, "Not Implemented"},
                 {502, "Bad Gateway"},
                 {503, "Service Unavailable"},
                 {504, "Gateway Timeout"},
                 {505, "HTTP Version Not Supported"}};
  for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
    if (reasons[i].status == status) {
      return reasons[i].reason;
    }
  }
  return status < 400 ? "Other" : "Refused";
}

/* RFC 9110: 405 names the methods (15.5.6), 426 the protocol, which in turn
 * Connection has to name (15.5.22, 7.8). */
static const char *status_headers(int status) {
  switch (status) {
  case 405:
    return "Connection: close\r\nAllow: GET\r\n";
  case 426:
    return "Connection: close, Upgrade\r\nUpgrade: websocket\r\n"
           "Sec-WebSocket-Version: 13\r\n";
  default:
    return "Connection: close\r\n";
  }
}

int aw_http_build_refusal(aw_buf *out, int status, const char *why) {
  const char *reason = status_reason(status);
  size_t len = strlen(why);
  char head[320];
  if (status < 400 || status > 599) {
    return AW_E_INVALID;
  }
  int head_len = snprintf(head, sizeof head,
                          "HTTP/1.1 %d %s\r\n%s"
                          "Content-Type: text/plain; charset=utf-8\r\n"
                          "Content-Length: %zu\r\n\r\n",
                          status, reason, status_headers(status), len + 1);
  if (aw_buf_reserve(out, (size_t)head_len + len + 1) != 0) {
    return AW_E_NOMEM;
  }
  aw_buf_append(out, head, (size_t)head_len);
  aw_buf_append(out, why, len);
  return aw_buf_append(out, "\n", 1);
}

/* Days since 1970 to a date: the year begins in March, so that the day that is
 * sometimes missing is its last one. */
void aw_http_format_date(int64_t seconds, char text[AW_HTTP_DATE_TEXT]) {
  static const char days[] = "ThuFriSatSunMonTueWed";
  static const char months[] = "MarAprMayJunJulAugSepOctNovDecJanFeb";
  seconds = seconds < 0 || seconds > AW_HTTP_DATE_MAX ? 0 : seconds;
  unsigned day = (unsigned)(seconds / 86400),
           rest = (unsigned)(seconds % 86400);
  unsigned since = day + 719468; /* 0000-03-01 */
  unsigned era = since / 146097, of_era = since % 146097;
  unsigned year =
      (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  unsigned of_year = of_era - (365 * year + year / 4 - year / 100);
  unsigned month = (5 * of_year + 2) / 153;
  (void)snprintf(text, AW_HTTP_DATE_TEXT,
                 "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT", days + day % 7 * 3,
                 of_year - (153 * month + 2) / 5 + 1, months + month * 3,
                 (year + era * 400 + (month >= 10)) % 10000, rest / 3600,
                 rest / 60 % 60, rest % 60);
}

/* What frames the response is written once, by us. */
static bool frames_once(const char *text, size_t len,
                        const aw_http_response *r) {
  const struct {
    const char *name;
    unsigned count;
  } ours[] = {{"Date", 1},
              {"Connection", r->close},
              {"Content-Length", r->framing == AW_HTTP_COUNTED},
              {"Transfer-Encoding", r->framing == AW_HTTP_CHUNKED},
              {"Keep-Alive", 0},
              {"Trailer", 0},
              {"Upgrade", 0}};
  aw_http_head head;
  size_t used;
  if (aw_http_parse(&head, text, len, len, false, &used) != AW_OK) {
    return false;
  }
  for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
    unsigned count = 0;
    for (unsigned j = 0; j < head.count; j++) {
      count += aw_http_same(head.headers[j].name, ours[i].name);
    }
    if (count != ours[i].count) {
      return false;
    }
  }
  return true;
}

int aw_http_build_response(aw_buf *out, const aw_http_response *r) {
  char line[64], date[AW_HTTP_DATE_TEXT], length[48] = "";
  if (r->status < 200 || r->status > 599 ||
      (r->headers != NULL && !lines_whole(r->headers))) {
    return AW_E_INVALID;
  }
  (void)snprintf(line, sizeof line, "HTTP/1.1 %d %s\r\nDate: ", r->status,
                 status_reason(r->status));
  aw_http_format_date(r->seconds, date);
  if (r->framing == AW_HTTP_COUNTED) {
    (void)snprintf(length, sizeof length, "Content-Length: %" PRIu64 "\r\n",
                   r->length);
  } else if (r->framing == AW_HTTP_CHUNKED) {
    (void)snprintf(length, sizeof length, "Transfer-Encoding: chunked\r\n");
  }
  const aw_http_span parts[] = {
      aw_http_text(line),
      aw_http_text(date),
      aw_http_text("\r\n"),
      aw_http_text(r->headers != NULL ? r->headers : ""),
      aw_http_text(length),
      aw_http_text(r->close ? "Connection: close\r\n" : "")};
  size_t before = aw_buf_len(out);
  int rc = put_head(out, parts, sizeof parts / sizeof parts[0], false);
  if (rc != AW_OK) {
    return rc;
  }
  size_t len = aw_buf_len(out) - before;
  if (!frames_once(aw_buf_bytes(out) + before, len, r)) {
    out->tail -= len;
    return AW_E_INVALID;
  }
  return AW_OK;
}

int aw_http_build_chunk(aw_buf *out, const char *bytes, size_t len) {
  char size[24];
  int digits = snprintf(size, sizeof size, "%zx\r\n", len);
  if (aw_buf_reserve(out, len + (size_t)digits + 2) != AW_OK) {
    return AW_E_NOMEM;
  }
  aw_buf_append(out, size, (size_t)digits);
  aw_buf_append(out, bytes, len);
  return aw_buf_append(out, "\r\n", 2);
}

int aw_http_build_last_chunk(aw_buf *out) {
  return aw_buf_append(out, "0\r\n\r\n", 5);
}
