#include "aw_lines.h"
#include "aw_error.h"

/* What stays allocated after a long line. */
#define KEEP_BYTES (64u << 10)

void aw_lines_init(aw_lines *lines, const aw_mem *mem, size_t max) {
  *lines = (aw_lines){.max = max};
  aw_buf_init(&lines->partial, mem);
}

void aw_lines_fini(aw_lines *lines) {
  aw_buf_fini(&lines->partial);
}

static void strip_cr(aw_line *line) {
  if (line->len > 0 && line->bytes[line->len - 1] == '\r') {
    line->len--;
  }
}

/* Of a line that is too long only the start is kept. */
static void skip(aw_lines *lines, const char *bytes, size_t len) {
  size_t room = sizeof lines->head - lines->head_len;
  size_t kept = len < room ? len : room;
  memcpy(lines->head + lines->head_len, bytes, kept);
  lines->head_len += kept;
  lines->skipped += len;
}

static void begin_skipping(aw_lines *lines, bool told) {
  lines->skipping = true;
  lines->told = told;
  lines->head_len = 0;
  lines->skipped = 0;
  if (aw_buf_len(&lines->partial) > 0) {
    skip(lines, aw_buf_bytes(&lines->partial), aw_buf_len(&lines->partial));
  }
  aw_buf_reset(&lines->partial, 0);
}

static int end_skipping(aw_lines *lines, const char *bytes, size_t len,
                        aw_line *line) {
  skip(lines, bytes, len);
  lines->skipping = false;
  *line = (aw_line){lines->head, lines->head_len, lines->skipped};
  return lines->told ? AW_E_AGAIN : AW_E_LIMIT;
}

/* The end of a line did not come: keep what there is, as long as it may still
 * become a legal line (one byte more may be the CR). */
static int keep_partial(aw_lines *lines, const char *bytes, size_t len) {
  if (len == 0) {
    return AW_E_AGAIN;
  }
  if (!lines->skipping && len <= lines->max + 1 - aw_buf_len(&lines->partial)) {
    if (aw_buf_append(&lines->partial, bytes, len) == AW_OK) {
      return AW_E_AGAIN;
    }
    begin_skipping(lines, true);
    return AW_E_NOMEM;
  }
  if (!lines->skipping) {
    begin_skipping(lines, false);
  }
  skip(lines, bytes, len);
  return AW_E_AGAIN;
}

/* bytes[0 .. len) ends a line. 0, AW_E_LIMIT, AW_E_NOMEM, or AW_E_AGAIN when
 * there is nothing to give. */
static int end_line(aw_lines *lines, char *bytes, size_t len, aw_line *line) {
  if (lines->skipping) {
    return end_skipping(lines, bytes, len, line);
  }
  *line = (aw_line){bytes, len, 0};
  if (aw_buf_len(&lines->partial) > 0) {
    /* Above this no CR helps; and nothing that long is stored. */
    if (len > lines->max + 1 - aw_buf_len(&lines->partial)) {
      begin_skipping(lines, false);
      return end_skipping(lines, bytes, len, line);
    }
    lines->given = true;
    if (aw_buf_append(&lines->partial, bytes, len) != AW_OK) {
      return AW_E_NOMEM;
    }
    line->bytes = aw_buf_bytes(&lines->partial);
    line->len = aw_buf_len(&lines->partial);
  }
  strip_cr(line);
  if (line->len > lines->max) {
    line->whole = line->len;
    line->len = line->len < AW_LINE_HEAD_MAX ? line->len : AW_LINE_HEAD_MAX;
    return AW_E_LIMIT;
  }
  return line->len > 0 ? AW_OK : AW_E_AGAIN;
}

static void drop_given(aw_lines *lines) {
  if (lines->given) {
    lines->given = false;
    aw_buf_reset(&lines->partial, KEEP_BYTES);
  }
}

int aw_lines_next(aw_lines *lines, char *bytes, size_t len, size_t *used,
                  aw_line *line) {
  size_t at = 0;
  int rc;
  for (;;) {
    char *end = at < len ? memchr(bytes + at, '\n', len - at) : NULL;
    drop_given(lines);
    if (end == NULL) {
      *used = len;
      return keep_partial(lines, bytes + at, len - at);
    }
    rc = end_line(lines, bytes + at, (size_t)(end - bytes) - at, line);
    at = (size_t)(end - bytes) + 1;
    if (rc != AW_E_AGAIN) {
      *used = at;
      return rc;
    }
  }
}

int aw_lines_last(aw_lines *lines, aw_line *line) {
  char none;
  drop_given(lines);
  return end_line(lines, &none, 0, line);
}
