#include "aw_os_clock.h"
#include <time.h>

#if defined(CLOCK_REALTIME_COARSE)
#define CHEAP_CLOCK CLOCK_REALTIME_COARSE
#elif defined(CLOCK_REALTIME_FAST)
#define CHEAP_CLOCK CLOCK_REALTIME_FAST
#else
#define CHEAP_CLOCK CLOCK_REALTIME
#endif

static int64_t read_clock(clockid_t which) {
  struct timespec now;
  clock_gettime(which, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t aw_os_wall_ms(void) {
  return read_clock(CLOCK_REALTIME);
}

int64_t aw_os_wall_ms_cheap(void) {
  return read_clock(CHEAP_CLOCK);
}
