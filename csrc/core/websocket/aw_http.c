#include "aw_http.h"

#include "aw_error.h"
#include "aw_http_text.h"

typedef struct cursor cursor;

struct cursor {
  const char *at, *end;
};

static int fail(aw_http_head *head, int error, const char *why) {
  head->why = why;
  return error;
}

/* One line without its end. A wrong byte is found before the line's end is
 * there: what speaks TLS or noise to us would never send one. */
static int take_line(aw_http_head *head, cursor *in, aw_http_span *line) {
  for (const char *at = in->at; at < in->end; at++) {
    if (*at == '\n') {
      size_t len = (size_t)(at - in->at);
      bool has_cr = len > 0 && at[-1] == '\r';
      head->bare_lf |= !has_cr;
      len -= has_cr;
      *line = (aw_http_span){in->at, len};
      in->at = at + 1;
      return AW_OK;
    }
    if (*at == '\r' ? at + 1 < in->end && at[1] != '\n'
                    : !aw_http_is_text(*at)) {
      return fail(head, AW_E_INVALID, "control character in the head");
    }
  }
  return AW_E_AGAIN;
}

/* The part of a line before `stop`, and the line moves behind it. NULL bytes
 * when there is no `stop`. */
static aw_http_span split(aw_http_span *line, char stop) {
  const char *at = line->len > 0 ? memchr(line->bytes, stop, line->len) : NULL;
  aw_http_span part = {NULL, 0};
  if (at != NULL) {
    part = (aw_http_span){line->bytes, (size_t)(at - line->bytes)};
    line->bytes = at + 1;
    line->len -= part.len + 1;
  }
  return part;
}

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

static int read_version(aw_http_head *head, aw_http_span text) {
  if (text.len != 8 || memcmp(text.bytes, "HTTP/", 5) != 0 ||
      !is_digit(text.bytes[5]) || text.bytes[6] != '.' ||
      !is_digit(text.bytes[7])) {
    return fail(head, AW_E_INVALID, "not HTTP/1.x");
  }
  head->major = text.bytes[5] - '0';
  head->minor = text.bytes[7] - '0';
  return AW_OK;
}

static int read_request_line(aw_http_head *head, aw_http_span line) {
  head->method = split(&line, ' ');
  head->target = split(&line, ' ');
  if (!aw_http_is_token(head->method)) {
    return fail(head, AW_E_INVALID, "malformed request line");
  }
  if (!aw_http_is_visible(head->target)) {
    return fail(head, AW_E_INVALID, "malformed request target");
  }
  return read_version(head, line);
}

/* The blank before an absent reason is often absent, too. */
static int read_status_line(aw_http_head *head, aw_http_span line) {
  aw_http_span version = split(&line, ' '), digits = line;
  int rc = read_version(head, version);
  if (rc != AW_OK) {
    return rc;
  }
  if (memchr(line.bytes, ' ', line.len) != NULL) {
    digits = split(&line, ' ');
    head->reason = line;
  } else {
    head->reason = (aw_http_span){line.bytes + line.len, 0};
  }
  for (size_t i = 0; i < digits.len && i < 3; i++) {
    int digit = digits.bytes[i] - '0';
    head->status = digit < 0 || digit > 9 ? -1000 : head->status * 10 + digit;
  }
  if (digits.len != 3 || head->status < 100) {
    return fail(head, AW_E_INVALID, "malformed status line");
  }
  return AW_OK;
}

/* A folded line belongs to the header before it. */
static int read_fold(aw_http_head *head, aw_http_span line) {
  if (head->is_request || head->count == 0) {
    return fail(head, AW_E_INVALID, "folded header line");
  }
  aw_http_span *value = &head->headers[head->count - 1].value;
  value->len = (size_t)(line.bytes + line.len - value->bytes);
  *value = aw_http_trim(*value);
  return AW_OK;
}

static int read_header(aw_http_head *head, aw_http_span line) {
  if (aw_http_is_blank(line.bytes[0])) {
    return read_fold(head, line);
  }
  aw_http_span name = split(&line, ':');
  if (!aw_http_is_token(name)) {
    return fail(head, AW_E_INVALID, "malformed header name");
  }
  if (head->count == AW_HTTP_HEADERS_MAX) {
    return fail(head, AW_E_LIMIT, "too many headers");
  }
  head->headers[head->count++] = (aw_http_header){name, aw_http_trim(line)};
  return AW_OK;
}

static int read_head(aw_http_head *head, cursor *in) {
  aw_http_span line;
  int rc;
  do {
    rc = take_line(head, in, &line);
  } while (rc == AW_OK && line.len == 0 && head->is_request);
  if (rc == AW_OK) {
    rc = head->is_request ? read_request_line(head, line)
                          : read_status_line(head, line);
  }
  while (rc == AW_OK) {
    rc = take_line(head, in, &line);
    if (rc == AW_OK && line.len == 0) {
      return 0;
    }
    if (rc == AW_OK) {
      rc = read_header(head, line);
    }
  }
  return rc;
}

int aw_http_parse(aw_http_head *head, const char *text, size_t len, size_t max,
                  bool is_request, size_t *used) {
  cursor in = {text, text};
  max = max == 0 ? AW_HTTP_HEAD_MAX : max;
  in.end += len < max ? len : max;
  *used = 0;
  head->is_request = is_request;
  head->method = head->target = head->reason = (aw_http_span){NULL, 0};
  head->path = head->query = (aw_http_span){NULL, 0};
  head->status = head->major = head->minor = 0;
  head->bare_lf = false;
  head->count = 0;
  head->why = "";
  int rc = read_head(head, &in);
  if (rc == AW_E_AGAIN && len >= max) {
    return fail(head, AW_E_LIMIT, "head is too long");
  }
  if (rc == AW_OK) {
    *used = (size_t)(in.at - text);
  }
  return rc;
}

/* The next header of this name from index *at on. */
static const aw_http_header *next_named(const aw_http_head *head,
                                        const char *name, unsigned *at) {
  while (*at < head->count) {
    const aw_http_header *header = &head->headers[(*at)++];
    if (aw_http_same(header->name, name)) {
      return header;
    }
  }
  return NULL;
}

aw_http_span aw_http_find(const aw_http_head *head, const char *name) {
  unsigned at = 0;
  const aw_http_header *header = next_named(head, name, &at);
  return header != NULL ? header->value : (aw_http_span){NULL, 0};
}

/* Takes the next item that is not empty off a comma-separated list. */
static bool next_item(aw_http_span *list, aw_http_span *item) {
  while (list->len > 0) {
    *item = split(list, ',');
    if (item->bytes == NULL) {
      *item = *list;
      list->len = 0;
    }
    *item = aw_http_trim(*item);
    if (item->len > 0) {
      return true;
    }
  }
  return false;
}

bool aw_http_has_token(const aw_http_head *head, const char *name,
                       const char *token) {
  const aw_http_header *header;
  unsigned at = 0;
  while ((header = next_named(head, name, &at)) != NULL) {
    aw_http_span list = header->value, item;
    while (next_item(&list, &item)) {
      if (aw_http_same(item, token)) {
        return true;
      }
    }
  }
  return false;
}

static unsigned count_named(const aw_http_head *head, const char *name) {
  unsigned at = 0, count = 0;
  while (next_named(head, name, &at) != NULL) {
    count++;
  }
  return count;
}

/* Section 4.2.1 item 5: "when decoded, is 16 bytes in length". */
static bool is_key(aw_http_span key) {
  for (size_t i = 0; i < key.len && i < AW_HTTP_KEY_TEXT - 2; i++) {
    char c = key.bytes[i];
    if (!aw_http_is_alnum(c) && c != '+' && c != '/') {
      return false;
    }
  }
  return key.len == AW_HTTP_KEY_TEXT && key.bytes[22] == '=' &&
         key.bytes[23] == '=';
}

static bool is_zero(aw_http_span text) {
  for (size_t i = 0; i < text.len; i++) {
    if (text.bytes[i] != '0') {
      return false;
    }
  }
  return text.len > 0;
}

/* A body would be taken for frames behind our back. */
static bool has_body(const aw_http_head *head) {
  const aw_http_header *header;
  unsigned at = 0;
  while ((header = next_named(head, "Content-Length", &at)) != NULL) {
    if (!is_zero(header->value)) {
      return true;
    }
  }
  return count_named(head, "Transfer-Encoding") > 0;
}

static int check_upgrade(aw_http_head *head) {
  /* RFC 9110 section 7.8: such a request's Upgrade has to be ignored. */
  if (head->minor < 1) {
    return fail(head, 426, "HTTP/1.1 is needed");
  }
  if (!aw_http_has_token(head, "Upgrade", "websocket")) {
    return fail(head, 426, "only WebSocket is spoken here");
  }
  if (!aw_http_has_token(head, "Connection", "upgrade")) {
    return fail(head, 400, "Connection header without upgrade");
  }
  switch (count_named(head, "Sec-WebSocket-Version")) {
  case 0:
    return fail(head, 400, "no Sec-WebSocket-Version header");
  case 1:
    break;
  default:
    return fail(head, 400, "more than one Sec-WebSocket-Version header");
  }
  if (!aw_http_same(aw_http_find(head, "Sec-WebSocket-Version"), "13")) {
    return fail(head, 426, "only WebSocket version 13 is spoken here");
  }
  return 0;
}

static bool is_at(const aw_http_head *head, const char *path) {
  char normal[AW_HTTP_HEAD_MAX];
  if (head->path.len > sizeof normal) {
    return false;
  }
  aw_http_span asked = {normal, aw_http_normal_path(head->path, normal)};
  return aw_http_equal(asked, aw_http_text(path));
}

static bool has_method(const aw_http_head *head, const char *method) {
  return aw_http_equal(head->method, aw_http_text(method));
}

static int check_version(aw_http_head *head) {
  return head->major == 1 ? 0 : fail(head, 505, "only HTTP/1.1 is spoken here");
}

/* RFC 9112 section 3.2: of whom it is asked. */
static int check_host(aw_http_head *head) {
  if (count_named(head, "Host") != 1) {
    return fail(head, 400, "not exactly one Host header");
  }
  if (!aw_http_is_authority(aw_http_find(head, "Host"))) {
    return fail(head, 400, "malformed Host header");
  }
  return 0;
}

/* RFC 6454 section 7.3; whoever asks for "the" Origin must get all. */
static int check_origin(aw_http_head *head) {
  return count_named(head, "Origin") > 1
             ? fail(head, 400, "more than one Origin header")
             : 0;
}

static int check_opening_line(aw_http_head *head) {
  int status = check_version(head);
  if (status != 0) {
    return status;
  }
  if (!has_method(head, "GET")) {
    return fail(head, 405, "only GET can open a WebSocket");
  }
  const char *why = aw_http_read_target(head);
  return why != NULL ? fail(head, 400, why) : 0;
}

/* "*" is asked of the whole server, which OPTIONS alone may. */
static int check_plain_target(aw_http_head *head) {
  if (has_method(head, "OPTIONS") &&
      aw_http_equal(head->target, aw_http_text("*"))) {
    head->path = head->target;
    return 0;
  }
  if (has_method(head, "CONNECT")) {
    return fail(head, 501, "no tunnels are made here");
  }
  const char *why = aw_http_read_target(head);
  return why != NULL ? fail(head, 400, why) : 0;
}

static int check_expectation(aw_http_head *head) {
  unsigned count = count_named(head, "Expect");
  if (head->minor == 0 || count == 0) {
    return 0;
  }
  return count == 1 && aw_http_expects_continue(head)
             ? 0
             : fail(head, 417, "an expectation that nobody knows");
}

bool aw_http_expects_continue(const aw_http_head *head) {
  return head->minor > 0 &&
         aw_http_same(aw_http_find(head, "Expect"), "100-continue");
}

bool aw_http_asks_upgrade(const aw_http_head *head) {
  return head->major == 1 && head->minor > 0 && has_method(head, "GET") &&
         aw_http_has_token(head, "Upgrade", "websocket") &&
         aw_http_has_token(head, "Connection", "upgrade");
}

int aw_http_check_plain(aw_http_head *head) {
  int status = check_version(head);
  if (status == 0 && head->bare_lf) {
    status = fail(head, 400, "a line that does not end in CR LF");
  }
  if (status == 0) {
    status = check_plain_target(head);
  }
  if (status == 0 && (head->minor > 0 || count_named(head, "Host") > 0)) {
    status = check_host(head);
  }
  if (status == 0) {
    status = check_origin(head);
  }
  return status == 0 ? check_expectation(head) : status;
}

int aw_http_check_request(aw_http_head *head, const char *path) {
  int status = check_opening_line(head);
  if (status == 0) {
    status = check_host(head);
  }
  if (status == 0) {
    status = check_origin(head);
  }
  if (status != 0) {
    return status;
  }
  if (has_body(head)) {
    return fail(head, 400, "request has a body");
  }
  if (path != NULL && !is_at(head, path)) {
    return fail(head, 404, "nothing is served at this path");
  }
  status = check_upgrade(head);
  if (status != 0) {
    return status;
  }
  if (count_named(head, "Sec-WebSocket-Key") != 1) {
    return fail(head, 400, "not exactly one Sec-WebSocket-Key header");
  }
  if (!is_key(aw_http_find(head, "Sec-WebSocket-Key"))) {
    return fail(head, 400, "Sec-WebSocket-Key is not 16 bytes in base64");
  }
  return 0;
}

static bool list_holds(aw_http_span list, aw_http_span wanted) {
  aw_http_span item;
  while (next_item(&list, &item)) {
    if (aw_http_equal(item, wanted)) {
      return true;
    }
  }
  return false;
}

static bool is_offered(const aw_http_head *head, aw_http_span protocol) {
  const aw_http_header *header;
  unsigned at = 0;
  while ((header = next_named(head, "Sec-WebSocket-Protocol", &at)) != NULL) {
    if (list_holds(header->value, protocol)) {
      return true;
    }
  }
  return false;
}

aw_http_span aw_http_pick_protocol(const aw_http_head *head, const char *ours) {
  aw_http_span list = aw_http_text(ours), item;
  while (next_item(&list, &item)) {
    if (is_offered(head, item)) {
      return item;
    }
  }
  return (aw_http_span){NULL, 0};
}

static int check_protocol(aw_http_head *head, const char *offered,
                          aw_http_span *protocol) {
  aw_http_span agreed = aw_http_find(head, "Sec-WebSocket-Protocol");
  if (agreed.bytes == NULL) {
    return AW_OK;
  }
  if (count_named(head, "Sec-WebSocket-Protocol") > 1 ||
      !aw_http_is_token(agreed)) {
    return fail(head, AW_E_REFUSED, "not exactly one protocol was picked");
  }
  if (offered != NULL && !list_holds(aw_http_text(offered), agreed)) {
    return fail(head, AW_E_REFUSED,
                "a protocol was picked that we did not "
                "offer");
  }
  *protocol = agreed;
  return AW_OK;
}

int aw_http_check_response(aw_http_head *head, const char key[AW_HTTP_KEY_TEXT],
                           const char *offered, aw_http_span *protocol) {
  char accept[AW_HTTP_ACCEPT_TEXT];
  *protocol = (aw_http_span){NULL, 0};
  if (head->major != 1 || head->minor < 1) {
    return fail(head, AW_E_REFUSED, "HTTP/1.1 is needed");
  }
  if (head->status != 101) {
    return fail(head, AW_E_REFUSED, "the server did not switch protocols");
  }
  /* Section 4.1 item 2 of the answer: the one value, not among others. */
  if (count_named(head, "Upgrade") != 1 ||
      !aw_http_same(aw_http_find(head, "Upgrade"), "websocket")) {
    return fail(head, AW_E_REFUSED, "Upgrade header that is not websocket");
  }
  if (!aw_http_has_token(head, "Connection", "upgrade")) {
    return fail(head, AW_E_REFUSED, "Connection header without upgrade");
  }
  aw_http_make_accept(key, accept);
  if (count_named(head, "Sec-WebSocket-Accept") != 1 ||
      !aw_http_equal(aw_http_find(head, "Sec-WebSocket-Accept"),
                     (aw_http_span){accept, sizeof accept})) {
    return fail(head, AW_E_REFUSED, "Sec-WebSocket-Accept is wrong");
  }
  if (count_named(head, "Sec-WebSocket-Extensions") > 0) {
    return fail(head, AW_E_REFUSED, "an extension that we did not offer");
  }
  return check_protocol(head, offered, protocol);
}
