/* The system's time of day. What elapses is the loop's matter. */
#ifndef AW_OS_CLOCK_H
#define AW_OS_CLOCK_H

#include <stdint.h>

#pragma GCC visibility push(hidden)

/* Milliseconds since 1970. The cheap one may be some milliseconds behind. */
int64_t aw_os_wall_ms(void);
int64_t aw_os_wall_ms_cheap(void);

#pragma GCC visibility pop

#endif
