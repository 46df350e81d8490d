"""A person at a terminal: runs a command on a pseudo-terminal and does, one after
the other, what the steps say. At the end the screen's text is printed, and below
it the exit status.

    person.py COLUMNS STEP... -- COMMAND...

A step is `see:TEXT` (waits until it was written, after what was seen before),
`type:TEXT` (with Enter), `key:TEXT`, `int` (Ctrl-C), `eof` (Ctrl-D),
`run:COMMAND` (elsewhere, of a shell). What does not come within LIMIT is told, and the
command killed."""
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

LIMIT = float(os.environ.get("AW_PERSON_LIMIT_S", "20"))

at = sys.argv.index("--")
columns, steps, command = int(sys.argv[1]), sys.argv[2:at], sys.argv[at + 1:]

pid, fd = pty.fork()
if pid == 0:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    size = struct.pack("HHHH", 40, columns, 0, 0)
    fcntl.ioctl(0, termios.TIOCSWINSZ, size)
    os.execvp(command[0], command)

text, seen = b"", 0


def read_more(end):
    """False at the end of the output, or of the time."""
    global text
    if not select.select([fd], [], [], max(0, end - time.time()))[0]:
        return False
    try:
        piece = os.read(fd, 4096)
    except OSError:
        return False
    text += piece
    return piece != b""


def see(mark):
    global seen
    end = time.time() + LIMIT
    while True:
        found = text.find(mark, seen)
        if found >= 0:
            seen = found + len(mark)
            return
        if not read_more(end):
            print(text.decode(errors="replace"))
            print("never came:", mark.decode())
            os.kill(pid, signal.SIGKILL)
            sys.exit(1)


for step in steps:
    kind, _, rest = step.partition(":")
    if kind == "see":
        see(rest.encode())
    elif kind == "type":
        os.write(fd, rest.encode() + b"\r")
    elif kind == "key":
        os.write(fd, rest.encode())
    elif kind == "int":
        os.write(fd, b"\x03")
    elif kind == "eof":
        os.write(fd, b"\x04")
    elif kind == "run":
        subprocess.run(rest, shell=True, check=True)

end = time.time() + LIMIT
while read_more(end):
    pass
if time.time() >= end:
    print("it does not end", flush=True)
    os.kill(pid, signal.SIGKILL)
_, status = os.waitpid(pid, 0)
print(text.decode(errors="replace").replace("\r\n", "\n"))
print("status", os.waitstatus_to_exitcode(status), flush=True)
