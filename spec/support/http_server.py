#!/usr/bin/env python3
"""An HTTP/1.1 server for specs that does wrong what it is asked to, on sockets
of its own, so that nothing is tidied up on the way. Prints its port, and ends
when its stdin does. Each connection has a thread. What it sees of its clients is
told by /log, in microseconds of the monotonic clock."""
import gzip
import json
import os
import socket
import ssl
import sys
import threading
import time
from urllib.parse import parse_qs, urlsplit

lock = threading.Lock()
log = []
counts = {"connections": 0, "requests": 0, "open": 0}


def note(what, path):
    with lock:
        log.append([what, path, time.monotonic_ns() // 1000])


class Over(Exception):
    pass


class Exchange:
    def __init__(self, sock, reader):
        self.sock, self.reader = sock, reader
        if reader.peek(1)[:1] == b"\x16":  # who begins with TLS
            self.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            raise Over
        line = reader.readline(65536)
        if not line:
            raise Over
        self.method, target, _ = line.decode("latin-1").split(" ", 2)
        self.target = target
        parts = urlsplit(target)
        self.path = parts.path
        self.query = {k: v[-1] for k, v in parse_qs(parts.query).items()}
        self.headers = []
        while True:
            line = reader.readline(65536)
            if line in (b"\r\n", b"\n", b""):
                break
            name, value = line.decode("latin-1").split(":", 1)
            self.headers.append([name, value.strip()])
        names = {n.lower(): v for n, v in self.headers}
        if self.path == "/slam":  # gone before the body
            raise Over
        self.body = reader.read(int(names.get("content-length", 0)))
        with lock:
            counts["requests"] += 1

    def number(self, name, otherwise=0):
        return int(self.query.get(name, otherwise))

    def send(self, text):
        self.sock.sendall(text.encode() if isinstance(text, str) else text)

    def head(self, status, *headers):
        self.send("HTTP/1.1 %s\r\n%s\r\n" % (
            status, "".join(h + "\r\n" for h in headers)))

    def answer(self, body, *headers, status="200 OK"):
        data = body.encode() if isinstance(body, str) else body
        head = "HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n" % (
            status, len(data), "".join(h + "\r\n" for h in headers))
        self.send(head.encode() + (b"" if self.method == "HEAD" else data))

    def chunk(self, data):
        data = data.encode() if isinstance(data, str) else data
        self.send(b"%x\r\n" % len(data) + data + b"\r\n")

    def until_gone(self):
        """Waits for the client's end."""
        self.sock.settimeout(30)
        try:
            while self.sock.recv(4096):
                pass
        except OSError:
            pass
        note("gone", self.path)
        raise Over


def hello(x):
    x.answer("hello", "Content-Type: text/plain", "X-Twice: a", "X-Twice: b")


def echo(x):
    x.answer(json.dumps({"method": x.method, "target": x.target,
                         "headers": x.headers,
                         "body": x.body.decode("latin-1")}))


def redirect(x):
    x.answer("elsewhere", "Location: " + x.query["to"],
             status=x.query.get("status", "302") + " Found")


def again(x):
    left = x.number("n")
    if left == 0:
        x.answer("there")
    else:
        x.answer("", "Location: /again?n=%d" % (left - 1), status="302 Found")


def slow(x):
    """Nothing for so long, then the answer."""
    time.sleep(x.number("ms") / 1000)
    x.answer("late")


def silent(x):
    note("asked", x.path)
    x.until_gone()


def stall(x):
    x.head("200 OK", "Transfer-Encoding: chunked")
    x.chunk("data: first\n\n")
    note("stalls", x.path)
    x.until_gone()


def comments(x):
    """Pings alone, then an event."""
    x.head("200 OK", "Transfer-Encoding: chunked")
    for _ in range(x.number("n")):
        time.sleep(x.number("ms") / 1000)
        x.chunk(": ping\n\n")
    x.chunk("data: there\n\n")
    x.chunk("")


def parts(x):
    """The body in pieces of so many bytes, chunked."""
    x.head("200 OK", "Transfer-Encoding: chunked")
    data = x.body or x.query["text"].encode("latin-1")
    size = x.number("size", 1)
    for at in range(0, len(data), size):
        x.chunk(data[at:at + size])
    x.chunk("")


def ticks(x):
    """Events, so many, so far apart."""
    x.head("200 OK", "Transfer-Encoding: chunked")
    for i in range(x.number("n")):
        time.sleep(x.number("ms") / 1000)
        x.chunk("id: %d\ndata: {\"tick\":%d}\n\n" % (i, i))
    x.chunk("")


def early(x):
    """Ends before its end: of a length, or of chunks."""
    if "chunked" in x.query:
        x.head("200 OK", "Transfer-Encoding: chunked")
        x.chunk("some")
    else:
        x.head("200 OK", "Content-Length: 100")
        x.send("some")
    raise Over


def big(x):
    size, piece = x.number("n"), b"x" * 65536
    x.head("200 OK", "Content-Length: %d" % size)
    sent = 0
    while sent < size:
        n = min(len(piece), size - sent)
        x.send(piece[:n])
        sent += n
        with lock:
            counts["sent"] = sent


def header(x):
    x.answer("ok", "X-Long: " + "h" * x.number("n"))


def headers(x):
    x.answer("ok", *["X-%d: %s" % (i, "h" * 1000) for i in range(x.number("n"))])


def interim(x):
    x.head("103 Early Hints", "Link: </style>")
    x.head("100 Continue")
    x.answer("final")


def gzipped(x):
    data = gzip.compress(b"z" * x.number("n"))
    names = {n.lower(): v for n, v in x.headers}
    if "gzip" in names.get("accept-encoding", ""):
        x.answer(data, "Content-Encoding: gzip")
    else:
        x.answer("plain")


def garbage(x):
    x.send("this is no HTTP at all\r\n\r\n")
    raise Over


def leave(x):
    """Answers, and closes the connection that it said it keeps."""
    x.answer("bye")
    raise Over


def die(x):
    """Takes the request and closes without a word."""
    raise Over


mute_listener = socket.create_server(("127.0.0.1", 0))


def mute(x):
    """Tells a port at which nobody says anything."""
    x.answer(str(mute_listener.getsockname()[1]))


def tell(x):
    with lock:
        text = json.dumps({"log": log, "counts": counts})
    x.answer(text)


def empty(x):
    x.head("204 No Content")


turned_away = set()


def completions(x):
    """A model of the Chat Completions interface: says three words, a piece each.
    Who says "busy" has to ask again, who says "for ever" gets one word."""
    note("asked", x.path)
    said = json.loads(x.body)["messages"][-1]["content"]
    said = said if isinstance(said, str) else said[0]["text"]
    if said == "busy" and said not in turned_away:
        turned_away.add(said)
        x.answer('{"error":{"message":"too many"}}', "Retry-After: 0",
                 status="429 Too Many Requests")
        return
    x.head("200 OK", "Content-Type: text/event-stream",
           "Transfer-Encoding: chunked")

    def event(delta, finish=None, **more):
        x.chunk("data: " + json.dumps({
            "id": "c1", "object": "chat.completion.chunk", "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            **more}) + "\n\n")

    for word in ("one ", "two ", "three"):
        event({"role": "assistant", "content": word})
        if said == "for ever":
            x.until_gone()
    event({}, "stop")
    x.chunk("data: " + json.dumps({
        "id": "c1", "object": "chat.completion.chunk", "model": "m",
        "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3,
                                 "total_tokens": 8}}) + "\n\n")
    x.chunk("data: [DONE]\n\n")
    x.chunk("")


ROUTES = {f.__name__: f for f in (
    hello, echo, redirect, again, slow, silent, stall, comments, parts, ticks,
    early, big, header, headers, interim, gzipped, garbage, leave, die, empty,
    mute)}
ROUTES["log"] = tell
ROUTES["chat/completions"] = completions


def serve(sock, context):
    with lock:
        counts["connections"] += 1
        counts["open"] += 1
    try:
        if context:
            sock = context.wrap_socket(sock, server_side=True)
        reader = sock.makefile("rb")
        while True:
            x = Exchange(sock, reader)
            ROUTES[x.path[1:]](x)
    except (Over, OSError, ValueError):
        pass
    finally:
        with lock:
            counts["open"] -= 1
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        sock.close()


def end_with_stdin():
    """Whoever has started this may end without a word."""
    sys.stdin.buffer.read()
    os._exit(0)


def main():
    threading.Thread(target=end_with_stdin, daemon=True).start()
    context = None
    if len(sys.argv) > 2:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1], sys.argv[2])
        context.set_alpn_protocols(["http/1.1"])
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    print(listener.getsockname()[1], flush=True)
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(sock, context), daemon=True).start()


main()
