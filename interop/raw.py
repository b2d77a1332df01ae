"""A minimal client over a socket, for rates that library clients do not reach."""

import contextlib
import socket
import struct


def frame(first, body):
    """A packet."""
    length, head = len(body), bytearray([first])
    while True:
        length, digit = divmod(length, 128)
        head.append(digit | (128 if length else 0))
        if not length:
            return bytes(head) + body


def string(text):
    """A string behind its length."""
    encoded = text.encode()
    return struct.pack(">H", len(encoded)) + encoded


def packet_at(buffer, position=0):
    """The packet at a position of a buffer, and where the next begins: (first byte, body, end). None if it is not whole."""
    length, shift, at = 0, 0, position + 1
    while at < len(buffer):
        digit = buffer[at]
        length |= (digit & 127) << shift
        shift, at = shift + 7, at + 1
        if not digit & 128:
            return (buffer[position], buffer[at : at + length], at + length) if len(buffer) >= at + length else None
    return None


class Raw:
    """A minimal 3.1.1 client; its session is persistent unless it is `clean`."""

    def __init__(self, port, name, clean=False):
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.socket.settimeout(15)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer, self.position = b"", 0
        self.socket.sendall(frame(0x10, b"\x00\x04MQTT\x04" + (b"\x02" if clean else b"\x00") + b"\x00\x00" + string(name)))
        first, body = self.read()
        assert first == 0x20 and body[1] == 0
        self.session_present = bool(body[0])

    def read(self):
        """The next packet: (first byte, body)."""
        while True:
            if packet := packet_at(self.buffer, self.position):
                first, body, self.position = packet
                return first, body
            more = self.socket.recv(1 << 16)
            if not more:
                raise ConnectionError("closed")
            self.buffer, self.position = self.buffer[self.position :] + more, 0

    def subscribe(self, qos, *topics):
        """Subscribes and waits for SUBACK."""
        filters = b"".join(string(topic) + bytes([qos]) for topic in topics)
        self.socket.sendall(frame(0x82, b"\x00\x01" + filters))
        assert self.read() == (0x90, b"\x00\x01" + bytes([qos]) * len(topics))

    def publish_all(self, messages, qos, window=500):
        """Publishes (topic, payload) pairs, `window` unacknowledged at a time, and waits for all."""
        waiting, sent, done, more = iter(messages), 0, 0, True
        while more or done < sent:
            burst = []
            while more and sent - done < window:
                topic, payload = next(waiting, (None, None))
                if topic is None:
                    more = False
                    break
                body = string(topic) + struct.pack(">H", sent % 60_000 + 1) + payload
                burst.append(frame(0x30 | qos << 1, body))
                sent += 1
            if burst:
                self.socket.sendall(b"".join(burst))
            if done < sent:
                first, body = self.read()
                if first >> 4 == 5:
                    self.socket.sendall(b"\x62\x02" + body[:2])
                done += first >> 4 in (4, 7)
        return done

    def close(self):
        """Closes the connection without DISCONNECT."""
        with contextlib.suppress(OSError):
            self.socket.close()


class Taker:
    """What a subscriber remembers over its connections: messages, and QoS 2 ones not released."""

    def __init__(self, port, name, qos):
        self.port, self.name, self.qos = port, name, qos
        self.payloads, self.again, self.received = [], 0, set()
        self.raw = None

    def connect(self, clean=False):
        """Connects; answers whether the session was there."""
        self.raw = Raw(self.port, self.name, clean)
        return self.raw.session_present

    def take(self, until):
        """Receives and acknowledges until it has so many messages and owes nothing."""
        while len(self.payloads) < until:
            self.step()

    def complete(self):
        """Receives until what it has at QoS 2 is released."""
        while self.received:
            self.step()

    def step(self):
        """Takes one packet; a message that it has in hand already is counted in `again`."""
        first, body = self.raw.read()
        if first >> 4 == 6:
            self.received.discard(body[:2])
            return self.raw.socket.sendall(b"\x70\x02" + body[:2])
        assert first >> 4 == 3, first
        qos, again, topic = first >> 1 & 3, first & 8, int.from_bytes(body[:2], "big")
        identifier, payload = body[2 + topic : 4 + topic], body[4 + topic :]
        if qos == 2:
            known = identifier in self.received
            assert again or not known, "the same packet identifier, but no DUP"
        else:
            known = again and payload in self.payloads[-64:]
        self.again += bool(known)
        if not known:
            self.payloads.append(payload)
        if qos == 2:
            self.received.add(identifier)
        self.raw.socket.sendall((b"\x50\x02" if qos == 2 else b"\x40\x02") + identifier)
