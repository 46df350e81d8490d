#include "aw_os_terminal.h"
#include "aw_error.h"
#include <sys/ioctl.h>
#include <termios.h>

static struct {
  volatile int fd;
  struct termios as_found;
} terminal = {.fd = -1};

int aw_os_terminal_columns(int fd) {
  struct winsize size = {0};
  return ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

void aw_os_terminal_restore(void) {
  int fd = terminal.fd;
  if (fd >= 0) {
    tcsetattr(fd, TCSANOW, &terminal.as_found);
    terminal.fd = -1;
  }
}

int aw_os_terminal_raw(int fd) {
  if (tcgetattr(fd, &terminal.as_found) != 0) {
    return AW_E_IO;
  }
  struct termios raw = terminal.as_found;
  raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
  raw.c_iflag &= ~(tcflag_t)ICRNL;
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  terminal.fd = fd;
  return tcsetattr(fd, TCSANOW, &raw) == 0 ? AW_OK : AW_E_IO;
}
