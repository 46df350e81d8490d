#include "aw_ready.h"
#include "aw_error.h"
#include "aw_json.h"
#include <string.h>

/* Nothing in a ready line is deep; unknown keys may be a little. */
#define READY_DEPTH 32
#define EXTENSION "agentwire.v1"

const char *aw_ready_line(bool extended) {
  return extended ? "{\"type\":\"ready\",\"protocol_version\":\"1\","
                    "\"extensions\":[\"" EXTENSION "\"]}"
                  : "{\"type\":\"ready\",\"protocol_version\":\"1\"}";
}

/* aw_json_member's 0 stands for absent; no member has index 0. */
static const aw_json_token *find(const aw_json_tape *tape, const char *text,
                                 const char *key) {
  uint32_t at = aw_json_member(tape->tokens, 0, text, key, strlen(key));
  return at != 0 ? &tape->tokens[at] : NULL;
}

static bool is_string(const aw_json_token *token, const char *text,
                      const char *value) {
  return token != NULL && token->kind == AW_JSON_STRING &&
         aw_json_equal(token, text, value, strlen(value));
}

static bool is_version_1(const aw_json_token *token, const char *text) {
  int64_t number;
  if (token == NULL || token->kind == AW_JSON_NULL) {
    return true;
  }
  if (token->kind == AW_JSON_INTEGER) {
    return aw_json_int64(token, text, &number) == AW_OK && number == 1;
  }
  return is_string(token, text, "1");
}

static bool has_extension(const aw_json_tape *tape, const char *text) {
  const aw_json_token *list = find(tape, text, "extensions");
  if (list == NULL || list->kind != AW_JSON_ARRAY) {
    return false;
  }
  uint32_t end = list->next;
  for (uint32_t at = (uint32_t)(list - tape->tokens) + 1; at < end;
       at = tape->tokens[at].next) {
    if (is_string(&tape->tokens[at], text, EXTENSION)) {
      return true;
    }
  }
  return false;
}

static int read_ready(const aw_json_tape *tape, const char *text,
                      bool *extended) {
  if (tape->tokens[0].kind != AW_JSON_OBJECT ||
      !is_string(find(tape, text, "type"), text, "ready")) {
    return AW_E_INVALID_REQUEST;
  }
  if (!is_version_1(find(tape, text, "protocol_version"), text)) {
    return AW_E_VERSION_MISMATCH;
  }
  *extended = has_extension(tape, text);
  return AW_OK;
}

int aw_ready_parse(const aw_mem *mem, const char *bytes, size_t len,
                   bool *extended) {
  aw_json_tape tape;
  aw_json_error error;
  *extended = false;
  aw_json_tape_init(&tape, mem);
  int rc = aw_json_scan(&tape, bytes, len, READY_DEPTH, &error);
  if (rc == AW_OK) {
    rc = read_ready(&tape, bytes, extended);
  } else if (rc != AW_E_NOMEM) {
    rc = AW_E_INVALID_REQUEST;
  }
  aw_json_tape_fini(&tape);
  return rc;
}
