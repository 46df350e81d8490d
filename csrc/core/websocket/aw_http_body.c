#include "aw_http_body.h"
#include "aw_bytes.h"
#include "aw_error.h"
#include "aw_http_text.h"

/* Lines end in CR LF and nothing else: what stands in front of us may see
 * another end than we do. */
enum chunk_state {
  SIZE_BEGINS,
  SIZE,
  BLANK, /* behind the size, where only a semicolon may follow */
  EXTENSION,
  SIZE_ENDS, /* the LF */
  CONTENT,
  CONTENT_ENDS, /* the CR */
  CONTENT_ENDED,
  TRAILER_BEGINS,
  TRAILER_NAME,
  TRAILER_VALUE,
  TRAILER_ENDS, /* the LF */
  LAST_ENDS,    /* that of the empty line */
  WHOLE
};

static int refuse(aw_http_head *head, int status, const char *why) {
  head->why = why;
  return status;
}

static unsigned count_named(const aw_http_head *head, const char *name,
                            aw_http_span *last) {
  unsigned count = 0;
  for (unsigned i = 0; i < head->count; i++) {
    if (aw_http_same(head->headers[i].name, name)) {
      *last = head->headers[i].value;
      count++;
    }
  }
  return count;
}

/* False: not a number. What is more than can be counted is UINT64_MAX. */
static bool read_length(aw_http_span text, uint64_t *length) {
  *length = 0;
  for (size_t i = 0; i < text.len; i++) {
    unsigned digit = (unsigned char)text.bytes[i] - '0';
    if (digit > 9) {
      return false;
    }
    *length =
        *length > (UINT64_MAX - 9) / 10 ? UINT64_MAX : *length * 10 + digit;
  }
  return text.len > 0;
}

static void begin(aw_http_body *body, enum aw_http_framing framing,
                  uint64_t length) {
  *body = (aw_http_body){.framing = framing, .left = length, .why = ""};
}

static bool ends_in_chunked(aw_http_span list) {
  static const char chunked[] = "chunked";
  size_t len = sizeof chunked - 1;
  if (list.len <= len) {
    return false;
  }
  char before = list.bytes[list.len - len - 1];
  aw_http_span rest = {list.bytes + list.len - len, len};
  return (before == ',' || aw_http_is_blank(before)) &&
         aw_http_same(rest, chunked);
}

static int check_coding(aw_http_head *head, unsigned codings,
                        aw_http_span coding, unsigned lengths) {
  if (lengths > 0) {
    return refuse(head, 400, "both Content-Length and Transfer-Encoding");
  }
  if (head->major == 1 && head->minor < 1) {
    return refuse(head, 400, "Transfer-Encoding in HTTP/1.0");
  }
  if (codings == 1 && aw_http_same(coding, "chunked")) {
    return 0;
  }
  if (aw_http_same(coding, "chunked") || ends_in_chunked(coding)) {
    return refuse(head, 501, "of the transfer codings only chunked is known");
  }
  return refuse(head, 400, "Transfer-Encoding does not end in chunked");
}

int aw_http_begin_request_body(aw_http_body *body, aw_http_head *head) {
  aw_http_span length = {NULL, 0}, coding = {NULL, 0};
  unsigned lengths = count_named(head, "Content-Length", &length);
  unsigned codings = count_named(head, "Transfer-Encoding", &coding);
  uint64_t count = 0;
  begin(body, AW_HTTP_EMPTY, 0);
  if (codings > 0) {
    begin(body, AW_HTTP_CHUNKED, 0);
    return check_coding(head, codings, coding, lengths);
  }
  if (lengths > 1) {
    return refuse(head, 400, "more than one Content-Length header");
  }
  if (lengths == 1 && !read_length(length, &count)) {
    return refuse(head, 400, "malformed Content-Length header");
  }
  if (count == UINT64_MAX) {
    return refuse(head, 413, "the body is too long");
  }
  if (count > 0) {
    begin(body, AW_HTTP_COUNTED, count);
  }
  return 0;
}

void aw_http_begin_response_body(aw_http_body *body, const aw_http_head *head) {
  aw_http_span text = aw_http_find(head, "Content-Length");
  uint64_t length;
  if (head->status / 100 == 1 || head->status == 204 || head->status == 304) {
    begin(body, AW_HTTP_EMPTY, 0);
  } else if (aw_http_has_token(head, "Transfer-Encoding", "chunked")) {
    begin(body, AW_HTTP_CHUNKED, 0);
  } else if (read_length(text, &length)) {
    begin(body, length > 0 ? AW_HTTP_COUNTED : AW_HTTP_EMPTY, length);
  } else {
    begin(body, AW_HTTP_UNTIL_CLOSED, 0);
  }
}

bool aw_http_is_body_whole(const aw_http_body *body) {
  if (body->framing == AW_HTTP_CHUNKED) {
    return body->state == WHOLE;
  }
  return body->framing != AW_HTTP_UNTIL_CLOSED && body->left == 0;
}

static int fail(aw_http_body *body, int error, const char *why) {
  body->why = why;
  return error;
}

static int go(aw_http_body *body, enum chunk_state state) {
  body->state = state;
  return AW_OK;
}

static int take_end(aw_http_body *body, char c, char wanted,
                    enum chunk_state next) {
  return c == wanted ? go(body, next)
                     : fail(body, AW_E_INVALID, "malformed end of a chunk");
}

static int take_size(aw_http_body *body, char c) {
  int digit = aw_hex_value(c);
  if (digit >= 0) {
    if (body->left > UINT64_MAX >> 4) {
      return fail(body, AW_E_LIMIT, "a chunk is too long");
    }
    body->left = body->left << 4 | (unsigned)digit;
    return go(body, SIZE);
  }
  if (body->state == SIZE && (c == ';' || c == '\r')) {
    return go(body, c == ';' ? EXTENSION : SIZE_ENDS);
  }
  if (body->state == SIZE && aw_http_is_blank(c)) {
    return go(body, BLANK);
  }
  return fail(body, AW_E_INVALID, "malformed size of a chunk");
}

static int take_blank(aw_http_body *body, char c) {
  if (aw_http_is_blank(c) || c == ';') {
    return go(body, c == ';' ? EXTENSION : BLANK);
  }
  return fail(body, AW_E_INVALID, "malformed size of a chunk");
}

static int take_extension(aw_http_body *body, char c) {
  if (c == '\r') {
    return go(body, SIZE_ENDS);
  }
  if (!aw_http_is_text(c)) {
    return fail(body, AW_E_INVALID, "control character in a chunk's extension");
  }
  return ++body->extensions > AW_HTTP_EXTENSIONS_MAX
             ? fail(body, AW_E_LIMIT, "too many chunk extensions")
             : AW_OK;
}

/* The one empty chunk is the last; trailers follow. */
static int take_size_end(aw_http_body *body, char c) {
  body->line = 0;
  return take_end(body, c, '\n', body->left > 0 ? CONTENT : TRAILER_BEGINS);
}

static int take_trailer_name(aw_http_body *body, char c) {
  if (c == '\r' && body->state == TRAILER_BEGINS) {
    return go(body, LAST_ENDS);
  }
  if (c == ':' && body->state == TRAILER_NAME) {
    return go(body, TRAILER_VALUE);
  }
  return aw_http_is_token((aw_http_span){&c, 1})
             ? go(body, TRAILER_NAME)
             : fail(body, AW_E_INVALID, "malformed trailer");
}

static int take_trailer_value(aw_http_body *body, char c) {
  if (c == '\r') {
    return go(body, TRAILER_ENDS);
  }
  return aw_http_is_text(c)
             ? AW_OK
             : fail(body, AW_E_INVALID, "control character in a trailer");
}

static int take_trailer(aw_http_body *body, char c) {
  if (++body->trailers > AW_HTTP_TRAILERS_MAX) {
    return fail(body, AW_E_LIMIT, "the trailers are too long");
  }
  switch (body->state) {
  case TRAILER_VALUE:
    return take_trailer_value(body, c);
  case TRAILER_ENDS:
    return take_end(body, c, '\n', TRAILER_BEGINS);
  case LAST_ENDS:
    return take_end(body, c, '\n', WHOLE);
  default:
    return take_trailer_name(body, c);
  }
}

static int take_line(aw_http_body *body, char c) {
  if (++body->line > AW_HTTP_CHUNK_LINE_MAX) {
    return fail(body, AW_E_LIMIT, "a chunk's line is too long");
  }
  switch (body->state) {
  case BLANK:
    return take_blank(body, c);
  case EXTENSION:
    return take_extension(body, c);
  case SIZE_ENDS:
    return take_size_end(body, c);
  default:
    return take_size(body, c);
  }
}

/* One byte that is no content. */
static int take_frame(aw_http_body *body, char c) {
  switch (body->state) {
  case CONTENT_ENDS:
    return take_end(body, c, '\r', CONTENT_ENDED);
  case CONTENT_ENDED:
    return take_end(body, c, '\n', SIZE_BEGINS);
  default:
    return body->state < CONTENT ? take_line(body, c) : take_trailer(body, c);
  }
}

static size_t take_content(aw_http_body *body, const char *bytes, size_t len,
                           aw_http_span *content) {
  if (body->framing != AW_HTTP_UNTIL_CLOSED) {
    len = len < body->left ? len : (size_t)body->left;
    body->left -= len;
  }
  *content = (aw_http_span){bytes, len};
  return len;
}

int aw_http_take_body(aw_http_body *body, const char *bytes, size_t len,
                      size_t *used, aw_http_span *content) {
  size_t at = 0;
  *used = 0;
  *content = (aw_http_span){bytes, 0};
  if (body->framing != AW_HTTP_CHUNKED) {
    *used = take_content(body, bytes, len, content);
    return AW_OK;
  }
  while (at < len && body->state != CONTENT && body->state != WHOLE) {
    int rc = take_frame(body, bytes[at++]);
    if (rc != AW_OK) {
      return rc;
    }
  }
  if (at < len && body->state == CONTENT) {
    at += take_content(body, bytes + at, len - at, content);
    if (body->left == 0) {
      body->state = CONTENT_ENDS;
    }
  }
  *used = at;
  return AW_OK;
}
