#include "random_lives.h"
#include "aw_uuid.h"
#include <time.h>

#define LIVES 4000
#define STEPS 150

void random_lives(void (*run)(const uint8_t *bytes, size_t len), uint8_t seed,
                  unsigned seconds) {
  const uint8_t seeds[32] = {seed};
  time_t began = time(NULL);
  aw_random random;

  aw_random_seed(&random, seeds);
  for (int life = 0; life < LIVES && time(NULL) - began < (time_t)seconds;
       life++) {
    uint8_t bytes[2 * STEPS];

    for (size_t i = 0; i < sizeof bytes; i++) {
      bytes[i] = (uint8_t)(aw_random_next(&random) >> 56);
    }
    run(bytes, sizeof bytes);
  }
}
