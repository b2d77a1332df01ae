"""Passwords and rules: the same files and requests to Debian's mosquitto and to ours, and what only ours does."""

import itertools
import os
import random
import signal
import socket
import struct
import subprocess
import threading
import time

import broker as brokers
import pytest
import stock
from durable import STAY
from raw import frame, packet_at, string

SEED = int(os.environ.get("SEED", "1"))
pytestmark = pytest.mark.skipif(brokers.name() != "plimsoll", reason="compares with mosquitto by itself")


def topic_of(body):
    """The topic of a PUBLISH."""
    return body[2 : 2 + struct.unpack(">H", body[:2])[0]].decode()


class Client:
    """A 3.1.1 client with a name and a password, over a bare socket."""

    def __init__(self, port, identifier, username=None, password=None):
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.socket.settimeout(10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer, self.got = b"", set()
        flags = 0x02 | (0x80 if username is not None else 0) | (0x40 if password is not None else 0)
        body = b"\x00\x04MQTT\x04" + bytes([flags]) + b"\x00\x00" + string(identifier)
        for text in (username, password):
            body += string(text) if text is not None else b""
        try:
            self.socket.sendall(frame(0x10, body))
            self.code = self.read()[1][1]
        except (AssertionError, ConnectionError):
            self.code = None  # Closed without a word.

    def read(self):
        """The next packet: (first byte, body)."""
        while True:
            if packet := packet_at(self.buffer):
                first, body, end = packet
                self.buffer = self.buffer[end:]
                return first, body
            more = self.socket.recv(65536)
            assert more, "closed"
            self.buffer += more

    def publish(self, topics):
        """Publishes to each at QoS 1 and waits until all are acknowledged."""
        packets = (frame(0x32, string(t) + struct.pack(">H", n) + b"x") for n, t in enumerate(topics, 1))
        self.socket.sendall(b"".join(packets))
        acknowledged = 0
        while acknowledged < len(topics):
            first, body = self.read()
            acknowledged += first == 0x40
            self.got |= {topic_of(body)} if first >> 4 == 3 else set()

    def send(self, topics):
        """Publishes to each at QoS 0."""
        self.socket.sendall(b"".join(frame(0x30, string(t) + b"x") for t in topics))

    def subscribe(self, *filters):
        """Subscribes at QoS 0; answers the return codes."""
        self.socket.sendall(frame(0x82, b"\x00\x01" + b"".join(string(f) + b"\x00" for f in filters)))
        first, body = self.read()
        assert first == 0x90
        return list(body[2:])

    def received(self):
        """Topics received until now: what was routed to it before is in front of PINGRESP."""
        self.socket.sendall(b"\xc0\x00")
        while True:
            first, body = self.read()
            if first == 0xD0:
                topics, self.got = self.got, set()
                return topics
            self.got.add(topic_of(body))

    def close(self):
        self.socket.close()


NAMES = ["joe", "jane", "u/1", "u+1", "u#2", "%u", "a", "mr smith", "ümlaut"]
IDENTIFIERS = ["c1", "a", "c/2", "c+3", "%c"]
WORDS = ["a", "b", "", "joe", "c1", "u", "1", "%u", "%c", "ümlaut"]


def topic(choose):
    levels = [choose.choice(WORDS) for _ in range(choose.randint(1, 3))]
    name = "/".join(levels)
    if choose.random() < 0.1:
        name = "$x/" + name
    return name or "a"


def rule(choose, words):
    levels = [choose.choice([*words, "+", "+"]) for _ in range(choose.randint(1, 2))]
    if choose.random() < 0.4:
        levels.append("#")
    name = "/".join(levels)
    return ("$x/" + name) if choose.random() < 0.1 else (name or "+")


def rules(choose):
    """An ACL file."""
    lines = []
    right = lambda: choose.choice(["read ", "write ", "readwrite ", "deny ", "read ", "write ", ""])  # noqa: E731
    for name in [None, *choose.sample(NAMES, 6), "root"]:
        if name:
            lines.append(f"user {name}")
        if name == "root":
            lines += ["topic readwrite #", "topic readwrite $x/#"]
            continue
        lines += [f"topic {right()}{rule(choose, WORDS)}" for _ in range(choose.randint(1, 5))]
    lines += [f"pattern {right()}{rule(choose, [*WORDS, 'p%c', '%u', '%c', '%u%c'])}" for _ in range(4)]
    lines.insert(0, "# generated")
    return "\n".join(lines) + "\n"


def password_file(path):
    """All names and `root`, hashed by mosquitto_passwd; every password is `secret NAME`."""
    path.write_text("".join(f"{name}:secret {name}\n" for name in [*NAMES, "root"]))
    subprocess.run(["mosquitto_passwd", "-U", str(path)], check=True)
    path.chmod(0o644)


def decisions(port, seed):
    """Every decision of a broker, by what was asked."""
    choose = random.Random(seed)
    found = {}
    for name in [None, *NAMES, "nobody", ""]:
        for password in [None, "", f"secret {name}", "wrong", f"Secret {name}"]:
            if name is None and password is not None:
                continue
            client = Client(port, "x", name, password)
            found["connect", name, password] = client.code == 0
            client.close()
    root = Client(port, "root", "root", "secret root")
    root.subscribe("#", "$x/#")
    for name in [None, *NAMES]:
        for identifier in IDENTIFIERS:
            topics = sorted({topic(choose) for _ in range(70)})
            connect = lambda: Client(port, identifier, name, name and f"secret {name}")  # noqa: B023, E731
            client = connect()
            assert client.code == 0
            for each in topics:
                # 2.0.11 ends the connection of a 3.1.1 client that publishes what it may not.
                try:
                    client.send([each])
                    client.received()
                except (AssertionError, ConnectionError):
                    client.close()
                    client = connect()
            written = root.received()
            client.subscribe("#", "$x/#")
            client.received()
            root.send(topics)
            root.received()
            read = client.received()
            client.close()
            for each in topics:
                found["write", name, identifier, each] = each in written
                found["read", name, identifier, each] = each in read
    root.close()
    return found


@pytest.mark.parametrize("seed", range(SEED, SEED + 4))
def test_every_decision_is_mosquittos(tmp_path, seed):
    tmp_path.chmod(0o755)
    tmp_path.parent.chmod(0o755)
    passwords, acl = tmp_path / "passwords", tmp_path / "acl"
    password_file(passwords)
    acl.write_text(rules(random.Random(seed)), encoding="utf-8")
    files = f"password_file {passwords}\nacl_file {acl}\n"
    limits = "set_tcp_nodelay true\nmax_queued_messages 0\nmax_inflight_messages 0\n"
    with brokers.Broker(config=limits + files, broker="mosquitto") as theirs:
        expected = decisions(theirs.port, seed)
    more = "acl_subscribe_deny false\nauth_failures_per_minute 0\n"
    with ours(limits + files + more) as broker:
        found = decisions(broker.port, seed)
    assert len(expected) >= 5000 and sum(expected.values()) > 100
    differences = {asked: (expected[asked], found[asked]) for asked in expected if found[asked] != expected[asked]}
    assert not differences, f"{len(differences)} of {len(expected)}: {list(differences.items())[:10]}\n{acl.read_text()}"
    print(f"{len(expected)} decisions, all the same; {sum(1 for v in expected.values() if v is True)} granted")


def ours(config, **more):
    """Our broker, as whoever runs the tests: their files are nobody else's."""
    return brokers.Broker(config=f"{STAY}{config}", **more)


def passwd(*words, text=None):
    """`plimsoll passwd`."""
    return subprocess.run([brokers.program(), "passwd", *map(str, words)], input=text, capture_output=True, text=True)


def test_passwd_has_mosquitto_passwds_flags(tmp_path):
    file = tmp_path / "passwords"
    assert passwd(file, "joe", text="secret\n").returncode == 1, "-c makes a new file"
    assert passwd("-c", file, "joe", text="secret\n").returncode == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert passwd("-b", "-H", "sha512-pbkdf2", file, "jane", "geheim").returncode == 0
    assert passwd("-b", "-H", "sha512", file, "jim", "x").returncode == 0
    assert passwd("-b", file, "gone", "x").returncode == 0
    assert passwd("-D", file, "gone").returncode == 0 and passwd("-D", file, "gone").returncode == 1
    assert passwd("-b", file, "a:b", "x").returncode == 1
    lines = dict(line.split(":", 1) for line in file.read_text().splitlines())
    assert [lines[name].split("$")[1] for name in ("joe", "jane", "jim")] == ["argon2id", "7", "6"]
    with ours(f"password_file {file}") as broker:
        for name, password, code in [("joe", "secret", 0), ("joe", "no", 5), ("jane", "geheim", 0), ("jim", "x", 0)]:
            client = Client(broker.port, "a", name, password)
            assert client.code == code
            client.close()
    # Mosquitto 2.0 reads what it can know.
    old = tmp_path / "old"
    old.write_text("".join(f"{name}:{lines[name]}\n" for name in ("jane", "jim")))
    old.chmod(0o644)
    tmp_path.chmod(0o755)
    with brokers.Broker(config=f"password_file {old}", broker="mosquitto") as theirs:
        client = Client(theirs.port, "a", "jane", "geheim")
        assert client.code == 0
        client.close()
    plain = tmp_path / "plain"
    plain.write_text("# mine\njoe:secret: with colons\njane:b\n")
    assert passwd("-U", plain).stdout.startswith("2 password(s) hashed")
    with ours(f"password_file {plain}") as broker:
        assert Client(broker.port, "a", "joe", "secret: with colons").code == 0


def files(tmp_path, users="joe:secret\njane:secret\n", acl="user joe\ntopic readwrite a/#\n"):
    passwords, rules_file = tmp_path / "passwords", tmp_path / "acl"
    passwords.write_text(users)
    assert passwd("-H", "sha512-pbkdf2", "-U", passwords).returncode == 0
    rules_file.write_text(acl)
    return passwords, rules_file


def wait(condition, seconds=2):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def closed(client):
    client.socket.settimeout(2)
    try:
        return client.socket.recv(100) == b""
    except ConnectionError:
        return True


def test_a_forbidden_filter_is_refused_and_5_0_hears_of_a_forbidden_publish(tmp_path):
    passwords, acl = files(tmp_path)
    with ours(f"password_file {passwords}\nacl_file {acl}") as broker:
        joe = Client(broker.port, "j", "joe", "secret")
        assert joe.subscribe("a/b", "b/#", "#", "$share/g/a/x", "$share/g/b") == [0, 0x80, 0, 0, 0x80]
        command = ["mosquitto_pub", "-p", str(broker.port), "-u", "joe", "-P", "secret", "-V", "5", "-q", "1", "-m", "x"]
        denied = subprocess.run([*command, "-t", "b"], capture_output=True, text=True)
        assert "Not authorized" in denied.stdout + denied.stderr
        allowed = subprocess.run([*command, "-t", "a/b"], capture_output=True, text=True)
        assert allowed.returncode == 0 and "Not authorized" not in allowed.stdout + allowed.stderr
        joe.close()


def test_what_changes_in_the_files_holds_for_live_connections(tmp_path):
    passwords, acl = files(tmp_path)
    with ours(f"password_file {passwords}\nacl_file {acl}") as broker:
        joe = Client(broker.port, "j", "joe", "secret")
        jane = Client(broker.port, "k", "jane", "secret")
        nobody = Client(broker.port, "n")
        joe.subscribe("a/#")
        joe.publish(["a/1"])
        assert joe.received() == {"a/1"}
        # Another rule: what is subscribed brings nothing any more, though the client stays.
        acl.write_text("user joe\ntopic write a/#\n")
        broker.signal(signal.SIGHUP)
        time.sleep(0.5)
        joe.publish(["a/1"])
        assert joe.received() == set()
        # A mistake changes nothing, and is named.
        acl.write_text("user joe\ntopic raed a/#\n")
        passwords.write_text(passwords.read_text() + "jim\njack:plain\n")
        broker.signal(signal.SIGHUP)
        wait(lambda: "left as it is" in broker.log_text())
        log = broker.log_text()
        assert f"{acl}:2: `raed` is not one of read, write, readwrite, deny" in log
        assert f"{passwords}:4: user `jack`: the password is not hashed: run `plimsoll passwd -U" in log
        joe.publish(["a/1"])
        assert Client(broker.port, "k2", "jane", "secret").code == 0
        # Who is no longer in the file, or has another password, goes; others stay.
        acl.write_text("user joe\ntopic readwrite a/#\n")
        lines = [line for line in passwords.read_text().splitlines() if line.startswith("joe")]
        passwords.write_text("\n".join(lines))
        broker.signal(signal.SIGHUP)
        assert closed(jane)
        joe.publish(["a/1"])
        assert joe.received() == {"a/1"} and nobody.received() == set()
        assert passwd("-b", "-H", "sha512-pbkdf2", passwords, "joe", "other").returncode == 0
        broker.config.write_text(broker.config.read_text().replace("allow_anonymous true", "allow_anonymous false"))
        broker.signal(signal.SIGHUP)
        assert closed(joe) and closed(nobody)


def test_check_config_reads_what_a_reload_reads_and_touches_nothing(tmp_path):
    passwords, acl = files(tmp_path, acl="topic read a/%u\ntopic raed a\n")
    config = tmp_path / "broker.conf"
    config.write_text(
        f"user root\npersistence true\npersistence_location {tmp_path}/data/\nlistener 1883 127.0.0.1\npassword_file {passwords}\nacl_file {acl}\n"
    )
    check = lambda: subprocess.run(  # noqa: E731
        [brokers.program(), "check-config", "-c", str(config)], capture_output=True, text=True
    )
    found = check()
    assert found.returncode == 3 and f"{acl}:2: `raed`" in found.stderr
    acl.write_text("topic read a/%u\n")
    found = check()
    assert found.returncode == 0 and f"{acl}:1: `a/%u`: %c and %u stand for themselves" in found.stderr
    assert not (tmp_path / "data").exists()
    config.write_text(config.read_text().replace(str(passwords), "/nonexistent"))
    found = check()
    assert found.returncode == 3 and "password_file /nonexistent: No such file" in found.stderr
    # The broker itself says the same, with the same exit code.
    started = subprocess.run([brokers.program(), "-c", str(config)], capture_output=True, text=True, timeout=10)
    assert started.returncode == 3 and "password_file /nonexistent" in started.stderr


@pytest.mark.xdist_group("measures")
def test_slow_hashes_keep_nobody_waiting_and_guessers_are_not_listened_to(tmp_path):
    passwords = tmp_path / "passwords"
    assert passwd("-c", "-b", passwords, "slow", "secret").returncode == 0  # Argon2id
    config = f"password_file {passwords}\nauth_failures_per_minute 10"
    with ours(config) as broker:
        healthy = stock.Client(broker.port, "healthy")
        waiting = []
        for number in range(20):
            one = socket.create_connection(("127.0.0.1", broker.port))
            body = b"\x00\x04MQTT\x04\xc2\x00\x00" + string(f"w{number}") + string("slow") + string("secret")
            one.sendall(frame(0x10, body))
            waiting.append(one)
        slowest = 0
        for _ in range(20):
            began = time.monotonic()
            healthy.subscribe("a")
            slowest = max(slowest, time.monotonic() - began)
        answers = [one.recv(4)[3] for one in waiting]
        assert answers == [0] * 20
        healthy.end()
        codes = []
        for number in range(40):
            client = Client(broker.port, f"g{number}", "slow", "guess")
            codes.append(client.code)
            client.close()
        assert codes[:8] == [5] * 8 and codes[-1] == 3
        log = broker.log_text()
        assert "not authorised" in log
        assert "Connection rate exceeded" in log, "after ten of them nobody there is listened to"
        assert slowest < 1, f"{slowest:.3f} s"


def test_scoping_and_identifiers(tmp_path):
    passwords, acl = files(tmp_path, acl="topic read free/#\n")
    second = brokers.free_port()
    config = "per_listener_settings true\nclientid_prefixes dev-"
    listener = f"""listener {second} 127.0.0.1
password_file {passwords}
acl_file {acl}
use_username_as_clientid true
accept_protocol_versions 4, 5
mount_point plant/7/
"""
    with ours(config, listener=listener) as broker:
        assert Client(broker.port, "other").code == 5, "clientid_prefixes"
        outside = Client(broker.port, "dev-1", "anybody")
        assert outside.code == 0, "no password file on this listener"
        outside.subscribe("#")
        assert Client(second, "dev-2").code == 5, "anonymous"
        assert Client(second, "other", "joe", "secret").code == 5, "it is about the identifier that the client gives"
        assert Client(second, "dev-2", "joe", "secret").code == 0, "whatever takes its place"
        broker.config.write_text(broker.config.read_text().replace("clientid_prefixes dev-", ""))
        broker.signal(signal.SIGHUP)
        time.sleep(0.3)
        inside = Client(second, "x", "joe", "secret")
        assert inside.code == 0
        wait(lambda: " as joe (" in broker.log_text())
        acl.write_text("user joe\ntopic readwrite plant/7/a\n")
        broker.signal(signal.SIGHUP)
        time.sleep(0.3)
        inside.subscribe("a")
        inside.publish(["a", "b"])
        assert inside.received() == {"a"} and outside.received() == {"plant/7/a"}
        old = subprocess.run(
            ["mosquitto_pub", "-p", str(second), "-u", "joe", "-P", "secret", "-V", "31", "-t", "a", "-m", "x"],
            capture_output=True,
            text=True,
        )
        assert old.returncode != 0


@pytest.mark.xdist_group("measures")
def test_nobody_slips_in_while_a_reload_goes_on(tmp_path):
    passwords, acl = files(tmp_path, acl="topic read #\n")
    everybody, without = passwords.read_text(), passwords.read_text().split("\n")[1] + "\n"
    assert "joe:" in everybody and "joe:" not in without
    with ours(f"password_file {passwords}\nacl_file {acl}\nauth_failures_per_minute 0") as broker:
        kept, done, count = [], threading.Event(), itertools.count()

        def connect():
            while not done.is_set():
                client = Client(broker.port, f"j{next(count)}", "joe", "secret")
                kept.append(client) if client.code == 0 else client.close()

        threads = [threading.Thread(target=connect) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(15):
            for turn, text in enumerate((everybody, without), 1):
                passwords.write_text(text)
                broker.signal(signal.SIGHUP)
                reloads = 2 * number + turn
                wait(lambda: broker.log_text().count("Reloading config.") >= reloads)  # noqa: B023
                wait(lambda: text == without or len(kept) > 2 * number + 2, 20)  # noqa: B023
                time.sleep(0.04)
        time.sleep(0.3)
        done.set()
        for thread in threads:
            thread.join()
        assert len(kept) > 30
        assert all(closed(client) for client in kept)
