#include "aw_os_library.h"
#include <dlfcn.h>
#include <stddef.h>

void aw_os_pin(const void *address) {
  Dl_info info;
  if (dladdr(address, &info) != 0 && info.dli_fname != NULL) {
    (void)dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
  }
}
