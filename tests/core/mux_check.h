/* What is said in words at the fields and queues of aw_mux and aw_channel, as a
 * check: for walks, fuzz targets and whoever has loaded a mux. */
#ifndef MUX_CHECK_H
#define MUX_CHECK_H

#include "aw_mux_impl.h"

/* What does not hold, or NULL. Static. */
const char *mux_find_flaw(const aw_mux *mux);

#endif
