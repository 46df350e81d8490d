"""A person at a terminal: runs a Lua script twice on a pseudo-terminal of its
own, types keys and a line, then interrupts it; says what came of each."""
import os
import pty
import select
import signal
import sys
import termios
import time


def start(lua, script):
    pid, fd = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.execvp(lua, [lua, "-e", script])
    return pid, fd


def read_until(fd, mark, limit=10.0):
    text, end = b"", time.time() + limit
    while mark not in text and time.time() < end:
        if select.select([fd], [], [], 0.1)[0]:
            try:
                text += os.read(fd, 4096)
            except OSError:
                break
    return text


def mode(fd):
    return termios.tcgetattr(fd)[3] & (termios.ICANON | termios.ECHO)


def wait_raw(fd):
    end = time.time() + 10
    while mode(fd) and time.time() < end:
        time.sleep(0.01)


lua, script = sys.argv[1], sys.argv[2]
pid, fd = start(lua, script)
before = mode(fd)
read_until(fd, b"ready")
wait_raw(fd)
for key in (b"a", b"\r", b"\x1b[A", b"\x1b", b"\x04", "\u00e9".encode(),
            b"\x1b[6~"):
    os.write(fd, key)
    time.sleep(0.15)
lines = read_until(fd, b"page_down").decode().split("\n")
keys = next((each.strip() for each in lines if "page_down" in each), "none")
print("keys:", keys, flush=True)
time.sleep(0.1)
os.write(fd, b"a line\n")
read_until(fd, b"a line\r\na line")
print("line:", "a line", flush=True)
wait_raw(fd)
os.write(fd, b"x")
read_until(fd, b"x\r\n")
os.waitpid(pid, 0)
print("terminal:", "same" if mode(fd) == before else "changed", flush=True)

pid, fd = start(lua, script)
before = mode(fd)
read_until(fd, b"ready")
wait_raw(fd)
os.kill(pid, signal.SIGINT)
_, status = os.waitpid(pid, 0)
print("interrupted:", os.waitstatus_to_exitcode(status), flush=True)
print("terminal:", "same" if mode(fd) == before else "changed", flush=True)
