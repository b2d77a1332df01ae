"""Floods that fill a broker's memory, the healthy clients beside them, and the memory cgroup around it."""

import contextlib
import os
import select
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

from broker import Broker, program
from raw import Raw, frame, packet_at, string

HIERARCHY = Path("/sys/fs/cgroup")
HEALTHY_EVERY = 1.0


class MemoryGroup:
    """A memory cgroup, of version 1 or 2, with a limit."""

    def __init__(self, limit):
        """Raises OSError where none can be made."""
        self.v1 = (HIERARCHY / "memory" / "memory.limit_in_bytes").exists()
        if self.v1:
            base = HIERARCHY / "memory"
        else:
            base = next((b for b in (HIERARCHY, HIERARCHY / "unified") if (b / "cgroup.controllers").exists()), None)
            if base is None or "memory" not in (base / "cgroup.controllers").read_text().split():
                raise OSError("there is no memory cgroup controller")
            (base / "cgroup.subtree_control").write_text("+memory")
        self.path = base / f"plimsoll-overload-{os.getpid()}-{time.monotonic_ns()}"
        self.path.mkdir()
        if not self.v1:
            with contextlib.suppress(OSError):
                (self.path / "memory.swap.max").write_text("0")
        (self.path / ("memory.limit_in_bytes" if self.v1 else "memory.max")).write_text(str(limit))

    def peak(self):
        """Most bytes that were charged to it."""
        return int((self.path / ("memory.max_usage_in_bytes" if self.v1 else "memory.peak")).read_text())

    def kills(self):
        """How often somebody in it was killed for want of memory."""
        text = (self.path / ("memory.oom_control" if self.v1 else "memory.events")).read_text()
        return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill "))

    def remove(self):
        """Takes it away, once nobody is in it."""
        for _ in range(50):
            try:
                return self.path.rmdir()
            except OSError:
                time.sleep(0.1)


class BoundedBroker(Broker):
    """A broker in a memory cgroup."""

    def __init__(self, group, config="", broker=None):
        super().__init__(config, broker)
        self.group = group

    def spawn(self):
        """Starts its process within the group."""
        command = 'echo $$ > "$0" && exec "$@"'
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["sh", "-c", command, str(self.group.path / "cgroup.procs"), program(self.name), "-c", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
            )

    def rss(self):
        """Its resident set in bytes; 0 if it is gone."""
        with contextlib.suppress(OSError, StopIteration):
            lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
        return 0


class Healthy(threading.Thread):
    """A client that publishes once a second at QoS 1, and wants its own message back each time."""

    def __init__(self, port, name):
        super().__init__(daemon=True)
        self.topic = f"healthy/{name}"
        self.client = Raw(port, f"healthy-{name}", clean=True)
        self.client.subscribe(1, self.topic)
        self.sent, self.back, self.slowest, self.failure = 0, 0, 0.0, None
        self.over = threading.Event()

    def run(self):
        """Until it is told to stop, or the broker fails it."""
        try:
            while not self.over.is_set():
                began = time.monotonic()
                self.round()
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.over.wait(max(0, HEALTHY_EVERY - (time.monotonic() - began)))
        except (OSError, AssertionError) as error:
            self.failure = str(error) or type(error).__name__

    def round(self):
        """One message there and back, with both acknowledgements."""
        self.sent += 1
        identifier, text = struct.pack(">H", self.sent), str(self.sent).encode()
        self.client.socket.sendall(frame(0x32, string(self.topic) + identifier + text))
        acknowledged = back = False
        while not (acknowledged and back):
            first, body = self.client.read()
            if first == 0x40 and body[:2] == identifier:
                acknowledged = True
            elif first >> 4 == 3:
                at = 2 + len(self.topic)
                self.client.socket.sendall(frame(0x40, body[at : at + 2]))
                back = back or body[at + 2 :] == text
        self.back += 1

    def stop(self):
        """Ends it."""
        self.over.set()
        self.join(20)


class Flood(threading.Thread):
    """A client that sends without end what `packets(n)` makes, and reads whatever comes; it comes back if it is put out."""

    def __init__(self, port, name, packets):
        super().__init__(daemon=True)
        self.port, self.title, self.packets = port, name, packets
        self.batches, self.put_out = 0, 0
        self.over = threading.Event()

    def run(self):
        """Until it is told to stop."""
        while not self.over.is_set():
            try:
                self.send_all(Raw(self.port, self.title, clean=True))
            except (OSError, AssertionError):
                self.put_out += 1
                self.over.wait(0.2)

    def send_all(self, client):
        """Sends batches as fast as they are taken."""
        sock = client.socket
        sock.setblocking(False)
        data = memoryview(b"")
        with contextlib.closing(sock):
            while not self.over.is_set():
                if not data:
                    data = memoryview(self.packets(self.batches))
                    self.batches += 1
                readable, writable, _ = select.select([sock], [sock], [], 0.5)
                if readable and not sock.recv(1 << 18):
                    raise ConnectionError("closed")
                if writable:
                    with contextlib.suppress(BlockingIOError):
                        data = data[sock.send(data[: 1 << 18]) :]

    def stop(self):
        """Ends it."""
        self.over.set()
        self.join(10)


def publishes(qos, retain, topics, payload):
    """Packets on these topics."""
    first = 0x30 | qos << 1 | retain
    out = bytearray()
    for number, topic in enumerate(topics):
        identifier = struct.pack(">H", number % 65535 + 1) if qos else b""
        out += frame(first, string(topic) + identifier + payload)
    return bytes(out)


def flood_retained(port, scale):
    """Publishers of retained messages without end, each on a new topic."""
    payload = bytes(200)

    def packets(who, qos):
        return lambda n: publishes(qos, 1, (f"flood/{who}/{n}/{k}" for k in range(200)), payload)

    return [Flood(port, f"flood-{who}", packets(who, who % 2)) for who in range(4)]


def flood_queues(port, scale):
    """Sessions that are away, each with a growing queue of its own."""
    sessions = int(1000 * scale)
    for number in range(sessions):
        client = Raw(port, f"away-{number}")
        client.subscribe(1, f"queue/{number}")
        client.socket.sendall(frame(0xE0, b""))
        client.socket.close()
    payload = bytes(1000)

    def packets(who):
        return lambda n: publishes(1, 0, (f"queue/{(n * 50 + k) % sessions}" for k in range(50)), payload)

    return [Flood(port, f"flood-{who}", packets(who)) for who in range(3)]


def flood_slow(port, scale):
    """Subscribers that do not read, while publishers go on: first the system's buffers fill, then the broker."""
    slow = []
    for number in range(int(200 * scale)):
        client = Raw(port, f"slow-{number}", clean=True)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.subscribe(number % 2, "slow/#")
        slow.append(client)
    payload = bytes(1900)
    floods = [Flood(port, f"flood-{who}", lambda n, who=who: publishes(who % 2, 0, (f"slow/{n}/{k}" for k in range(50)), payload)) for who in range(3)]
    floods[0].kept = slow
    return floods


class Storm(threading.Thread):
    """Connects without end, with a large will and a subscription each, and stays."""

    def __init__(self, port, name, most):
        super().__init__(daemon=True)
        self.port, self.title, self.most = port, name, most
        self.batches, self.put_out = 0, 0
        self.over = threading.Event()

    def run(self):
        """Until it is told to stop."""
        kept = []
        will = bytes(16 * 1024)
        while not self.over.is_set():
            if len(kept) >= self.most:
                kept.pop(0).close()
            with contextlib.suppress(OSError):
                sock = socket.create_connection(("127.0.0.1", self.port), 5)
                sock.settimeout(5)
                name = f"{self.title}-{self.batches}"
                body = b"\x00\x04MQTT\x04\x06\x00\x00" + string(name) + string("storm/will") + struct.pack(">H", len(will)) + will
                sock.sendall(frame(0x10, body))
                answer = sock.recv(4)
                self.batches += 1
                if len(answer) == 4 and answer[3] == 0:
                    sock.sendall(frame(0x82, b"\x00\x01" + string(f"storm/{name}") + b"\x00"))
                    kept.append(sock)
                else:
                    self.put_out += 1
                    sock.close()
                    time.sleep(0.001)
        for sock in kept:
            sock.close()

    def stop(self):
        """Ends it."""
        self.over.set()
        self.join(20)


def flood_connections(port, scale):
    """A connect storm: more clients than there is room for, who come again at once."""
    return [Storm(port, f"storm-{who}", int(4000 * scale)) for who in range(4)]


FLOODS = {
    "retained": flood_retained,
    "queues": flood_queues,
    "slow subscribers": flood_slow,
    "connect storm": flood_connections,
}


def outcome(broker, flood, seconds, scale, healthy_clients=3, until=lambda: True):
    """Runs a flood beside healthy clients for so long, or three times that `until` it is full, and says what came of it."""
    result = {"flood": flood, "broker": broker.name}
    figures = Figures(broker.port, "$SYS/broker/memory/load_line/#")
    healthy = [Healthy(broker.port, str(number)) for number in range(healthy_clients)]
    for client in healthy:
        client.start()
    floods = []
    highest = broker.rss()
    began = time.monotonic()
    try:
        floods = FLOODS[flood](broker.port, scale)
        for one in floods:
            one.start()
        while broker.alive():
            took = time.monotonic() - began
            if took > 3 * seconds or took > seconds and until():
                break
            highest = max(highest, broker.rss())
            time.sleep(0.05)
    except (OSError, AssertionError) as error:
        result["trouble"] = str(error)
    result["seconds"] = round(time.monotonic() - began, 1)
    for client in healthy:
        client.stop()
    result["alive"] = broker.alive()
    for one in floods:
        one.stop()
    result |= {
        "rss_max": highest,
        "healthy_sent": sum(client.sent for client in healthy),
        "healthy_back": sum(client.back for client in healthy),
        "healthy_slowest": max(client.slowest for client in healthy),
        "healthy_failures": [client.failure for client in healthy if client.failure],
        "batches": sum(one.batches for one in floods),
        "put_out": sum(one.put_out for one in floods),
        "figures": figures.read() if result["alive"] else {},
    }
    return result


class Figures:
    """What a broker says of itself in `$SYS`. Subscribed early: when memory is short it would be refused."""

    def __init__(self, port, wanted):
        self.client = Raw(port, "figures", clean=True)
        self.client.subscribe(0, wanted)
        self.found = {}

    def read(self):
        """The latest, by the last level of the topic."""
        with contextlib.suppress(OSError):
            while True:
                self.client.socket.settimeout(1.5)
                first, body = self.client.read()
                if first >> 4 == 3:
                    length = struct.unpack(">H", body[:2])[0]
                    self.found["/".join(body[2 : 2 + length].decode().split("/")[4:])] = body[2 + length :].decode()
                if select.select([self.client.socket], [], [], 0)[0] == [] and packet_at(self.client.buffer, self.client.position) is None:
                    return self.found
        return self.found


def rss_of(broker):
    """A running broker's resident set."""
    lines = Path(f"/proc/{broker.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def fill_retained(port, count, payload):
    """Publishes, or deletes, a retained message on each of so many topics."""
    client = Raw(port, "filler", clean=True)
    for start in range(0, count, 5000):
        topics = (f"plant/{n % 100}/line/{n // 100 % 100}/value/{n}" for n in range(start, min(start + 5000, count)))
        client.socket.sendall(publishes(0, 1, topics, payload))
    client.socket.sendall(b"\xc0\x00")
    while client.read()[0] != 0xD0:
        pass
    client.close()


def hold_clients(port, count):
    """So many clients with a subscription each."""
    held = []
    for number in range(count):
        client = Raw(port, f"sensor-{number:05}", clean=True)
        client.subscribe(1, f"plant/7/sensor/{number:05}/set")
        held.append(client)
    return held


def comes_back(name, what, count, seconds):
    """RSS before, with so many retained messages or clients, and so long after they are gone."""
    broker = Broker("persistence false\nsys_interval 0\nlog_type error\nlog_type warning\n", name).start()
    try:
        for client in hold_clients(broker.port, 50):
            client.close()
        fill_retained(broker.port, 1000, bytes(64))
        fill_retained(broker.port, 1000, b"")
        time.sleep(3)
        found = {"before": rss_of(broker)}
        allowed = found["before"] * 1.1 + (8 << 20)
        if what == "retained":
            fill_retained(broker.port, count, bytes(64))
            found["full"] = rss_of(broker)
            fill_retained(broker.port, count, b"")
        else:
            held = hold_clients(broker.port, count)
            found["full"] = rss_of(broker)
            for client in held:
                client.close()
        gone = time.monotonic()
        found["after"] = rss_of(broker)
        while time.monotonic() - gone < seconds and found["after"] > allowed:
            time.sleep(0.5)
            found["after"] = rss_of(broker)
        found |= {"allowed": int(allowed), "seconds": round(time.monotonic() - gone, 1)}
        return found
    finally:
        broker.stop()
