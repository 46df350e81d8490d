#include "aw_trace.h"
#include "aw_error.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define VALUE_MAX 32 /* characters of a payload value that are shown */

/* The members that are worth reading and never hold a credential; whatever is
 * not in this list is not printed. */
static const char *const shown[] = {
    "content_index", "delta",      "name",         "tool_name", "reason",
    "code",          "error_code", "message",      "status",    "epoch",
    "generation",    "resumed",    "tool_call_id", "is_error",  "ping_id",
};

typedef struct line {
  char *out;
  size_t size, len;
} line;

static void put(line *l, const char *format, ...) {
  if (l->len + 1 >= l->size) {
    return;
  }
  va_list args;
  va_start(args, format);
  int n = vsnprintf(l->out + l->len, l->size - l->len, format, args);
  va_end(args);
  if (n > 0) {
    l->len += (size_t)n;
    if (l->len >= l->size) {
      l->len = l->size - 1;
    }
  }
}

static void put_members(line *l, const aw_json_tape *tape, uint32_t object,
                        const char *text) {
  for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) {
    uint32_t at =
        aw_json_member(tape->tokens, object, text, shown[i], strlen(shown[i]));
    const aw_json_token *token = &tape->tokens[at];
    if (at == 0 || token->kind == AW_JSON_ARRAY ||
        token->kind == AW_JSON_OBJECT) {
      continue;
    }
    bool cut = token->len > VALUE_MAX;
    put(l, " %s=%.*s%s", shown[i], (int)(cut ? VALUE_MAX : token->len),
        text + token->start, cut ? "..." : "");
  }
}

/* Works on a copy, because reading unescapes in place. */
static void put_envelope(line *l, char *text, size_t len) {
  aw_json_tape tape;
  aw_envelope envelope;
  aw_envelope_error error;
  aw_json_tape_init(&tape, aw_mem_default());
  int rc =
      aw_envelope_read(&envelope, &tape, text, len, AW_JSON_DEPTH_MAX, &error);
  if (rc != AW_OK) {
    put(l, "unreadable: %s", error.what);
  } else {
    char id[AW_UUID_TEXT];
    aw_uuid_format(&envelope.id, id);
    put(l, "%s %.8s #%llu %.*s", aw_kind_name(envelope.kind), id,
        (unsigned long long)envelope.sequence, (int)envelope.type_len,
        envelope.type);
    put_members(l, &tape, envelope.payload, text);
  }
  aw_json_tape_fini(&tape);
}

size_t aw_trace_format(const aw_trace *trace, char *out, size_t size) {
  line l = {out, size, 0};
  char *copy = aw_mem_alloc(aw_mem_default(), trace->len + 1);
  out[0] = '\0';
  put(&l, "%s %6zuB ", trace->sent ? "->" : "<-", trace->len);
  if (copy != NULL) {
    memcpy(copy, trace->text, trace->len);
    put_envelope(&l, copy, trace->len);
    aw_mem_free(aw_mem_default(), copy);
  }
  /* A value may be cut inside a character, and control bytes stay escaped. */
  for (size_t i = 0; i < l.len; i++) {
    if ((unsigned char)out[i] < 0x20) {
      out[i] = '?';
    }
  }
  return l.len;
}

void aw_trace_print(const aw_trace *trace) {
  char text[AW_TRACE_LINE];
  aw_trace_format(trace, text, sizeof text);
  fprintf(stderr, "agentwire %s\n", text);
}
