/* Every error code of the C core: its number, its stable Lua string and its
 * sentence. One list serves C, the binding and the documentation. */
#ifndef AW_ERROR_H
#define AW_ERROR_H

#pragma GCC visibility push(hidden)

/* How far a failure may reach: what is over at most when its code is told. The
 * function that tells it says so where less is. */
enum aw_reach {
  AW_REACH_CALL,      /* what was asked for; nothing else has changed */
  AW_REACH_MESSAGE,   /* one message was not taken; its scope goes on */
  AW_REACH_SCOPE,     /* the scope; the connection goes on */
  AW_REACH_CONNECTION /* the connection; an extended session may come back */
};

/* X(NAME, number, reach, "lua_code", "sentence") */
#define AW_ERROR_LIST(X)                                                       \
  X(NOMEM, -1, CONNECTION, "no_memory", "out of memory")                       \
  X(INVALID, -2, CALL, "invalid_argument", "invalid argument")                 \
  X(AGAIN, -3, CALL, "would_block",                                            \
    "nothing to do until something else happens")                              \
  X(CLOSED, -4, CONNECTION, "closed", "closed")                                \
  X(LIMIT, -5, CONNECTION, "limit", "a configured limit was reached")          \
  X(EXISTS, -6, CALL, "exists", "already exists")                              \
  X(NOT_FOUND, -7, CONNECTION, "not_found", "not found")                       \
  X(ENDED, -8, SCOPE, "ended", "the scope has ended")                          \
  X(TIMEOUT, -9, CONNECTION, "timeout", "timed out")                           \
  X(IO, -10, CONNECTION, "io_error", "input/output error")                     \
  X(UNSUPPORTED, -11, CALL, "unsupported", "not supported")                    \
  X(REFUSED, -12, CONNECTION, "refused", "refused by the peer")                \
  X(LOST, -13, SCOPE, "lost", "the peer no longer has this scope")             \
  X(UNDELIVERABLE, -14, SCOPE, "undeliverable",                                \
    "each connection that carries this scope's next message ends")             \
  X(OVERLOAD, -15, CONNECTION, "overloaded",                                   \
    "too much is held already; try again later")                               \
  X(JSON_SYNTAX, -20, MESSAGE, "json_syntax", "JSON syntax error")             \
  X(JSON_TRUNCATED, -21, MESSAGE, "json_truncated",                            \
    "JSON text ends too early")                                                \
  X(JSON_TRAILING, -22, MESSAGE, "json_trailing", "text after the JSON value") \
  X(JSON_DEPTH, -23, MESSAGE, "json_depth", "JSON nested too deeply")          \
  X(JSON_UTF8, -24, MESSAGE, "json_utf8", "JSON text is not valid UTF-8")      \
  X(JSON_ESCAPE, -25, MESSAGE, "json_escape",                                  \
    "invalid escape in a JSON string")                                         \
  X(JSON_NUMBER, -26, MESSAGE, "json_number", "invalid JSON number")           \
  X(JSON_DUPLICATE, -27, MESSAGE, "json_duplicate", "duplicate key")           \
  X(JSON_VALUES, -28, MESSAGE, "json_values", "too many values in JSON")       \
  X(VERSION_MISMATCH, -40, MESSAGE, "version_mismatch",                        \
    "unsupported protocol version")                                            \
  X(INVALID_REQUEST, -41, MESSAGE, "invalid_request", "invalid envelope")      \
  X(INVALID_SEQUENCE, -42, MESSAGE, "invalid_sequence",                        \
    "sequence must not be 0 here")                                             \
  X(DUPLICATE_SEQUENCE, -43, MESSAGE, "duplicate_sequence",                    \
    "sequence already seen")                                                   \
  X(SEQUENCE_GAP, -44, CONNECTION, "sequence_gap",                             \
    "sequence is ahead of the expected")                                       \
  X(UNKNOWN_SCOPE, -45, MESSAGE, "unknown_scope", "no such scope is open")     \
  X(WS_PROTOCOL, -60, CONNECTION, "ws_protocol",                               \
    "WebSocket protocol error (1002)")                                         \
  X(WS_UNSUPPORTED, -61, CONNECTION, "ws_unsupported",                         \
    "unsupported data (1003)")                                                 \
  X(WS_UTF8, -62, CONNECTION, "ws_utf8",                                       \
    "text message is not valid UTF-8 (1007)")                                  \
  X(WS_POLICY, -63, CONNECTION, "ws_policy", "policy violation (1008)")        \
  X(WS_TOO_BIG, -64, CONNECTION, "ws_too_big", "message too big (1009)")       \
  X(TLS, -80, CONNECTION, "tls", "TLS failed")                                 \
  X(TLS_EXPIRED, -81, CONNECTION, "tls_expired",                               \
    "a certificate is not valid now")                                          \
  X(TLS_ISSUER, -82, CONNECTION, "tls_unknown_issuer",                         \
    "a certificate of nobody we trust")                                        \
  X(TLS_NAME, -83, CONNECTION, "tls_wrong_host",                               \
    "a certificate for another host")                                          \
  X(TLS_REFUSED, -84, CONNECTION, "tls_refused",                               \
    "the peer refused the TLS handshake")                                      \
  X(TLS_NONE, -85, CONNECTION, "not_tls", "the peer does not speak TLS")       \
  X(RESOLVE, -100, CALL, "resolve", "the host's name is not known")            \
  X(CONNECT, -101, CALL, "connect", "no connection to the host")               \
  X(TIMEOUT_CONNECT, -102, CALL, "timeout_connect", "no connection in time")   \
  X(TIMEOUT_FIRST_BYTE, -103, CALL, "timeout_first_byte", "no answer in time") \
  X(TIMEOUT_IDLE, -104, CALL, "timeout_idle", "the answer has stopped coming") \
  X(HTTP_PROTOCOL, -105, CALL, "http_protocol", "the answer is not HTTP")      \
  X(INCOMPLETE, -106, CALL, "incomplete", "the answer ended too early")

enum aw_error {
  AW_OK = 0,
#define AW_ERROR_ENUM(name, number, reach, code, text) AW_E_##name = number,
  AW_ERROR_LIST(AW_ERROR_ENUM)
#undef AW_ERROR_ENUM
};

/* The stable Lua string of a code ("sequence_gap"); "ok" for 0 and
 * "unknown_error" for a number that is no code. Static storage. */
const char *aw_error_code(int error);

/* The sentence of a code. Static storage. */
const char *aw_error_text(int error);

/* AW_REACH_CALL for 0; what is no code may reach as far as any. */
enum aw_reach aw_error_reach(int error);

/* "call", "message", "scope", "connection". Static storage. */
const char *aw_reach_name(enum aw_reach reach);

#pragma GCC visibility pop

#endif
