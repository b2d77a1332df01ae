"""Peers that mean harm: after each the ledger is where it was, and a healthy client has seen nothing."""

import contextlib
import os
import re
import signal
import socket
import struct
import threading
import time

import broker as brokers
import pytest
from durable import STAY
from raw import frame, string
from test_web import Web

pytestmark = pytest.mark.skipif(brokers.name() != "plimsoll", reason="reads the ledger")
# Buffers of a thread: for reading, decoding, encrypting and writing.
SHARED = 1 << 20
LIMITS = "sys_interval 0\npacket_timeout 2\nconnect_timeout 2\nmax_handshakes 200\npersistence false\n"


def connect(name, level=4, properties=b"", clean=True):
    body = b"\x00\x04MQTT" + bytes([level, 2 if clean else 0]) + b"\x00\x00" + (bytes([len(properties)]) + properties if level == 5 else b"")
    return frame(0x10, body + string(name))


def opened(port, name, level=4, **more):
    """A connected client."""
    one = socket.create_connection(("127.0.0.1", port), 10)
    one.settimeout(10)
    one.sendall(connect(name, level, **more))
    assert one.recv(100)[:1] == b"\x20"
    return one


def gone(one, seconds=10):
    """Reads until the broker ends the connection."""
    one.settimeout(seconds)
    with contextlib.suppress(ConnectionError):
        while one.recv(65536):
            pass
    one.close()


def ledger(broker):
    """What is charged to each account."""
    before = broker.log_text().count("resident in the process")
    broker.signal(signal.SIGUSR2)
    deadline = time.monotonic() + 5
    while broker.log_text().count("resident in the process") <= before:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    block = broker.log_text().rsplit("topic filters.", 1)[1]
    return {name: int(held) for name, held in re.findall(r"Memory of (\S+): (\d+) bytes charged", block)}


class Healthy:
    """A client that sends itself a message every 10 ms, and keeps the longest that one took."""

    def __init__(self, port):
        self.socket = opened(port, "healthy")
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(frame(0x82, b"\x00\x01" + string("health") + b"\x00"))
        assert self.socket.recv(5)[:1] == b"\x90"
        self.slowest, self.count, self.stop, self.failure = 0.0, 0, False, None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        packet = frame(0x30, string("health") + b"x")
        try:
            while not self.stop:
                began = time.monotonic()
                self.socket.sendall(packet)
                got = b""
                while len(got) < len(packet):
                    more = self.socket.recv(100)
                    assert more, "closed"
                    got += more
                assert got == packet
                self.slowest, self.count = max(self.slowest, time.monotonic() - began), self.count + 1
                time.sleep(0.01)
        except Exception as error:  # noqa: BLE001
            self.failure = error

    def end(self):
        self.stop = True
        self.thread.join(10)
        self.socket.close()


@pytest.fixture(scope="module")
def broker():
    web = brokers.free_port()
    with brokers.Broker(config=STAY + LIMITS, listener=f"listener {web} 127.0.0.1\nprotocol websockets\nallow_anonymous true\n") as one:
        one.web = web
        with opened(one.port, "warm") as warm:
            warm.sendall(frame(0x82, b"\x00\x01" + string("warm") + b"\x00"))
            warm.recv(5)
        time.sleep(0.3)
        yield one


@contextlib.contextmanager
def harmless(broker):
    """What happens within costs nothing once all have left, and a healthy client does not notice."""
    before = ledger(broker)
    healthy = Healthy(broker.port)
    yield
    time.sleep(0.2)
    healthy.end()
    assert healthy.failure is None and healthy.count > 5
    assert healthy.slowest < 1.0, f"{healthy.slowest:.3f} s"
    deadline = time.monotonic() + 10
    while True:
        after = ledger(broker)
        grown = {name: held - before.get(name, 0) for name, held in after.items() if held > before.get(name, 0)}
        # The thread's own buffers, which all connections share, may have grown once.
        if grown.get("connections", 0) <= SHARED:
            grown.pop("connections", 0)
        # Heap profiles of the last minutes, kept to name a leak by.
        grown.pop("tools", 0)
        if not grown:
            break
        assert time.monotonic() < deadline, f"not given back: {grown}"
        time.sleep(0.2)
    assert broker.alive()


def test_slowloris(broker):
    """Headers that never end, of CONNECT, of a later packet, and of an upgrade."""
    with harmless(broker):
        peers = []
        for number in range(60):
            one = socket.create_connection(("127.0.0.1", broker.web if number % 3 == 2 else broker.port))
            if number % 3 == 1:
                one.sendall(connect(f"slow{number}"))
                one.recv(4)
            peers.append(one)
        began = time.monotonic()
        whole = connect("slow" * 100)
        for step in range(40):
            for number, one in enumerate(peers):
                piece = [whole[step : step + 1], b"\x30\xff\x7f"[step : step + 1] or b"\x00", b"G"][number % 3]
                with contextlib.suppress(OSError):
                    one.sendall(piece)
            time.sleep(0.1)
        for one in peers:
            gone(one)
        assert time.monotonic() - began < 12


def test_half_open_and_silent(broker):
    with harmless(broker):
        peers = [socket.create_connection(("127.0.0.1", broker.port)) for _ in range(300)]
        for one in peers:
            gone(one, 20)


def test_a_byte_at_a_time_is_served(broker):
    with harmless(broker):
        one = socket.create_connection(("127.0.0.1", broker.port))
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in connect("bytes") + b"\xc0\x00" * 20:
            one.sendall(bytes([byte]))
        got = b""
        while len(got) < 44:
            got += one.recv(100)
        assert got == b"\x20\x02\x00\x00" + b"\xd0\x00" * 20
        one.close()


def test_a_megabyte_of_garbage(broker):
    with harmless(broker):
        for port in (broker.port, broker.web):
            for first in (b"", connect("garbage")):
                one = socket.create_connection(("127.0.0.1", port))
                with contextlib.suppress(OSError):
                    one.sendall(first + os.urandom(1 << 20))
                gone(one)


def test_oversize_lengths(broker):
    with harmless(broker):
        for start in (b"\x10", b"\x30"):
            for length in (b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff\x01", b"\x80\x80\x80\x80"):
                one = opened(broker.port, "big") if start == b"\x30" else socket.create_connection(("127.0.0.1", broker.port))
                one.sendall(start + length + b"x" * 1000)
                gone(one)
        one = Web(broker.web)
        one.send(connect("frame"))
        one.read()
        one.socket.sendall(b"\x82\xff\x7f" + b"\xff" * 7 + b"\x00\x00\x00\x00" + b"\x30\xff\xff\xff\x7f")
        gone(one.socket)


def test_qos_2_that_is_never_released(broker):
    """65,535 of them: 5.0's Receive Maximum ends that at once; 3.1.1 has none, and its state goes with it."""
    with harmless(broker):
        one = opened(broker.port, "never", level=5)
        with contextlib.suppress(OSError):
            for number in range(1, 65536):
                one.sendall(frame(0x34, string("q") + struct.pack(">H", number) + b"\x00x"))
        gone(one)
        two = opened(broker.port, "old")
        reader = threading.Thread(target=lambda: read_all(two, 65535 * 4))
        reader.start()
        for number in range(1, 65536):
            two.sendall(frame(0x34, string("q") + struct.pack(">H", number) + b"x"))
        reader.join(30)
        two.sendall(b"\xe0\x00")
        gone(two)


def read_all(one, count):
    while count > 0:
        more = one.recv(65536)
        if not more:
            return
        count -= len(more)


def test_subscription_bombs(broker):
    with harmless(broker):
        one = opened(broker.port, "bomb")
        reader = threading.Thread(target=lambda: read_all(one, 1 << 30))
        reader.start()
        for number in range(150):
            filters = b"".join(string(f"+/{number}/{each}/#") + b"\x01" for each in range(1000))
            one.sendall(frame(0x82, b"\x00\x01" + filters))
        two = opened(broker.port, "deep")
        two.sendall(frame(0x82, b"\x00\x01" + string("/" * 60000) + b"\x00"))
        gone(two)
        one.sendall(b"\xe0\x00")
        reader.join(30)
        one.close()


def test_alias_abuse(broker):
    with harmless(broker):
        for alias in (b"\x23\x00\x00", b"\x23\xff\xff", b"\x23\x00\x01\x23\x00\x01"):
            one = opened(broker.port, "alias", level=5)
            one.sendall(frame(0x30, string("a") + bytes([len(alias)]) + alias))
            gone(one)
        one = opened(broker.port, "unknown", level=5)
        one.sendall(frame(0x30, string("") + b"\x03\x23\x00\x01"))
        gone(one)
        one = opened(broker.port, "many", level=5)
        for turn in range(2000):
            topic = string(f"{turn}" + "x" * 10000)
            one.sendall(frame(0x30, topic + b"\x03\x23\x00" + bytes([turn % 10 + 1])))
        one.sendall(b"\xe0\x00")
        gone(one)


def test_user_properties_like_a_zip_bomb(broker):
    with harmless(broker):
        pair = b"\x26" + string("") + string("")
        many = pair * 20000  # More than max_user_properties.
        one = opened(broker.port, "bomb", level=5)
        length, head = len(many), b""
        while True:
            length, digit = divmod(length, 128)
            head += bytes([digit | (128 if length else 0)])
            if not length:
                break
        one.sendall(frame(0x30, string("a") + head + many))
        gone(one)


def test_connect_floods(broker):
    with harmless(broker):
        for _ in range(3):
            peers = [socket.create_connection(("127.0.0.1", broker.port)) for _ in range(400)]
            for number, one in enumerate(peers):
                one.sendall(connect(f"flood{number}") if number % 2 else b"\x10")
            for number, one in enumerate(peers):
                if number % 2:
                    one.settimeout(15)
                    assert one.recv(4) == b"\x20\x02\x00\x00", "who speaks MQTT is served, though others do not"
                one.close()


def test_the_same_name_again_and_again(broker):
    with harmless(broker):
        last = None
        for _ in range(300):
            one = opened(broker.port, "same", clean=False)
            if last:
                gone(last)
            last = one
        with opened(broker.port, "same", clean=True):
            gone(last)
