#include "aw_error.h"

const char *aw_error_code(int error) {
  switch (error) {
  case AW_OK:
    return "ok";
#define AW_ERROR_CODE(name, number, code, text)                                \
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
#define AW_ERROR_TEXT(name, number, code, text)                                \
  case number:                                                                 \
    return text;
    AW_ERROR_LIST(AW_ERROR_TEXT)
#undef AW_ERROR_TEXT
  default:
    return "unknown error";
  }
}
