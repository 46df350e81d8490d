#include "aw_sse.h"
#include "aw_error.h"

/* What a reader keeps of a burst between two events. */
#define KEEP_BYTES (16u << 10)

static const char byte_order_mark[3] = "\xEF\xBB\xBF";

void aw_sse_init(aw_sse *sse, const aw_mem *mem,
                 const aw_sse_options *options) {
  *sse = (aw_sse){.options = *options, .retry_ms = -1};
  if (sse->options.line_max == 0) {
    sse->options.line_max = AW_SSE_LINE_MAX;
  }
  if (sse->options.event_max == 0) {
    sse->options.event_max = AW_SSE_EVENT_MAX;
  }
  aw_buf_init(&sse->line, mem);
  aw_buf_init(&sse->data, mem);
  aw_buf_init(&sse->type, mem);
  aw_buf_init(&sse->id, mem);
}

void aw_sse_fini(aw_sse *sse) {
  aw_buf_fini(&sse->line);
  aw_buf_fini(&sse->data);
  aw_buf_fini(&sse->type);
  aw_buf_fini(&sse->id);
}

static bool has_room(const aw_sse *sse, size_t extra) {
  size_t held =
      aw_buf_len(&sse->data) + aw_buf_len(&sse->type) + aw_buf_len(&sse->id);
  return held <= sse->options.event_max &&
         extra <= sse->options.event_max - held;
}

static int add_data(aw_sse *sse, const char *value, size_t len) {
  if (!has_room(sse, len + 1)) {
    return AW_E_LIMIT;
  }
  int rc = aw_buf_append(&sse->data, value, len);
  return rc == AW_OK ? aw_buf_put(&sse->data, '\n') : rc;
}

static int set(aw_sse *sse, aw_buf *field, const char *value, size_t len) {
  aw_buf_consume(field, aw_buf_len(field));
  return has_room(sse, len) ? aw_buf_append(field, value, len) : AW_E_LIMIT;
}

static int set_id(aw_sse *sse, const char *value, size_t len) {
  bool has_nul = len > 0 && memchr(value, '\0', len) != NULL;
  return has_nul ? AW_OK : set(sse, &sse->id, value, len);
}

static int set_retry(aw_sse *sse, const char *value, size_t len) {
  int64_t ms = 0;
  for (size_t i = 0; i < len; i++) {
    if (value[i] < '0' || value[i] > '9') {
      return AW_OK;
    }
    ms = ms * 10 + (value[i] - '0');
    ms = ms < AW_SSE_RETRY_MAX ? ms : AW_SSE_RETRY_MAX;
  }
  if (len > 0) {
    sse->retry_ms = ms;
  }
  return AW_OK;
}

static bool is_named(const char *line, size_t len, const char *name) {
  return strlen(name) == len && memcmp(line, name, len) == 0;
}

/* A line that is neither empty nor a comment. */
static int take_field(aw_sse *sse, const char *line, size_t len) {
  const char *colon = memchr(line, ':', len);
  size_t name_len = colon != NULL ? (size_t)(colon - line) : len;
  size_t from = colon != NULL ? name_len + 1 : len;
  from += from < len && line[from] == ' ' ? 1 : 0;
  const char *value = line + from;
  size_t value_len = len - from;
  if (is_named(line, name_len, "data")) {
    return add_data(sse, value, value_len);
  } else if (is_named(line, name_len, "event")) {
    return set(sse, &sse->type, value, value_len);
  } else if (is_named(line, name_len, "id")) {
    return set_id(sse, value, value_len);
  } else if (is_named(line, name_len, "retry")) {
    return set_retry(sse, value, value_len);
  }
  return AW_OK;
}

static void drop_event(aw_sse *sse) {
  aw_buf_reset(&sse->data, KEEP_BYTES);
  aw_buf_reset(&sse->type, KEEP_BYTES);
  sse->has_given = false;
}

/* A buffer that nothing was ever written to has no bytes to point at. */
static const char *bytes_of(const aw_buf *buf) {
  return aw_buf_len(buf) > 0 ? aw_buf_bytes(buf) : "";
}

/* The empty line behind an event; AW_E_AGAIN when there was none. */
static int end_event(aw_sse *sse, aw_sse_event *event) {
  if (aw_buf_len(&sse->data) == 0) {
    drop_event(sse);
    return AW_E_AGAIN;
  }
  sse->has_given = true;
  *event = (aw_sse_event){.type = bytes_of(&sse->type),
                          .type_len = aw_buf_len(&sse->type),
                          .data = aw_buf_bytes(&sse->data),
                          .data_len = aw_buf_len(&sse->data) - 1,
                          .id = bytes_of(&sse->id),
                          .id_len = aw_buf_len(&sse->id),
                          .retry_ms = sse->retry_ms};
  return AW_OK;
}

/* AW_OK: an event. AW_E_AGAIN: go on. */
static int take_line(aw_sse *sse, const char *line, size_t len,
                     aw_sse_event *event) {
  if (len > sse->options.line_max && line[0] != ':') {
    return AW_E_LIMIT;
  }
  if (len == 0) {
    return end_event(sse, event);
  }
  int rc = line[0] != ':' ? take_field(sse, line, len) : AW_OK;
  return rc == AW_OK ? AW_E_AGAIN : rc;
}

/* The start of a line whose end has not come yet. */
static int keep(aw_sse *sse, const char *bytes, size_t len) {
  if (len == 0) {
    return AW_OK;
  }
  if (aw_buf_len(&sse->line) == 0 && bytes[0] == ':') {
    sse->comment = true;
  }
  if (sse->comment) {
    return AW_OK;
  }
  size_t held = aw_buf_len(&sse->line);
  if (held > sse->options.line_max || len > sse->options.line_max - held) {
    return AW_E_LIMIT;
  }
  return aw_buf_append(&sse->line, bytes, len);
}

static int end_line(aw_sse *sse, const char *rest, size_t len,
                    aw_sse_event *event) {
  if (sse->comment) {
    sse->comment = false;
    return AW_E_AGAIN;
  }
  if (aw_buf_len(&sse->line) == 0) {
    return take_line(sse, rest, len, event);
  }
  int rc = keep(sse, rest, len);
  if (rc == AW_OK) {
    rc =
        take_line(sse, aw_buf_bytes(&sse->line), aw_buf_len(&sse->line), event);
    aw_buf_reset(&sse->line, KEEP_BYTES);
  }
  return rc;
}

/* Skips what of a byte order mark is at the start of all. What only began like
 * one belongs to the first line. */
static int skip_mark(aw_sse *sse, const char *bytes, size_t len, size_t *used) {
  while (!sse->started && *used < len) {
    if (bytes[*used] == byte_order_mark[sse->mark]) {
      ++*used;
      sse->started = ++sse->mark == sizeof byte_order_mark;
    } else {
      sse->started = true;
      return keep(sse, byte_order_mark, sse->mark);
    }
  }
  return AW_OK;
}

static size_t find_end(const char *bytes, size_t from, size_t len) {
  while (from < len && bytes[from] != '\n' && bytes[from] != '\r') {
    from++;
  }
  return from;
}

static int next_event(aw_sse *sse, const char *bytes, size_t len, size_t *used,
                      aw_sse_event *event) {
  int rc = skip_mark(sse, bytes, len, used);
  while (rc == AW_OK && *used < len) {
    if (sse->after_cr) {
      sse->after_cr = false;
      if (bytes[*used] == '\n') {
        ++*used;
        continue;
      }
    }
    size_t from = *used, end = find_end(bytes, from, len);
    if (end == len) {
      *used = len;
      rc = keep(sse, bytes + from, len - from);
      break;
    }
    *used = end + 1;
    sse->after_cr = bytes[end] == '\r';
    rc = end_line(sse, bytes + from, end - from, event);
    if (rc == AW_OK) {
      return AW_OK;
    }
    rc = rc == AW_E_AGAIN ? AW_OK : rc;
  }
  return rc == AW_OK ? AW_E_AGAIN : rc;
}

int aw_sse_next(aw_sse *sse, const char *bytes, size_t len, size_t *used,
                aw_sse_event *event) {
  *used = 0;
  if (sse->error != AW_OK) {
    return sse->error;
  }
  if (sse->has_given) {
    drop_event(sse);
  }
  int rc = next_event(sse, bytes, len, used, event);
  if (rc != AW_OK && rc != AW_E_AGAIN) {
    sse->error = rc;
  }
  return rc;
}
