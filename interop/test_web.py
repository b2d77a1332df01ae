"""WebSocket, PROXY protocol and unix sockets: real clients, and frames by hand."""

import base64
import os
import shutil
import socket
import struct
import subprocess
import time

import broker as brokers
import paho.mqtt.client as mqtt
import pytest
from broker import logged
from durable import STAY
from raw import frame, string

pytestmark = pytest.mark.skipif(brokers.name() != "plimsoll", reason="needs a listener of its own")
CONNECT = frame(0x10, b"\x00\x04MQTT\x04\x02\x00\x00" + string("web"))


class Web:
    """A WebSocket by hand."""

    def __init__(self, port, headers="", key=None, upgrade=True):
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.socket.settimeout(5)
        self.buffer = b""
        if upgrade:
            key = key or base64.b64encode(os.urandom(16)).decode()
            self.socket.sendall(
                f"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: mqtt\r\n{headers}\r\n".encode()
            )
            self.answer = self._until(b"\r\n\r\n").decode()

    def _until(self, end):
        while end not in self.buffer:
            more = self.socket.recv(4096)
            if not more:
                break
            self.buffer += more
        head, _, self.buffer = self.buffer.partition(end)
        return head

    def send(self, payload, first=0x82, mask=b"\x01\x02\x03\x04"):
        length = len(payload)
        head = bytes([first, 0x80 | (length if length < 126 else 126 if length < 65536 else 127)])
        head += b"" if length < 126 else struct.pack(">H" if length < 65536 else ">Q", length)
        self.socket.sendall(head + mask + bytes(b ^ mask[n % 4] for n, b in enumerate(payload)))

    def _take(self, count):
        while len(self.buffer) < count:
            more = self.socket.recv(65536)
            if not more:
                raise EOFError
            self.buffer += more
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def read(self):
        """A frame: (first byte, payload)."""
        first, length = self._take(2)
        if length == 126:
            length = struct.unpack(">H", self._take(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", self._take(8))[0]
        return first, self._take(length)


@pytest.fixture
def web():
    """A broker with a plain listener and one for WebSocket."""
    port = brokers.free_port()
    with brokers.Broker(config=STAY, listener=f"listener {port} 127.0.0.1\nprotocol websockets\n") as broker:
        broker.web = port
        yield broker


@pytest.mark.parametrize("version", [mqtt.MQTTv311, mqtt.MQTTv5])
def test_paho_over_websocket(web, version):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, transport="websockets", protocol=version)
    got = []
    client.on_message = lambda c, u, m: got.append(m.payload)
    client.on_connect = lambda c, u, f, r, p: c.subscribe("big", 1)
    client.connect("127.0.0.1", web.web)
    client.loop_start()
    payloads = [b"small", bytes(range(256)) * 1000, b"x" * 126, b"y" * 65536]
    time.sleep(0.3)
    for payload in payloads:
        client.publish("big", payload, 1)
    deadline = time.monotonic() + 10
    while len(got) < len(payloads) and time.monotonic() < deadline:
        time.sleep(0.02)
    client.disconnect()
    client.loop_stop()
    assert got == payloads
    assert logged(web, "disconnected.")


def test_frames_by_hand(web):
    one = Web(web.web)
    assert "101 Switching Protocols" in one.answer and "Sec-WebSocket-Protocol: mqtt" in one.answer
    for byte in CONNECT[:5]:
        one.send(bytes([byte]))  # A packet in pieces (MQTT-6.0.0-2).
    one.send(CONNECT[5:] + b"\xc0\x00" * 3)  # And several in one frame.
    got = b""
    while len(got) < 10:
        first, payload = one.read()
        assert first == 0x82  # MQTT-6.0.0-1
        got += payload
    assert got == b"\x20\x02\x00\x00" + b"\xd0\x00" * 3
    one.send(b"are you there", 0x89)
    assert one.read() == (0x8A, b"are you there")
    one.send(struct.pack(">H", 1001), 0x88)
    assert one.read() == (0x88, struct.pack(">H", 1001))
    assert logged(web, "Client web closed its connection.")


VIOLATIONS = {
    "text": (lambda one: one.send(b"text", 0x81), 1003),
    "unmasked": (lambda one: one.socket.sendall(b"\x82\x00"), 1002),
    "reserved": (lambda one: one.send(b"", 0xF2), 1002),
    "unknown": (lambda one: one.send(b"", 0x83), 1002),
    "long ping": (lambda one: one.send(b"x" * 200, 0x89), 1002),
    "continuation": (lambda one: one.send(b"", 0x80), 1002),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_violations_are_answered_with_their_code(web, name):
    violate, code = VIOLATIONS[name]
    one = Web(web.web)
    one.send(CONNECT)
    one.read()
    violate(one)
    assert one.read() == (0x88, struct.pack(">H", code))
    with pytest.raises((EOFError, ConnectionError)):
        one.read()


def test_what_is_no_upgrade_is_told_why(web):
    one = Web(web.web, upgrade=False)
    one.socket.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert "426 Upgrade Required" in one._until(b"\r\n\r\n").decode()
    one = Web(web.web, upgrade=False)
    one.socket.sendall(CONNECT + b"\r\n\r\n")
    assert one._until(b"\r\n\r\n").startswith(b"HTTP/1.1 400")
    one = Web(web.web, upgrade=False)
    one.socket.sendall(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 2000)
    assert one._until(b"\r\n\r\n").startswith(b"HTTP/1.1 431")


def test_origins(web):
    web.config.write_text(web.config.read_text() + "websockets_origin https://a.example\n")
    web.signal(1)
    assert logged(web, "Reloading config.")
    time.sleep(0.3)
    assert "101" in Web(web.web, "Origin: https://a.example\r\n").answer
    assert "403" in Web(web.web, "Origin: https://b.example\r\n").answer


def test_proxy_protocol(tmp_path):
    second = brokers.free_port()
    with brokers.Broker(config=STAY, listener=f"enable_proxy_protocol 1\nlistener {second} 127.0.0.1\nenable_proxy_protocol 2\nallow_anonymous true\n") as broker:
        one = socket.create_connection(("127.0.0.1", broker.port))
        for byte in b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 1883\r\n" + CONNECT:
            one.sendall(bytes([byte]))
        assert one.recv(4) == b"\x20\x02\x00\x00"
        assert logged(broker, "New client connected from 192.0.2.7:4711 as web")
        header = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24" + bytes(15) + b"\x09" + bytes(16) + b"\x12\x67\x07\x5b"
        two = socket.create_connection(("127.0.0.1", second))
        two.sendall(header + CONNECT)
        assert two.recv(4) == b"\x20\x02\x00\x00"
        assert logged(broker, "New client connected from ::9:4711 as web")
        for port in (broker.port, second):
            wrong = socket.create_connection(("127.0.0.1", port))
            wrong.sendall(CONNECT)
            wrong.settimeout(3)
            try:
                assert wrong.recv(10) == b""
            except ConnectionError:
                pass
        assert logged(broker, "this is not a header of PROXY version 2")


@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2"])
def test_behind_haproxy(tmp_path, send):
    haproxy = shutil.which("haproxy") or "/usr/sbin/haproxy"
    front = brokers.free_port()
    version = 2 if send.endswith("v2") else 1
    with brokers.Broker(config=STAY, listener=f"enable_proxy_protocol {version}\nprotocol websockets\n") as broker:
        config = tmp_path / "haproxy.cfg"
        config.write_text(
            f"defaults\n mode tcp\n timeout connect 2s\n timeout client 10s\n timeout server 10s\n"
            f"listen mqtt\n bind 127.0.0.1:{front}\n server one 127.0.0.1:{broker.port} {send}\n"
        )
        process = subprocess.Popen([haproxy, "-f", str(config)], stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 5
            while socket.socket().connect_ex(("127.0.0.1", front)):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            one = Web(front)
            one.send(CONNECT)
            assert one.read() == (0x82, b"\x20\x02\x00\x00")
            ours = one.socket.getsockname()[1]
            assert logged(broker, f"New client connected from 127.0.0.1:{ours} as web")
        finally:
            process.kill()
            process.wait()


def test_unix_socket(tmp_path):
    path = tmp_path / "mqtt.sock"
    with brokers.Broker(config=STAY, listener=f"listener 0 {path}\nallow_anonymous true\n") as broker:
        assert path.stat().st_mode & 0o777 == 0o770
        publish = ["mosquitto_pub", "--unix", str(path), "-t", "u", "-m", "x", "-q", "1", "-i", "local"]
        assert subprocess.run(publish, timeout=10).returncode == 0
        assert logged(broker, "New client connected from a unix socket as local")
        # A second broker does not take it away.
        second = subprocess.run([brokers.program(), "-c", str(broker.config)], capture_output=True, text=True, timeout=10)
        assert second.returncode == 1
        # One that was left behind is no hindrance.
        broker.kill()
        assert path.exists()
        broker.start()
        assert subprocess.run(publish, timeout=10).returncode == 0
        broker.stop()
        assert not path.exists()
        path.write_text("mine")
        with pytest.raises(RuntimeError, match="is there already and is no socket"):
            broker.start()
        assert path.read_text() == "mine"


def test_systemd_hands_sockets_over_and_is_told(tmp_path):
    """As systemd does it: descriptors from 3 on, and a datagram socket for what it is told."""
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(str(tmp_path / "notify"))
    told.settimeout(10)
    tcp = socket.create_server(("127.0.0.1", 0))
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(tmp_path / "mqtt.sock"))
    unix.listen()
    port = tcp.getsockname()[1]
    config = tmp_path / "broker.conf"
    config.write_text(f"{STAY}listener {port} 127.0.0.1\nlistener 0 {tmp_path}/mqtt.sock\nallow_anonymous true\n")
    environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000", "LISTEN_FDS": "2"}
    script = 'exec 3<&"$1" 4<&"$2"; export LISTEN_PID=$$ WATCHDOG_PID=$$; exec "$3" -c "$4"'
    process = subprocess.Popen(
        ["bash", "-c", script, "bash", str(tcp.fileno()), str(unix.fileno()), brokers.program(), str(config)],
        env=environment,
        pass_fds=(tcp.fileno(), unix.fileno()),
    )
    try:
        heard = []
        while "READY=1" not in heard:
            heard += told.recv(1000).decode().split("\n")
        assert subprocess.run(["mosquitto_pub", "-p", str(port), "-t", "a", "-m", "x", "-q", "1"], timeout=10).returncode == 0
        unix_pub = ["mosquitto_pub", "--unix", str(tmp_path / "mqtt.sock"), "-t", "a", "-m", "x", "-q", "1"]
        assert subprocess.run(unix_pub, timeout=10).returncode == 0
        beats = 0
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            beats += "WATCHDOG=1" in told.recv(1000).decode()
        assert beats >= 5, "an idle broker shows that it lives"
        process.send_signal(1)
        heard = []
        while "READY=1" not in heard:
            heard += told.recv(1000).decode().split("\n")
        assert "RELOADING=1" in heard and any(line.startswith("MONOTONIC_USEC=") for line in heard)
        process.terminate()
        assert process.wait(5) == 0
        heard = []
        while "STOPPING=1" not in heard:
            heard += told.recv(1000).decode().split("\n")
        assert (tmp_path / "mqtt.sock").exists(), "what systemd has made is systemd's"
    finally:
        process.kill()
        process.wait()
