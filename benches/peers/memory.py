"""Memory of clients that have made one request each and are silent."""

import re
import socket
import ssl
import time

REQUEST = b"GET / HTTP/1.1\r\nHost: idle.example\r\nUser-Agent: idle-probe/1.0\r\nAccept: */*\r\n\r\n"
SLOW = REQUEST.replace(b"GET / ", b"GET /slow ")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# RFC 7541: GET, /, https by index, and an authority.
FIELDS = bytes([0x82, 0x84, 0x87, 0x41, 0x01]) + b"a"


def frame(kind, flags, stream, payload):
    """A frame of RFC 9113 4.1."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


class Http1:
    def send(self, client, request=REQUEST):
        client.sendall(request)

    def receive(self, client):
        got = b""
        while True:
            part = client.recv(1 << 16)
            if not part:
                raise ConnectionError("closed within an answer")
            got += part
            head, found, body = got.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head + b"\r\n")
            if found and length and len(body) >= int(length[1]):
                return


class Http2:
    def send(self, client, _=None):
        client.sendall(PREFACE + frame(4, 0, 0, b"") + frame(1, 5, 1, FIELDS))

    def receive(self, client):
        got = b""
        while True:
            part = client.recv(1 << 16)
            if not part:
                raise ConnectionError("closed within an answer")
            got += part
            while len(got) >= 9 and len(got) >= 9 + int.from_bytes(got[:3], "big"):
                kind, flags = got[3], got[4]
                got = got[9 + int.from_bytes(got[:3], "big") :]
                if kind == 4 and not flags & 1:
                    client.sendall(frame(4, 1, 0, b""))
                if kind in (0, 1) and flags & 1:
                    return


def connect(proxy, kind):
    if kind == "http":
        return socket.create_connection(("127.0.0.1", proxy.http))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if kind == "h2":
        context.set_alpn_protocols(["h2"])
    plain = socket.create_connection(("127.0.0.1", proxy.https))
    return context.wrap_socket(plain, server_hostname="localhost")


def idle(proxy, count, kind="http"):
    """KiB for each of `count` idle clients, who came one after the other."""
    speaks = Http2() if kind == "h2" else Http1()

    def one():
        client = connect(proxy, kind)
        speaks.send(client)
        speaks.receive(client)
        return client

    for _ in range(50):
        one().close()
    time.sleep(1.5)
    before = proxy.process.memory()
    clients = []
    for _ in range(count):
        clients.append(one())
        time.sleep(0.001)
    time.sleep(6)
    after = proxy.process.memory()
    for client in clients:
        client.close()
    return (after - before) / count


def after_burst(proxy, count):
    """KiB for each of `count` clients while all are in the middle of an answer, and once they are idle."""
    speaks = Http1()
    for _ in range(50):
        client = connect(proxy, "http")
        speaks.send(client)
        speaks.receive(client)
        client.close()
    time.sleep(1.5)
    before = proxy.process.memory()
    clients = [connect(proxy, "http") for _ in range(count)]
    for client in clients:
        speaks.send(client, SLOW)
    time.sleep(1)
    active = proxy.process.memory()
    for client in clients:
        speaks.receive(client)
    time.sleep(10)
    after = proxy.process.memory()
    for client in clients:
        client.close()
    return (active - before) / count, (after - before) / count
