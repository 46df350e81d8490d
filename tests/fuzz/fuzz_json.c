/* A text that scans has every token inside it, nested as it says, and every
 * string survives being unescaped, written and scanned again. */
#include "aw_json.h"
#include <stdlib.h>

static void demand(int holds) {
  if (!holds) {
    abort();
  }
}

static void check_string(const aw_json_token *token, const char *text) {
  char *bytes = malloc(token->len + 1u), *again = malloc(token->len + 1u);
  aw_json_error error;
  aw_json_tape tape;
  size_t len;
  aw_buf out;

  demand(bytes != NULL && again != NULL);
  len = aw_json_unescape(token, text, bytes);
  demand(len <= token->len && aw_utf8_valid(bytes, len));
  demand(aw_json_equal(token, text, bytes, len));
  aw_buf_init(&out, aw_mem_default());
  aw_json_tape_init(&tape, aw_mem_default());
  demand(aw_json_put_string(&out, bytes, len) == 0);
  demand(aw_json_scan(&tape, aw_buf_bytes(&out), aw_buf_len(&out), 0, &error) ==
         0);
  again = realloc(again, tape.tokens[0].len + 1u);
  demand(again != NULL);
  demand(aw_json_unescape(&tape.tokens[0], aw_buf_bytes(&out), again) == len);
  demand(memcmp(again, bytes, len) == 0);
  aw_json_tape_fini(&tape);
  aw_buf_fini(&out);
  free(again);
  free(bytes);
}

static void check_token(const aw_json_tape *tape, uint32_t i, const char *text,
                        size_t len) {
  const aw_json_token *token = &tape->tokens[i];
  int64_t integer;

  demand((uint64_t)token->start + token->len <= len);
  demand(token->next > i && token->next <= tape->count);
  switch (token->kind) {
  case AW_JSON_STRING:
    demand(token->next == i + 1);
    check_string(token, text);
    break;
  case AW_JSON_INTEGER:
    aw_json_int64(token, text, &integer);
    aw_json_double(token, text);
    break;
  case AW_JSON_REAL:
    aw_json_double(token, text);
    break;
  case AW_JSON_OBJECT:
    demand(aw_json_member(tape->tokens, i, text, "type", 4) < token->next);
    break;
  default:
    break;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  char *text = malloc(len > 0 ? len : 1);
  aw_json_error error;
  aw_json_tape tape;

  demand(text != NULL);
  memcpy(text, data, len);
  aw_json_tape_init(&tape, aw_mem_default());
  if (aw_json_scan(&tape, text, len, AW_JSON_DEPTH, &error) == 0) {
    demand(tape.count > 0 && tape.tokens[0].next == tape.count);
    for (uint32_t i = 0; i < tape.count; i++) {
      check_token(&tape, i, text, len);
    }
  } else {
    demand(error.code < 0 && error.offset <= len && error.what != NULL);
  }
  aw_json_tape_fini(&tape);
  free(text);
  return 0;
}
