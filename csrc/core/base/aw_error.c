#include "aw_error.h"

const char *aw_error_code(int error) {
  switch (error) {
  case AW_OK:
    return "ok";
#define AW_ERROR_CODE(name, number, reach, code, text)                         \
  case number:                                                                 \
    return code;
    AW_ERROR_LIST(AW_ERROR_CODE)
#undef AW_ERROR_CODE
  default:
    return "unknown_error";
  }
}

const char *aw_error_text(int error) {
  switch (error) {
  case AW_OK:
    return "no error";
#define AW_ERROR_TEXT(name, number, reach, code, text)                         \
  case number:                                                                 \
    return text;
    AW_ERROR_LIST(AW_ERROR_TEXT)
#undef AW_ERROR_TEXT
  default:
    return "unknown error";
  }
}

enum aw_reach aw_error_reach(int error) {
  switch (error) {
  case AW_OK:
    return AW_REACH_CALL;
#define AW_ERROR_REACH(name, number, reach, code, text)                        \
  case number:                                                                 \
    return AW_REACH_##reach;
    AW_ERROR_LIST(AW_ERROR_REACH)
#undef AW_ERROR_REACH
  default:
    return AW_REACH_CONNECTION;
  }
}

const char *aw_reach_name(enum aw_reach reach) {
  static const char *const names[] = {"call", "message", "scope", "connection"};
  return names[reach];
}
