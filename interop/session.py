"""A 5.0 client over a socket that waits for each answer and tells its reason code."""

import socket
import struct

from raw import frame, packet_at


def string(text):
    """A string behind its length in bytes."""
    return struct.pack(">H", len(text.encode())) + text.encode()


class Refused(Exception):
    """CONNACK with an error."""

    def __init__(self, reason):
        super().__init__(f"refused: 0x{reason:02x}")
        self.reason = reason


class Session:
    """A connected client; its session ends with the connection."""

    def __init__(self, port, name, username=None, password=None, keep_alive=60, will=None, timeout=10):
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.socket.settimeout(timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer, self.number, self.messages, self.disconnected = b"", 0, [], None
        flags, payload = 2, string(name)
        if will:
            flags |= 4
            payload += b"\0" + string(will[0]) + string(will[1])
        if username is not None:
            flags |= 128
            payload += string(username)
        if password is not None:
            flags |= 64
            payload += string(password)
        head = b"\0\4MQTT\5" + bytes([flags]) + struct.pack(">H", keep_alive) + b"\0"
        self.send(0x10, head + payload)
        first, body = self.packet()
        assert first == 0x20, first
        if body[1]:
            raise Refused(body[1])

    def send(self, first, body):
        """Sends a packet."""
        self.socket.sendall(frame(first, body))

    def packet(self):
        """The next packet: (first byte, body)."""
        while True:
            if packet := packet_at(self.buffer):
                first, body, end = packet
                self.buffer = self.buffer[end:]
                return first, body
            more = self.socket.recv(1 << 16)
            if not more:
                raise ConnectionError("closed")
            self.buffer += more

    def wait(self, kind):
        """The body of the next packet of a kind; messages before it are kept."""
        while True:
            first, body = self.packet()
            if first >> 4 == kind:
                return body
            if first >> 4 == 14:
                self.disconnected = body[0] if body else 0
                raise ConnectionError(f"DISCONNECT 0x{self.disconnected:02x}")
            assert first >> 4 == 3, first
            self.message(first, body)

    def message(self, first, body):
        """Keeps a message that came."""
        length = int.from_bytes(body[:2], "big")
        topic, at = body[2 : 2 + length].decode(), 2 + length + (2 if first & 6 else 0)
        if first & 6:
            self.send(0x40, body[at - 2 : at])
        self.messages.append((topic, body[at + 1 + body[at] :]))

    def identifier(self):
        """A fresh packet identifier."""
        self.number = self.number % 60_000 + 1
        return struct.pack(">H", self.number)

    def subscribe(self, *filters):
        """Subscribes; answers the reason codes."""
        body = self.identifier() + b"\0" + b"".join(string(each) + b"\1" for each in filters)
        self.send(0x82, body)
        return list(self.wait(9)[3:])

    def unsubscribe(self, *filters):
        """Unsubscribes; answers the reason codes."""
        self.send(0xA2, self.identifier() + b"\0" + b"".join(map(string, filters)))
        return list(self.wait(11)[3:])

    def publish(self, topic, payload=b"x", qos=1, retain=False):
        """Publishes; answers the reason code of PUBACK, nothing at QoS 0."""
        identifier = self.identifier() if qos else b""
        self.send(0x30 | qos << 1 | retain, string(topic) + identifier + b"\0" + payload)
        if qos:
            body = self.wait(4)
            return body[2] if len(body) > 2 else 0
        return None

    def ping(self):
        """Waits until the broker has dealt with everything before."""
        self.send(0xC0, b"")
        self.wait(13)

    def next(self):
        """The next message: (topic, payload)."""
        while not self.messages:
            first, body = self.packet()
            if first >> 4 == 14:
                self.disconnected = body[0] if body else 0
                raise ConnectionError(f"DISCONNECT 0x{self.disconnected:02x}")
            assert first >> 4 == 3, first
            self.message(first, body)
        return self.messages.pop(0)

    def ended(self):
        """Waits for the end of the connection; answers the reason code of DISCONNECT, if one came."""
        try:
            while True:
                self.next()
        except ConnectionError:
            return self.disconnected

    def close(self):
        """Ends the connection as it should be ended."""
        try:
            self.send(0xE0, b"")
            self.socket.close()
        except OSError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
