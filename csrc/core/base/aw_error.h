/* Every error code of the C core: its number, its stable Lua string and its
 * sentence. One list serves C, the binding and the documentation. */
#ifndef AW_ERROR_H
#define AW_ERROR_H

/* X(NAME, number, "lua_code", "sentence") */
#define AW_ERROR_LIST(X)                                                       \
  X(NOMEM, -1, "no_memory", "out of memory")                                   \
  X(INVALID, -2, "invalid_argument", "invalid argument")                       \
  X(AGAIN, -3, "would_block", "nothing to do until something else happens")    \
  X(CLOSED, -4, "closed", "closed")                                            \
  X(LIMIT, -5, "limit", "a configured limit was reached")                      \
  X(EXISTS, -6, "exists", "already exists")                                    \
  X(NOT_FOUND, -7, "not_found", "not found")                                   \
  X(ENDED, -8, "ended", "the scope has ended")                                 \
  X(TIMEOUT, -9, "timeout", "timed out")                                       \
  X(IO, -10, "io_error", "input/output error")                                 \
  X(UNSUPPORTED, -11, "unsupported", "not supported")                          \
  X(REFUSED, -12, "refused", "refused by the peer")                            \
  X(LOST, -13, "lost", "the peer no longer has this scope")                    \
  X(UNDELIVERABLE, -14, "undeliverable",                                       \
    "each connection that carries this scope's next message ends")             \
  X(OVERLOAD, -15, "overloaded", "too much is held already; try again later")  \
  X(JSON_SYNTAX, -20, "json_syntax", "JSON syntax error")                      \
  X(JSON_TRUNCATED, -21, "json_truncated", "JSON text ends too early")         \
  X(JSON_TRAILING, -22, "json_trailing", "text after the JSON value")          \
  X(JSON_DEPTH, -23, "json_depth", "JSON nested too deeply")                   \
  X(JSON_UTF8, -24, "json_utf8", "JSON text is not valid UTF-8")               \
  X(JSON_ESCAPE, -25, "json_escape", "invalid escape in a JSON string")        \
  X(JSON_NUMBER, -26, "json_number", "invalid JSON number")                    \
  X(JSON_DUPLICATE, -27, "json_duplicate", "duplicate key")                    \
  X(JSON_VALUES, -28, "json_values", "too many values in JSON")                \
  X(VERSION_MISMATCH, -40, "version_mismatch", "unsupported protocol version") \
  X(INVALID_REQUEST, -41, "invalid_request", "invalid envelope")               \
  X(INVALID_SEQUENCE, -42, "invalid_sequence", "sequence must not be 0 here")  \
  X(DUPLICATE_SEQUENCE, -43, "duplicate_sequence", "sequence already seen")    \
  X(SEQUENCE_GAP, -44, "sequence_gap", "sequence is ahead of the expected")    \
  X(UNKNOWN_SCOPE, -45, "unknown_scope", "no such scope is open")              \
  X(WS_PROTOCOL, -60, "ws_protocol", "WebSocket protocol error (1002)")        \
  X(WS_UNSUPPORTED, -61, "ws_unsupported", "unsupported data (1003)")          \
  X(WS_UTF8, -62, "ws_utf8", "text message is not valid UTF-8 (1007)")         \
  X(WS_POLICY, -63, "ws_policy", "policy violation (1008)")                    \
  X(WS_TOO_BIG, -64, "ws_too_big", "message too big (1009)")                   \
  X(TLS, -80, "tls", "TLS failed")                                             \
  X(TLS_EXPIRED, -81, "tls_expired", "a certificate is not valid now")         \
  X(TLS_ISSUER, -82, "tls_unknown_issuer", "a certificate of nobody we trust") \
  X(TLS_NAME, -83, "tls_wrong_host", "a certificate for another host")         \
  X(TLS_REFUSED, -84, "tls_refused", "the peer refused the TLS handshake")     \
  X(TLS_NONE, -85, "not_tls", "the peer does not speak TLS")

enum aw_error {
  AW_OK = 0,
#define AW_ERROR_ENUM(name, number, code, text) AW_E_##name = number,
  AW_ERROR_LIST(AW_ERROR_ENUM)
#undef AW_ERROR_ENUM
};

/* The stable Lua string of a code ("sequence_gap"); "ok" for 0 and
 * "unknown_error" for a number that is no code. Static storage. */
const char *aw_error_code(int error);

/* The sentence of a code. Static storage. */
const char *aw_error_text(int error);

#endif
