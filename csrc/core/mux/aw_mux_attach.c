#include "aw_mux_flow.h"
#include "aw_mux_limits.h"
#include "aw_mux_resume.h"
#include "aw_mux_scope.h"
#include "aw_mux_wake.h"

static void end_all(aw_mux *mux, int error) {
  enum aw_channel_state state =
      error == AW_E_LOST ? AW_CHANNEL_LOST : AW_CHANNEL_CLOSED;
  size_t cursor = 0;
  aw_channel *channel = NULL;
  aw_queue released;
  aw_queue_init(&released);
  while ((channel = aw_map_next(&mux->channels, &cursor)) != NULL) {
    mux_end_channel(channel, state, error);
    mux_drop_log(channel);
    if (channel->hold == AW_CHANNEL_RELEASED) {
      aw_queue_push(&released, &channel->writer_node);
    }
  }
  /* Settling may remove from the map, so it has to wait for the walk. */
  aw_node *node = NULL;
  while ((node = aw_queue_pop(&released)) != NULL) {
    mux_wind_down(AW_CONTAINER(node, aw_channel, writer_node));
  }
}

/* Base peers cannot be told that a scope was let go of: what was released
 * while it was open who would come is over now. */
static void end_released(aw_mux *mux) {
  size_t cursor = 0;
  aw_channel *channel = NULL;
  aw_queue written;
  aw_queue_init(&written);
  while ((channel = aw_map_next(&mux->channels, &cursor)) != NULL) {
    if (channel->hold == AW_CHANNEL_RELEASED &&
        channel->state == AW_CHANNEL_OPEN) {
      mux_end_channel(channel, AW_CHANNEL_CLOSED, AW_E_CLOSED);
      if (aw_mux_log_is_empty(&channel->log)) {
        aw_queue_push(&written, &channel->writer_node);
      }
    }
  }
  for (aw_node *node = NULL; (node = aw_queue_pop(&written)) != NULL;) {
    mux_wind_down(AW_CONTAINER(node, aw_channel, writer_node));
  }
}

int aw_mux_attach(aw_mux *mux, bool extended, uint32_t *generation) {
  if (mux->link == AW_LINK_ABANDONED) {
    return AW_E_CLOSED;
  }
  if (!extended && mux->extended) {
    end_all(mux, AW_E_LOST); /* a base peer knows nothing of our session */
    while (aw_queue_pop(&mux->flows) != NULL) {
    }
  }
  mux_begin_connection(mux, extended);
  *generation = mux->generation;
  if (!extended) {
    mux->link = AW_LINK_BASE;
    mux_limits_of_base(mux);
    end_released(mux);
    return AW_OK;
  }
  return mux_say_hello(mux);
}

void aw_mux_detach(aw_mux *mux, uint32_t generation, int error) {
  if (generation != mux->generation || !mux_is_attached(mux)) {
    return;
  }
  mux->link = AW_LINK_DETACHED;
  mux_reset_connection(mux);
  if (!mux->extended) {
    end_all(mux, error);
  }
  mux_wake_senders(mux); /* a log may take more than the credit did */
}

void aw_mux_abandon(aw_mux *mux, int error) {
  mux->link = AW_LINK_ABANDONED;
  mux->generation++;
  mux_reset_connection(mux);
  end_all(mux, error);
}

void aw_mux_lose_scopes(aw_mux *mux) {
  if (mux->link != AW_LINK_DETACHED) {
    return;
  }
  while (aw_queue_pop(&mux->flows) != NULL) {
    /* what would be acknowledged is forgotten with its scope */
  }
  end_all(mux, AW_E_LOST);
}

unsigned aw_mux_peer_window_ms(const aw_mux *mux) {
  return mux->peer_window_ms;
}
