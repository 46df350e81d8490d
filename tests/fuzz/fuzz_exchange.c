/* Random clients and owners over arrival and exchange (tests/net/
 * exchange_world.h). */
#include "exchange_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  exchange_world_run(data, len);
  return 0;
}
