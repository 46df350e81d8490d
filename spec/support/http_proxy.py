#!/usr/bin/env python3
"""An HTTP proxy for specs: tunnels, and whole URLs. Prints its port, then a
line for each request: its first line, and the user that it names."""
import base64
import socket
import threading
from urllib.parse import urlsplit


def pump(source, target):
    try:
        while True:
            data = source.recv(65536)
            if not data:
                break
            target.sendall(data)
    except OSError:
        pass
    for sock in (source, target):
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def read_head(sock):
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(1)
        if not more:
            return None
        data += more
    return data.decode("latin-1")


def user_of(head):
    for line in head.split("\r\n"):
        if line.lower().startswith("proxy-authorization: basic "):
            return base64.b64decode(line.split()[-1]).decode()
    return "-"


def serve(sock):
    head = read_head(sock)
    if head is None:
        return
    method, target, _ = head.split("\r\n")[0].split(" ")
    print(method, target, user_of(head), flush=True)
    if user_of(head) == "wrong:pass":
        sock.sendall(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
        sock.close()
        return
    if method == "CONNECT":
        host, port = target.rsplit(":", 1)
        upstream = socket.create_connection(("127.0.0.1", int(port)))
        sock.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
    else:
        parts = urlsplit(target)
        upstream = socket.create_connection(("127.0.0.1", parts.port))
        lines = head.split("\r\n")
        lines[0] = "%s %s HTTP/1.1" % (method, parts.path)
        lines = [l for l in lines if not l.lower().startswith("proxy-")]
        upstream.sendall("\r\n".join(lines).encode("latin-1"))
    threading.Thread(target=pump, args=(upstream, sock), daemon=True).start()
    pump(sock, upstream)


def main():
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    print(listener.getsockname()[1], flush=True)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve, args=(sock,), daemon=True).start()


main()
