"""A small language for dialogs with a broker, byte by byte.

Packets are written as bytes with structure:

    10          hexadecimal bytes (0004 is two)
    'text'      a UTF-8 string with its two-byte length
    "text"      the bytes of a text, without a length
    [ … ]       two-byte length, then what is inside
    { … }       Variable Byte Integer length, then what is inside
    00*300      the item before the star, 300 times
    ??          one byte that may be anything (only in an expectation)
    ..          the rest may be anything (only at the end of an expectation)
    $name       a packet or part by name, from packets.toml, of the case's protocol version
    $name(x)    the same, with x in place of its @

A dialog has one step a line; `#` begins a comment. A step may begin with the name of a connection
(the first one needs none), which is opened when it first occurs:

    > BYTES             send
    drip> BYTES         send byte by byte
    < PACKET CODES      receive one packet: its name and reason codes, alternatives as 81|82
    < BYTES             receive one packet of exactly these bytes
    < A or B            either of two packets (`closed` may be one of them)
    <? A or B           the same where the packet may also be left out
    closed [within 5s]  the broker closes the connection, and sends nothing more before
    open                the connection still answers PINGREQ
    silence 1s          nothing arrives
    wait 1s             let time pass
    hangup              close the connection without DISCONNECT

A line that begins with `v3:` or `v5:` is for that version only.
"""

import re
import socket
import time
from dataclasses import dataclass, field

RECEIVE_SECONDS = 5
OPTIONAL_SECONDS = 0.5
CLOSE_SECONDS = 5

NAMES = {
    1: "CONNECT", 2: "CONNACK", 3: "PUBLISH", 4: "PUBACK", 5: "PUBREC", 6: "PUBREL", 7: "PUBCOMP",
    8: "SUBSCRIBE", 9: "SUBACK", 10: "UNSUBSCRIBE", 11: "UNSUBACK", 12: "PINGREQ", 13: "PINGRESP",
    14: "DISCONNECT", 15: "AUTH",
}  # fmt: skip
VERBS = {">", "drip>", "<", "<?", "closed", "open", "silence", "wait", "hangup"}

TOKEN = re.compile(
    r"""\s*(?:
        (?P<hex>(?:[0-9A-Fa-f]{2})+)
      | '(?P<string>[^']*)'
      | "(?P<text>[^"]*)"
      | (?P<open>[\[{]) | (?P<close>[\]}])
      | (?P<any>\?\?) | (?P<rest>\.\.)
      | \$(?P<name>\w+)(?:\((?P<argument>[^)]*)\))?
      | \*(?P<times>\d+)
    )\s*""",
    re.VERBOSE,
)
ANY, REST = -1, -2


class Unexpected(AssertionError):
    """The broker did something else than the dialog says."""


def variable_byte_integer(value):
    """MQTT's length encoding."""
    out = []
    while True:
        value, digit = divmod(value, 128)
        out.append(digit | (0x80 if value else 0))
        if not value:
            return out


def parse_bytes(text, packets=None):
    """Turns the notation into a list of byte values, `ANY` and `REST`."""
    stack, last = [("", [])], []
    position = 0
    while position < len(text):
        match = TOKEN.match(text, position)
        if not match or match.end() == position:
            raise ValueError(f"cannot read {text[position:]!r} in {text!r}")
        position = match.end()
        group, items = stack[-1]
        if match["open"]:
            stack.append((match["open"], []))
            continue
        if match["times"]:
            last = last * (int(match["times"]) - 1)
        elif match["close"]:
            if {"{": "}", "[": "]"}.get(group) != match["close"]:
                raise ValueError(f"brackets do not match in {text!r}")
            stack.pop()
            size = len(items)
            length = variable_byte_integer(size) if group == "{" else list(size.to_bytes(2, "big"))
            last = length + items
        else:
            last = _item(match, packets or {})
        stack[-1][1].extend(last)
    if len(stack) != 1:
        raise ValueError(f"a bracket is not closed in {text!r}")
    return stack[0][1]


def _item(match, packets):
    if match["hex"]:
        return list(bytes.fromhex(match["hex"]))
    if match["string"] is not None:
        encoded = match["string"].encode()
        return list(len(encoded).to_bytes(2, "big") + encoded)
    if match["text"] is not None:
        return list(match["text"].encode())
    if match["any"]:
        return [ANY]
    if match["rest"]:
        return [REST]
    return parse_bytes(packets[match["name"]].replace("@", match["argument"] or ""), packets)


@dataclass
class Packet:
    """One packet as it came."""

    raw: bytes
    body: bytes

    @property
    def name(self):
        """What the specification calls it."""
        return NAMES.get(self.raw[0] >> 4, "reserved packet")

    def reason_codes(self, version):
        """Its reason codes (return codes of 3.1.1), 0 where the packet leaves it out."""
        body = self.body
        match self.name:
            case "CONNACK":
                return [body[1]]
            case "PUBACK" | "PUBREC" | "PUBREL" | "PUBCOMP":
                return [body[2] if len(body) > 2 else 0]
            case "DISCONNECT" | "AUTH":
                return [body[0] if body else 0]
            case "SUBACK" | "UNSUBACK":
                # Answers to these dialogs carry less than 128 bytes of properties.
                return list(body[3 + body[2] :] if version == 5 else body[2:])
        return []

    def describe(self, version):
        """A line for the transcript."""
        codes = " ".join(f"{code:02X}" for code in self.reason_codes(version))
        return f"{self.name} {codes}".strip() + f"  [{self.raw[:64].hex(' ')}]"


class Connection:
    """One TCP connection."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.ended = False

    def send(self, data):
        """Sends; a connection that the broker has closed already is no error here."""
        try:
            self.socket.settimeout(20)
            self.socket.sendall(data)
        except (ConnectionError, TimeoutError):
            pass

    def fill(self, seconds):
        """Reads once; False when nothing came in time or the connection has ended."""
        if self.ended or seconds <= 0:
            return False
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            return False
        except ConnectionError:
            data = b""
        self.buffer += data
        self.ended = not data
        return bool(data)

    def receive(self, seconds):
        """The next packet, or None."""
        deadline = time.monotonic() + seconds
        while (packet := self._take()) is None:
            if not self.fill(deadline - time.monotonic()):
                return None
        return packet

    def _take(self):
        length, shift = 0, 0
        for index in range(1, 5):
            if index >= len(self.buffer):
                return None
            length |= (self.buffer[index] & 0x7F) << shift
            shift += 7
            if self.buffer[index] < 0x80:
                break
        end = index + 1 + length
        if len(self.buffer) < end:
            return None
        raw, self.buffer = self.buffer[:end], self.buffer[end:]
        return Packet(raw, raw[index + 1 :])

    def close(self):
        """Closes it from our side."""
        self.socket.close()


@dataclass
class Dialog:
    """Plays the steps of one dialog against a broker."""

    port: int
    version: int
    packets: dict
    connections: dict = field(default_factory=dict)
    transcript: list = field(default_factory=list)

    def play(self, script):
        """Plays all steps; raises `Unexpected` with the transcript so far."""
        try:
            for line in script.splitlines():
                line = _without_comment(line).strip()
                prefix = re.match(r"v(\d): *", line)
                if prefix:
                    line = line[prefix.end() :]
                    if (int(prefix[1]) == 5) != (self.version == 5):
                        continue
                if line:
                    self.transcript.append(line)
                    self._step(line)
        except Unexpected as problem:
            raise Unexpected("\n".join([*self.transcript, f"!! {problem}"])) from None
        finally:
            for connection in self.connections.values():
                connection.close()

    def _step(self, line):
        first, _, rest = line.partition(" ")
        name = "" if first in VERBS else first
        if name:
            first, _, rest = rest.strip().partition(" ")
        if first not in VERBS:
            raise ValueError(f"no such step: {line!r}")
        if first == "wait":
            time.sleep(_seconds(rest))
            return
        if name not in self.connections:
            self.connections[name] = Connection(self.port)
        connection = self.connections[name]
        match first:
            case ">":
                connection.send(bytes(parse_bytes(rest, self.packets)))
            case "drip>":
                for byte in parse_bytes(rest, self.packets):
                    connection.send(bytes([byte]))
                    time.sleep(0.002)
            case "<":
                self._expect(connection, rest)
            case "<?":
                self._expect(connection, rest, optional=True)
            case "closed":
                self._closed(connection, _seconds(rest) if rest else CLOSE_SECONDS)
            case "open":
                connection.send(b"\xc0\x00")
                self._expect(connection, "PINGRESP")
            case "silence":
                self._silence(connection, _seconds(rest))
            case "hangup":
                connection.close()

    def _next(self, connection, seconds):
        packet = connection.receive(seconds)
        if packet is not None:
            self.transcript.append(f"    came: {packet.describe(self.version)}")
        return packet

    def _expect(self, connection, wanted, optional=False):
        choices = [choice.strip() for choice in wanted.split(" or ")]
        packet = self._next(connection, OPTIONAL_SECONDS if optional else RECEIVE_SECONDS)
        if packet is None:
            if optional or connection.ended and "closed" in choices:
                return
            raise Unexpected("the broker closed the connection" if connection.ended else "nothing came")
        if not any(self._is(packet, choice) for choice in choices):
            raise Unexpected(f"wanted {wanted}, came {packet.describe(self.version)}")

    def _is(self, packet, wanted):
        words = wanted.split()
        if words[0] == "closed":
            return False
        if words[0] not in NAMES.values():
            return _fits(packet.raw, parse_bytes(wanted, self.packets))
        codes = packet.reason_codes(self.version)
        allowed = [[int(code, 16) for code in word.split("|")] for word in words[1:]]
        return packet.name == words[0] and (
            not allowed
            or len(codes) == len(allowed)
            and all(code in options for code, options in zip(codes, allowed))
        )

    def _closed(self, connection, seconds):
        deadline = time.monotonic() + seconds
        if self._next(connection, seconds) is not None:
            raise Unexpected("a packet before the close")
        while not connection.ended and connection.fill(deadline - time.monotonic()):
            pass
        if not connection.ended:
            raise Unexpected("the broker left the connection open")

    def _silence(self, connection, seconds):
        if self._next(connection, seconds) is not None:
            raise Unexpected("a packet where none may come")
        if connection.ended:
            raise Unexpected("the broker closed the connection")


def _fits(raw, pattern):
    if pattern and pattern[-1] == REST:
        pattern = pattern[:-1]
        raw = raw[: len(pattern)]
    return len(raw) == len(pattern) and all(p in (ANY, b) for p, b in zip(pattern, raw))


def _without_comment(line):
    """Cuts a comment off; a # between quotes is none."""
    quote = None
    for index, character in enumerate(line):
        if quote:
            quote = None if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "#":
            return line[:index]
    return line


def _seconds(text):
    match = re.fullmatch(r"(?:within )?([0-9.]+)s", text.strip())
    if not match:
        raise ValueError(f"not a time: {text!r}")
    return float(match[1])
