"""Peers that mean harm to what lies under MQTT: WebSocket, the PROXY protocol, TLS."""

import contextlib
import os
import random
import socket
import struct

import broker as brokers
import pytest
from durable import STAY
from pki import Authority
from raw import frame, string
from test_hostile import LIMITS, SHARED, connect, gone, harmless, ledger, opened
from test_web import Web

pytestmark = pytest.mark.skipif(brokers.name() != "plimsoll", reason="reads the ledger")
MASK = b"\x00" * 4


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """A broker with a listener of each kind."""
    authority = Authority(tmp_path_factory.mktemp("pki"), "root")
    certificate, key = authority.issue("server", names=["localhost"])
    tls = f"certfile {certificate}\nkeyfile {key}\n"
    kinds = {
        "web": "protocol websockets\n",
        "proxy1": "enable_proxy_protocol 1\n",
        "proxy2": "enable_proxy_protocol 2\n",
        "proxied_web": "enable_proxy_protocol 2\nprotocol websockets\n",
        "tls": tls,
        "tls_web": f"{tls}protocol websockets\n",
    }
    ports = {kind: brokers.free_port() for kind in kinds}
    more = "".join(f"listener {ports[kind]} 127.0.0.1\nallow_anonymous true\n{text}" for kind, text in kinds.items())
    with brokers.Broker(config=STAY + LIMITS, listener=more) as one:
        one.ports = ports
        with opened(one.port, "warm") as warm:
            warm.sendall(frame(0x82, b"\x00\x01" + string("warm") + b"\x00"))
            warm.recv(5)
        yield one


def plain(port):
    one = socket.create_connection(("127.0.0.1", port), 10)
    one.settimeout(10)
    return one


def push(one, data, most):
    """Sends without reading until the broker takes no more; answers how many bytes it took."""
    one.settimeout(1)
    sent, view = 0, memoryview(data)
    with contextlib.suppress(OSError):
        while sent < most:
            sent += one.send(view[sent % len(data) :])
    return sent


def in_web(port, name):
    one = Web(port)
    one.send(connect(name))
    assert one.read() == (0x82, b"\x20\x02\x00\x00")
    return one


def test_pings_whose_answers_nobody_takes(broker):
    ping = b"\x89\xfd" + MASK + b"x" * 125
    with harmless(broker):
        before = ledger(broker)["connections"]
        peers = [in_web(broker.ports["web"], f"ping{number}") for number in range(4)]
        for one in peers:
            # The system's buffers take a few megabytes. What the broker keeps besides is bounded.
            sent = push(one.socket, ping * 500, 64 << 20)
            assert sent < 64 << 20, "it goes on reading"
        grown = ledger(broker)["connections"] - before
        assert grown < SHARED + len(peers) * (256 << 10), f"{grown} bytes"
        # Who takes them after all is served on, to the last one that was sent.
        last = peers.pop()
        last.socket.settimeout(2)
        taken = 0
        with contextlib.suppress(TimeoutError):
            while more := last.socket.recv(1 << 20):
                taken += len(more)
        pongs, cut = divmod(taken, 127)
        assert cut == 0 and pongs == sent // len(ping), f"{pongs} answers to {sent / len(ping):.1f} pings"
        for one in [*peers, last]:
            one.socket.close()


def test_fragments_of_nothing(broker):
    with harmless(broker):
        one = in_web(broker.ports["web"], "nothing")
        one.send(b"", 0x02)
        one.socket.sendall((b"\x00\x80" + MASK) * 200_000)
        one.send(b"\xc0\x00", 0x80)
        assert one.read() == (0x82, b"\xd0\x00"), "a long message of many parts is one still"
        one.socket.close()


def test_a_frame_that_never_ends(broker):
    """2⁶² bytes are announced: what comes of them is MQTT like any other bytes."""
    with harmless(broker):
        one = in_web(broker.ports["web"], "endless")
        one.socket.sendall(b"\x82\xff" + struct.pack(">Q", 1 << 62) + MASK + b"\xc0\x00" * 1000)
        got = b""
        while len(got) < 2000:
            got += one.read()[1]
        assert got == b"\xd0\x00" * 1000
        one.socket.sendall(b"\xff" * 100)
        gone(one.socket)


REQUEST = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n"
)
ODD_REQUESTS = {
    "too many headers": REQUEST + b"A: b\r\n" * 70 + b"\r\n",
    "a long header": REQUEST + b"A: " + b"b" * 9000 + b"\r\n\r\n",
    "a long path": b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
    "zero bytes": b"\x00" * 100 + b"\r\n\r\n",
    "a folded header": REQUEST + b"A: b\r\n c\r\n\r\n",
    "no end of lines": b"G" * 10000,
    "HTTP/1.0": REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a key of another length": REQUEST.replace(b"AAAA==", b"") + b"\r\n",
    "TLS": b"\x16\x03\x01\x02\x00" + b"\x01" * 512 + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", ODD_REQUESTS)
def test_odd_requests(broker, name):
    with harmless(broker):
        one = plain(broker.ports["web"])
        one.sendall(ODD_REQUESTS[name])
        answer = one.recv(4096)
        assert answer.startswith(b"HTTP/1.1 4"), answer
        gone(one)


def test_what_comes_right_behind_the_request_is_taken(broker):
    with harmless(broker):
        one = plain(broker.ports["web"])
        body = connect("eager")
        one.sendall(REQUEST + b"\r\n\x82" + bytes([0x80 | len(body)]) + MASK + body)
        got = b""
        while not got.endswith(b"\x82\x04\x20\x02\x00\x00"):
            more = one.recv(4096)
            assert more, got
            got += more
        one.close()


V2 = b"\r\n\r\n\0\r\nQUIT\n"
FOUR = bytes([192, 0, 2, 1, 127, 0, 0, 1, 0x12, 0x67, 0x07, 0x5B])
ODD_HEADERS = [
    ("proxy1", b"PROXY TCP4 192.0.2.1 127.0.0.1 1 65536\r\n"),
    ("proxy1", b"PROXY TCP4 192.0.2.999 127.0.0.1 1 1883\r\n"),
    ("proxy1", b"PROXY TCP6 192.0.2.1 127.0.0.1 1 1883\r\n"),
    ("proxy1", b"PROXY " + b"x" * 200),
    ("proxy1", b"PROXY TCP4 \xff\xfe 127.0.0.1 1 1883\r\n"),
    ("proxy1", V2 + b"\x21\x11\x00\x0c" + FOUR),
    ("proxy2", b"PROXY TCP4 192.0.2.1 127.0.0.1 1 1883\r\n"),
    ("proxy2", V2 + b"\x31\x11\x00\x0c" + FOUR),
    ("proxy2", V2 + b"\x2f\x11\x00\x0c" + FOUR),
    ("proxy2", V2 + b"\x21\x11\x00\x0b" + FOUR[:11]),
    ("proxy2", V2 + b"\x21\x11\xff\xff" + FOUR),
    ("proxy2", V2 + b"\x21\x11\x00\x0f" + FOUR + b"\x20\x00\xff"),
    ("proxy2", V2 + b"\x21\x11\x00\x13" + FOUR + b"\x03\x00\x04\xde\xad\xbe\xef"),
    ("proxied_web", V2 + b"\x21\x11\x00\x0c" + FOUR + connect("plain") + b"\r\n\r\n"),
    ("proxied_web", REQUEST + b"\r\n"),
]


def test_odd_headers_of_proxies(broker):
    with harmless(broker):
        for kind, header in ODD_HEADERS:
            one = plain(broker.ports[kind])
            one.sendall(header + (connect("odd") if kind != "proxied_web" else b""))
            answer = b""
            with contextlib.suppress(ConnectionError):
                answer = one.recv(4096)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), (kind, header, answer)
            gone(one)
        assert " as odd " not in broker.log_text()


def test_headers_of_proxies_that_never_end(broker):
    with harmless(broker):
        peers = []
        for number in range(100):
            one = plain(broker.ports["proxy2" if number % 2 else "proxy1"])
            one.sendall(V2 + b"\x21\x11\x0f\x00" + FOUR if number % 2 else b"PROXY TCP4 1")
            peers.append(one)
        for one in peers:
            gone(one)


def record(kind, body, version=b"\x03\x01"):
    """A TLS record."""
    return bytes([kind]) + version + struct.pack(">H", len(body)) + body


def test_garbage_for_tls(broker):
    noise = random.Random(7)
    hello = b"\x01\x00\x03\xe8\x03\x03"  # The beginning of a ClientHello of 1,000 bytes.
    pieces = [
        noise.randbytes(100_000),
        connect("plain") + b"\xc0\x00" * 100,
        REQUEST + b"\r\n",
        record(22, b"") * 1000,
        record(22, noise.randbytes(16384)),
        b"\x16\x03\x03\xff\xff" + b"\x00" * 65535,
        # The first message says that 16 MiB of it are to come.
        record(22, b"\x01\xff\xff\xff" + b"\x00" * 16380),
        record(21, b"\x02\x28", b"\x03\x03"),
        record(23, noise.randbytes(16), b"\x03\x03"),
        # A message in parts, of which some never come, or something else does.
        record(22, hello),
        b"".join(record(22, bytes([byte])) for byte in hello) + record(23, b"x"),
        record(22, hello) + record(21, b"\x01\x00"),
        record(22, hello) + record(22, b"\x00" * 994),
    ]
    with harmless(broker):
        for kind in ("tls", "tls_web"):
            for piece in pieces:
                one = plain(broker.ports[kind])
                with contextlib.suppress(OSError):
                    one.sendall(piece)
                gone(one)
                assert broker.alive()


def test_frames_at_random(broker):
    """A thousand frames of which few are right: every connection ends, and nothing stays."""
    chance = random.Random(11)
    with harmless(broker):
        for number in range(200):
            one = in_web(broker.ports["web"], f"random{number}")
            with contextlib.suppress(OSError):
                for _ in range(5):
                    payload = os.urandom(chance.choice([0, 1, 125, 126, 5000]))
                    one.send(payload, chance.choice([0x82, 0x02, 0x80, 0x00, 0x89, 0x88, 0x8A, chance.randrange(256)]))
                one.socket.shutdown(socket.SHUT_WR)
            gone(one.socket)
