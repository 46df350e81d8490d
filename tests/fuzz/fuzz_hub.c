/* Random peers over hub, connection and socket (tests/net/hub_world.h). */
#include "hub_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  hub_world_run(data, len);
  return 0;
}
