#include "aw_mux_hello.h"
#include "aw_bytes.h"
#include "aw_error.h"
#include "aw_mux_limits.h"
#include "aw_mux_link_text.h"
#include <string.h>

void aw_hello_init(aw_hello *hello, const aw_mem *mem, size_t scopes_max) {
  *hello = (aw_hello){.mem = mem, .scopes_max = scopes_max};
  aw_json_tape_init(&hello->tape, mem);
  hello->tape.max = AW_JSON_VALUES;
}

void aw_hello_fini(aw_hello *hello) {
  aw_json_tape_fini(&hello->tape);
  aw_mem_free(hello->mem, hello->scopes);
  hello->scopes = NULL;
  hello->count = hello->size = 0;
}

bool aw_hello_is(const char *text, size_t len) {
  static const char start[] = "{\"type\":\"hello\",\"connection_id\":";
  return len >= sizeof start - 1 && memcmp(text, start, sizeof start - 1) == 0;
}

/* Lower case alone (docs/wire.md section 7). */
static int hex_digit(char c) {
  return c >= 'A' && c <= 'F' ? -1 : aw_hex_value(c);
}

static bool read_hex(const char *text, size_t len, uint8_t *out, size_t size) {
  if (len != 2 * size) {
    return false;
  }
  for (size_t i = 0; i < size; i++) {
    int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
    if (high < 0 || low < 0) {
      return false;
    }
    out[i] = (uint8_t)(high << 4 | low);
  }
  return true;
}

static int add_scope(aw_hello *hello, const aw_hello_scope *scope) {
  if (hello->count == hello->scopes_max) {
    return AW_E_LIMIT;
  }
  if (hello->count == hello->size) {
    size_t size = hello->size == 0 ? 16 : 2 * hello->size;
    void *block =
        aw_mem_realloc(hello->mem, hello->scopes, size * sizeof *scope);
    if (block == NULL) {
      return AW_E_NOMEM;
    }
    hello->scopes = block;
    hello->size = size;
  }
  hello->scopes[hello->count++] = *scope;
  return AW_OK;
}

static int read_scopes(aw_hello *hello, const mux_link_reader *in) {
  mux_link_list list;
  if (!mux_link_list_open(in, "scopes", &list)) {
    return AW_E_REFUSED;
  }
  for (unsigned row = 0; mux_link_list_next(&list); row++) {
    aw_hello_scope scope = {.received = 0};
    if (row == AW_HELLO_PAGE ||
        !mux_link_item_scope(&list, &scope.kind, &scope.id) ||
        !mux_link_item_number(&list, 2, &scope.received) ||
        !mux_link_item_number(&list, 3, &scope.limit.sequence) ||
        !mux_link_item_number(&list, 4, &scope.limit.bytes) ||
        !mux_link_item_number(&list, 5, &scope.sent_first) ||
        !mux_link_item_number(&list, 6, &scope.sent_last)) {
      return AW_E_REFUSED;
    }
    size_t len = 0;
    const char *birth = mux_link_item_string(&list, 7, &len);
    if (birth != NULL &&
        aw_uuid_parse(&scope.opening_id, birth, len) != AW_OK) {
      return AW_E_REFUSED;
    }
    int rc = add_scope(hello, &scope);
    if (rc != AW_OK) {
      return rc;
    }
  }
  return AW_OK;
}

/* What may be absent; what is there has to be right. */
static int read_terms(aw_hello *hello, const mux_link_reader *in,
                      const char **why) {
  size_t len = 0;
  hello->max_inbound_bytes = AW_MUX_INBOUND_BYTES;
  hello->attempt = 0;
  *why = "hello: a member is not what it has to be";
  if (!mux_link_may_number(in, "max_inbound_bytes",
                           &hello->max_inbound_bytes) ||
      !mux_link_may_number(in, "attempt", &hello->attempt) ||
      !mux_limits_read(in, &hello->limits)) {
    return AW_E_REFUSED;
  }
  if (mux_link_has(in, "epoch")) {
    const char *epoch = mux_link_string(in, "epoch", &len);
    if (epoch == NULL || len > AW_EPOCH_TEXT) {
      return AW_E_REFUSED;
    }
    memcpy(hello->epoch, epoch, len);
    hello->epoch[len] = '\0';
  }
  return AW_OK;
}

/* The first page names the session; later ones have to name the same. */
static int read_identity(aw_hello *hello, const aw_envelope *envelope,
                         const mux_link_reader *in, const char **why) {
  uint8_t key[AW_KEY_BYTES];
  size_t len = 0;
  const char *text = mux_link_string(in, "key", &len);
  if (text == NULL || !read_hex(text, len, key, sizeof key)) {
    *why = "hello: key is not 32 hex digits";
    return AW_E_REFUSED;
  }
  if (hello->begun && (!aw_uuid_equal(&hello->connection_id, &envelope->id) ||
                       memcmp(hello->key, key, sizeof key) != 0)) {
    *why = "hello: pages of different sessions";
    return AW_E_REFUSED;
  }
  hello->begun = true;
  hello->connection_id = envelope->id;
  memcpy(hello->key, key, sizeof key);
  return read_terms(hello, in, why);
}

int aw_hello_read(aw_hello *hello, char *text, size_t len, const char **why) {
  aw_envelope envelope;
  aw_envelope_error error;
  int rc = aw_envelope_read(&envelope, &hello->tape, text, len, AW_JSON_DEPTH,
                            &error);
  if (rc != AW_OK) {
    *why = error.what;
    return rc == AW_E_NOMEM ? rc : AW_E_REFUSED;
  }
  if (envelope.kind != AW_KIND_LINK || envelope.type_len != 5 ||
      memcmp(envelope.type, "hello", 5) != 0) {
    *why = "the first message of agentwire.v1 is a hello";
    return AW_E_REFUSED;
  }
  mux_link_reader in = {hello->tape.tokens, envelope.payload, text};
  rc = read_identity(hello, &envelope, &in, why);
  if (rc != AW_OK) {
    return rc;
  }
  *why = "hello: malformed scopes";
  rc = read_scopes(hello, &in);
  if (rc == AW_E_LIMIT) {
    *why = "hello: more scopes than a session may have";
  }
  if (rc != AW_OK) {
    return rc;
  }
  *why = NULL;
  return mux_link_true(&in, "more") ? AW_E_AGAIN : AW_OK;
}
