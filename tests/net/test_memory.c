#include "aw_memory.h"
#include "transport_suite.h"

static void make(suite_pair *pair) {
  aw_transport *client, *server;

  assert_int_equal(aw_memory_pair(pair->loop, true, &client, &server), AW_OK);
  suite_attach(&pair->client, client);
  suite_attach(&pair->server, server);
}

int main(void) {
  static const suite_factory factory = {.name = "memory", .make = make};

  return suite_run(&factory);
}
